"""YAML with line numbers. Plain scalars follow YAML 1.2: ``1e-4`` is a number, ``yes``, ``no``, ``on`` and ``off`` are
words. A key that stands twice, a number that is not finite and a tag of another language are mistakes."""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from sweep.config.problems import ConfigError, Path, Place, Problem, dotted_key
from sweep.runs.shown_text import unprintable

_TAG = "tag:yaml.org,2002:"
_PLAIN: list[tuple[str, str, str]] = [
    ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+0123456789.",
    ),
    ("null", r"~|null|Null|NULL|", "~nN"),
]


DEEPEST = 50
"""Mappings and lists within each other."""
MOST_VALUES = 100_000
"""Values of a text, each counted wherever an alias repeats it."""
LARGEST_NUMBER = 2**63 - 1
"""What tables and files hold of a whole number."""
LARGEST = 2**20
"""Bytes of a file."""


class _Loader(yaml.SafeLoader):
    """Reads nodes; the resolvers below replace those of YAML 1.1."""

    _depth = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        """Compose a node, unless it lies deeper than any configuration does. Raises MarkedYAMLError."""
        self._depth += 1
        if self._depth > DEEPEST:
            problem = f"more than {DEEPEST} mappings and lists lie within each other"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=self.peek_event().start_mark)
        found: Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return found


class _Dumper(yaml.SafeDumper):
    """Puts quotes where :class:`_Loader` needs them."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_str(self, data: str) -> ScalarNode:
        # Other quotes do not keep every control character.
        return self.represent_scalar(f"{_TAG}str", data, style=None if data.isprintable() else '"')


_Dumper.add_representer(str, _Dumper.represent_str)


for _kind in (_Loader, _Dumper):
    _kind.yaml_implicit_resolvers = {}
    for _name, _pattern, _first in _PLAIN:
        _starts = [*_first, ""] if _name == "null" else list(_first)
        _kind.add_implicit_resolver(f"{_TAG}{_name}", re.compile(rf"(?:{_pattern})\Z"), _starts)


def _parse_int(text: str) -> int:
    return int(text, 0) if re.match(r"0[xo]", text) else int(text)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "bool": lambda text: text.lower() == "true",
    "int": _parse_int,
    "float": lambda text: float(re.sub(r"\.(inf|nan)\Z", r"\1", text, flags=re.IGNORECASE)),
    "null": lambda text: None,
}


@dataclass
class LocatedMapping:
    """A mapping of a YAML text: its values, and where each of them stands."""

    values: dict[str, Any]
    places: dict[Path, Place] = field(default_factory=dict)

    def below(self, path: Path) -> LocatedMapping:
        """Cut out the mapping at ``path``, its own paths counted from there; a missing or empty one is {}."""
        values: Any = self.values
        for part in path:
            values = (values or {}).get(part)
        size = len(path)
        places = {p[size:]: place for p, place in self.places.items() if p[:size] == path}
        return LocatedMapping(copy.deepcopy(values) if isinstance(values, dict) else {}, places)

    def set(self, path: Path, value: Any, places: Mapping[Path, Place]) -> None:
        """Put ``value`` at ``path``, mappings on the way made where they are missing. places: relative to ``path``."""
        parent: Any = self.values
        for number, part in enumerate(path[:-1], start=1):
            if parent.get(part) is None:
                parent[part] = {}
                self.places[path[:number]] = places[()]
            parent = parent[part]
        parent[path[-1]] = value
        self.drop_places(path)
        self.places |= {path + rest: place for rest, place in places.items()}

    def drop_places(self, path: Path) -> None:
        """Forget where the value at ``path`` and everything below it stood."""
        self.places = {p: place for p, place in self.places.items() if p[: len(path)] != path}

    def place(self, path: Path) -> tuple[Place, Path]:
        """Find where ``path``, or else the nearest mapping above it, stands; and what of the path lies below that."""
        for size in range(len(path), -1, -1):
            if path[:size] in self.places:
                return self.places[path[:size]], path[size:]
        return Place("configuration", None, ""), path

    def problem(self, path: Path, message: str, suggestion: str = "") -> Problem:
        """Make the problem of a mistake in the value at ``path``."""
        place, rest = self.place(path)
        return place.problem(message, suggestion, rest)


def read(file: FilePath) -> LocatedMapping:
    """Read the mapping that a YAML file holds. Raises ConfigError with every mistake of reading."""
    name = str(file)
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        hint = "name another one with --file, or write a first one with: python -m sweep init"
        raise ConfigError([Problem(name, None, "", "there is no such file", hint)]) from None
    except OSError as error:
        raise ConfigError([Problem(name, None, "", f"cannot be read: {error.strerror or error}")]) from error
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        what = f"the byte {error.object[error.start]:#04x} is no UTF-8"
        raise ConfigError([Problem(name, line, "", what, "save the file as UTF-8")]) from None
    if len(content) > LARGEST:
        raise ConfigError([Problem(name, None, "", "is larger than 1 MiB", "part it in several files")])
    values, places = parse(text, lambda path, line: Place(name, line, dotted_key(path)))
    if not isinstance(values, dict):
        raise ConfigError([Problem(name, 1, "", "must be a mapping with the keys defaults and sweeps")])
    return LocatedMapping(values, places)


def parse(text: str, place: Callable[[Path, int], Place]) -> tuple[Any, dict[Path, Place]]:
    """Parse a YAML text into its value, and the place of each value in it. Raises ConfigError."""
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        code = error.character if isinstance(error.character, int) else ord(error.character)
        what = f"it holds the character U+{code:04X}, which no text has"
        raise ConfigError([place((), line).problem(f"this is not YAML: {what}", "delete it")]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or str(error).splitlines()[0]
        raise ConfigError([place((), mark.line + 1 if mark else 1).problem(f"this is not YAML: {what}")]) from None
    if root is not None and (many := _innermost_of_many(root, {})) is not None:
        line = many.start_mark.line + 1
        what = f"it unfolds to more than {MOST_VALUES:,} values"
        raise ConfigError([place((), line).problem(what, "name each value once, or use vary")])
    found = _NodeReader(place)
    value = found.value(root, (), 1) if root is not None else None
    if found.problems:
        raise ConfigError(found.problems)
    return value, found.places


def _innermost_of_many(node: Node, sizes: dict[int, int]) -> Node | None:
    """Find the innermost node that unfolds to too many values; None where there is none. sizes: those of nodes that
    were looked at, by their id, so that no alias is followed twice."""
    if id(node) in sizes or isinstance(node, ScalarNode):
        return None
    sizes[id(node)] = 0  # also of one that leads back to itself, which is said elsewhere
    inner = [part for pair in node.value for part in pair] if isinstance(node, MappingNode) else node.value
    for part in inner:
        if (many := _innermost_of_many(part, sizes)) is not None:
            return many
    sizes[id(node)] = 1 + sum(sizes.get(id(part), 1) for part in inner)
    return node if sizes[id(node)] > MOST_VALUES else None


class _NodeReader:
    """Turns YAML nodes into plain values, noting places and mistakes on the way."""

    def __init__(self, place: Callable[[Path, int], Place]) -> None:
        self._place = place
        self._open: list[Node] = []
        self.places: dict[Path, Place] = {}
        self.problems: list[Problem] = []

    def value(self, node: Node, path: Path, line: int) -> Any:
        self.places[path] = self._place(path, line)
        if isinstance(node, ScalarNode):
            return self._scalar(node, path)
        if any(node is outer for outer in self._open):
            return self._wrong(path, "an alias leads back to itself")
        if node.tag not in (f"{_TAG}map", f"{_TAG}seq"):
            return self._wrong(path, f"the tag {node.tag} has no meaning here")
        self._open.append(node)
        found = self._mapping(node, path) if isinstance(node, MappingNode) else self._list(node, path)
        self._open.pop()
        return found

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        found: dict[str, Any] = {}
        first: dict[str, int] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag != f"{_TAG}str":
                self.places[path] = self._place(path, line)
                self._wrong(
                    path, f"a key must be a word, not {_describe_node(key_node)}", "put it in quotes if it is one"
                )
                continue
            key = key_node.value
            if self._refused(key_node, path):
                continue
            if key in found:
                self.problems.append(
                    self._place((*path, key), line).problem(f"stands twice, first in line {first[key]}", "keep one")
                )
                continue
            first[key] = line
            found[key] = self.value(value_node, (*path, key), line)
        return found

    def _list(self, node: Node, path: Path) -> list[Any]:
        assert isinstance(node, SequenceNode)
        return [self.value(item, (*path, i), item.start_mark.line + 1) for i, item in enumerate(node.value)]

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        if self._refused(node, path):
            return None
        if kind not in _SCALARS:
            return self._wrong(path, f"the tag {node.tag} has no meaning here")
        try:
            value = _SCALARS[kind](node.value)
        except ValueError:
            return self._wrong(path, f"{node.value[:40]!r} is no {kind}")
        if isinstance(value, float) and not math.isfinite(value):
            return self._wrong(path, f"{node.value[:40]} is not a finite number")
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            return self._wrong(path, f"{node.value[:40]} is too large for a whole number: at most {LARGEST_NUMBER}")
        return value

    def _refused(self, node: Node, path: Path) -> bool:
        """Tell whether a text has a character that no text has, which only an escape can have put there."""
        if (character := unprintable(node.value)) is not None:
            self._wrong(path, f"it holds the character {character}, which no text has", "delete it")
        return character is not None

    def _wrong(self, path: Path, message: str, suggestion: str = "") -> None:
        self.problems.append(self.places[path].problem(message, suggestion))


def _describe_node(node: Node) -> str:
    return repr(node.value) if isinstance(node, ScalarNode) else "a list or a mapping"


def dump(values: Mapping[str, Any]) -> str:
    """Write YAML text that :func:`parse` reads back to equal values."""
    return yaml.dump(
        dict(values), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120, default_flow_style=None
    )
