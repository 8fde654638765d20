"""Merge what the file and the command line say into one mapping a sweep: defaults, the sweep, overrides on top."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sweep.config.problems import COMMAND_LINE, ConfigError, Path, Place, Problem, nearest
from sweep.config.schema import RANGE_KINDS, Sweep
from sweep.config.yaml_lines import LocatedMapping, parse

KEYS = ["method", *(name for name in Sweep.model_fields if name != "name")]

_DEPTH = {"train": 2, "data": 2, "encoders": 2, "hyperparameters": 1, "resources": 1}
"""Mappings that merge key by key, and how far down; any other value replaces the one below it."""


def normalise(written: LocatedMapping) -> list[Problem]:
    """Bring the short forms of a sweep to the long ones, in place. Returns what cannot be."""
    values, problems = written.values, list[Problem]()
    if "method" in values and "methods" in values:
        problems.append(written.problem(("method",), "stands beside methods", "keep one of them"))
        del values["method"]
    elif "method" in values:
        # Whatever is wrong with the method is then said of the key that was written.
        places = _places(written, ("method",))
        written.set(("methods",), [values.pop("method")], {(): places[()], (0,): places[()]})
        written.drop_places(("method",))
    if isinstance(values.get("methods"), list):
        values["methods"] = [_long_form(entry) for entry in values["methods"]]
    if values.get("vary") == "auto":
        place = written.place(("vary",))[0]
        written.set(("vary",), {"*": "auto"}, {(): place, ("*",): place})
    if isinstance(values.get("scheduler"), str):
        values["scheduler"] = {"name": values["scheduler"]}
    if isinstance(names := values.get("loggers"), list) and all(isinstance(name, str) for name in names):
        places = {(name,): written.place(("loggers", position))[0] for position, name in enumerate(names)}
        written.set(("loggers",), {name: {} for name in names}, {(): written.place(("loggers",))[0], **places})
    if isinstance(values.get("encoders"), dict):
        values["encoders"] = {
            modality: {"name": spec} if isinstance(spec, str) else spec for modality, spec in values["encoders"].items()
        }
    return problems


def _long_form(entry: Any) -> Any:
    """Write out an entry of ``methods``, with its label."""
    if isinstance(entry, str):
        return {"method": entry, "label": entry}
    if isinstance(entry, dict):
        return {"label": entry.get("method", "?"), **entry}
    return entry


def merge(defaults: LocatedMapping, sweep: LocatedMapping) -> LocatedMapping:
    """Lay ``sweep`` over ``defaults``."""
    merged = defaults.below(())
    for key, value in sweep.values.items():
        _lay(merged, (key,), value, sweep, _DEPTH.get(key, 0))
    return merged


def _lay(merged: LocatedMapping, path: Path, value: Any, sweep: LocatedMapping, depth: int) -> None:
    below: Any = merged.values
    for part in path:
        below = below.get(part) if isinstance(below, dict) else None
    if depth and isinstance(below, dict) and isinstance(value, dict) and not names_another(path, below, value):
        for key, inner in value.items():
            _lay(merged, (*path, key), inner, sweep, depth - 1)
    else:
        merged.set(path, value, _places(sweep, path))


def names_another(path: Path, below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    """Tell whether ``above`` names another encoder or schedule, to which the options of the one below do not belong."""
    return path[0] in ("encoders", "train") and "name" in above and above["name"] != below.get("name", above["name"])


def _places(written: LocatedMapping, path: Path) -> dict[Path, Place]:
    return {p[len(path) :]: place for p, place in written.places.items() if p[: len(path)] == path}


class Override:
    """One ``dotted.key=value`` of the command line."""

    def __init__(self, text: str) -> None:
        """Raises ConfigError where the text is no override or its key is unknown."""
        self.text, self.place = text, Place(COMMAND_LINE, None, text)
        key, equals, value = text.partition("=")
        if not equals:
            raise self._error("expected key=value", "as in epochs=5 or train.lr=0.1")
        if not value.strip():
            raise self._error("the value is empty", "write null, [] or '' if that is meant")
        self.path = _path(key.strip())
        if self.path[0] not in KEYS:
            raise self._error(f"no key called {str(self.path[0])!r}", nearest(str(self.path[0]), KEYS))
        if "" in self.path:
            raise self._error("a part of the key is empty")
        self.value, self.places = parse(value, lambda path, line: self.place)

    def _error(self, message: str, suggestion: str = "") -> ConfigError:
        return ConfigError([self.place.problem(message, suggestion)])

    def apply(self, written: LocatedMapping) -> list[Problem]:
        """Put the value into a sweep, over whatever stood there."""
        problems = list(self._conflicts(written.values))
        if problems:
            return problems
        if self.path[0] == "method":
            written.values.pop("methods", None)
        if self.path[0] == "hyperparameters" and len(self.path) == 2:
            self._take_from_methods(written)
        kind = self.path[-1]
        if self.path[0] == "vary" and len(self.path) == 3:
            # A range has one kind: another kind replaces it.
            written.set(self.path[:2], {kind: self.value}, {(): self.place})
        else:
            written.set(self.path, self.value, self.places)
        return normalise(written)

    def _conflicts(self, values: dict[str, Any]) -> Iterator[Problem]:
        at: Any = values
        for size, part in enumerate(self.path[:-1], start=1):
            at = at.get(part)
            if at is None:
                break
            if not isinstance(at, dict) and not (self.path[0] == "vary" and size == 2):
                yield self.place.problem(
                    f"{'.'.join(map(str, self.path[:size]))} is no mapping, so nothing lies below it"
                )
                return
        name = ".".join(map(str, self.path[1:] if self.path[0] == "hyperparameters" else self.path))
        parts = name.split(".")
        wholes = [".".join(parts[:size]) for size in range(len(parts), 0, -1)]
        varied, points = values.get("vary"), values.get("points")
        if isinstance(varied, dict) and (whole := next((each for each in wholes if each in varied), None)):
            yield self.place.problem(f"this sweep varies {whole}", f"write vary.{whole}=... instead")
        several = points if isinstance(points, list) else []
        set_by_points = {key for point in several if isinstance(point, dict) for key in point}
        if whole := next((each for each in wholes if each in set_by_points), None):
            yield self.place.problem(f"the points of this sweep set {whole}", "write points=[...] instead")

    def _take_from_methods(self, written: LocatedMapping) -> None:
        """Drop what an entry of ``methods``, or a part of a hyperparameter, fixes for itself: the command line is
        stronger. Where an entry fixes the whole of which this is a part, the part joins it there."""
        key, values = str(self.path[1]), written.values
        for name in _parts_of(key, values.get("hyperparameters")):
            del values["hyperparameters"][name]
        for position, entry in enumerate(values.get("methods") or []):
            if not isinstance(entry, dict) or not isinstance(entry.get("hyperparameters"), dict):
                continue
            own, name = entry["hyperparameters"], key.removeprefix(f"{entry.get('method')}.")
            for each in [name, *_parts_of(name, own)]:
                own.pop(each, None)
            if name.partition(".")[0] in own:
                own[name] = self.value
                written.places["methods", position, "hyperparameters", name] = self.place


def _parts_of(name: str, found: Any) -> list[str]:
    """List the keys of a mapping that name a part of ``name``."""
    return [key for key in found if key.startswith(f"{name}.")] if isinstance(found, dict) else []


def _path(key: str) -> Path:
    """Split a dotted key into its path. Names in ``vary`` and ``hyperparameters`` hold dots themselves."""
    first, *rest = key.split(".")
    if first == "hyperparameters" and rest:
        return (first, ".".join(rest))
    if first == "vary" and len(rest) > 1 and rest[-1] in RANGE_KINDS:
        return (first, ".".join(rest[:-1]), rest[-1])
    if first == "vary" and rest:
        return (first, ".".join(rest))
    return (first, *rest)
