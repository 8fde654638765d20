"""Classes are found by the names that they declare; one bad file or one name too many ends nothing."""

from __future__ import annotations

import importlib
import itertools
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

import data
import methods
from data.registry import Registry, UnusableError

_numbers = itertools.count()

BASE = """
    class Base: pass
"""

Build = Callable[[Mapping[str, str]], Registry[Any]]


@pytest.fixture
def registry_of(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """The registry of a package ``things`` with the given files, whose base lies in ``things.base``."""

    def build(files: Mapping[str, str]) -> Registry[Any]:
        root = tmp_path / str(next(_numbers))
        for name, text in {"__init__.py": "", "base.py": BASE, **files}.items():
            path = root / "things" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        monkeypatch.syspath_prepend(root)
        importlib.invalidate_caches()
        base = importlib.import_module("things.base").Base
        return Registry("things", base, "sweep.things", "thing")

    yield build
    for name in [name for name in sys.modules if name.partition(".")[0] == "things"]:
        del sys.modules[name]


class Entry:
    """An entry point of an installed package."""

    dist = None

    def __init__(self, name: str, found: Any) -> None:
        self.name, self.value, self._found = name, f"plug:{name}", found

    def load(self) -> Any:
        if isinstance(self._found, BaseException):
            raise self._found
        return self._found


def with_entries(monkeypatch: pytest.MonkeyPatch, *entries: Entry) -> None:
    monkeypatch.setattr("data.registry.entry_points", lambda group: list(entries) if group == "sweep.things" else [])


ONE = "from things.base import Base\nclass One(Base):\n    name = 'one'\n"


def test_classes_of_modules_and_packages_are_found_and_bases_without_a_name_are_not(registry_of: Build) -> None:
    registry = registry_of(
        {
            "one.py": ONE + "class Helper: pass\n",
            "shared.py": "from things.base import Base\nclass Shared(Base):\n    title = 'no name of its own'\n",
            "two/__init__.py": "from things.two.deep.inner import Two\n",
            "two/deep/__init__.py": "",
            "two/deep/inner.py": "from things.shared import Shared\nclass Two(Shared):\n    name = 'two'\n",
            "equations.py": "from things.one import One\nclass Variant(One): pass\n",
        }
    )
    assert registry.names() == ["one", "two"]
    assert registry.get("two").__module__ == "things.two.deep.inner"
    assert registry.refusals() == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("class Bad(:\n", "SyntaxError: invalid syntax, line 1"),
        ("raise RuntimeError('first line\\nsecond')", "RuntimeError: first line"),
        ("raise SystemExit", "SystemExit"),
    ],
)
def test_a_module_that_cannot_be_imported_is_an_error_only_where_it_is_asked_for(
    registry_of: Build, text: str, reason: str
) -> None:
    registry = registry_of({"one.py": ONE, "bad.py": text})
    assert registry.names() == ["one"]
    assert registry.get("one").__name__ == "One"
    with pytest.raises(UnusableError, match=r"thing 'bad' cannot be used: .*bad.py cannot be imported") as caught:
        registry.get("bad")
    assert f"({reason})" in str(caught.value)
    assert registry.refusals() == [str(caught.value)]
    assert registry.refusal("one") is None


def test_a_package_with_one_bad_module_names_that_module(registry_of: Build) -> None:
    registry = registry_of({"one.py": ONE, "pack/__init__.py": "", "pack/inner.py": "1 / 0"})
    assert registry.names() == ["one"]
    assert "inner.py cannot be imported (ZeroDivisionError" in str(registry.refusal("pack"))


def test_a_name_that_stands_twice_is_told_with_both_files(registry_of: Build) -> None:
    registry = registry_of({"one.py": ONE, "again.py": ONE, "two.py": ONE.replace("one", "two")})
    assert registry.names() == ["two"]
    with pytest.raises(UnusableError, match=r"'one'.*2 of this name are defined, in .*again.py and .*one.py; rename"):
        registry.get("one")
    assert len(registry.refusals()) == 1


def test_plug_ins_join_by_their_entry_points(registry_of: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of({"one.py": ONE})
    base = importlib.import_module("things.base").Base
    other = type("Other", (base,), {"name": "other", "__module__": "plug"})
    with_entries(monkeypatch, Entry("other", other))
    assert registry.names() == ["one", "other"]
    assert registry.get("other") is other


def test_a_class_that_is_found_twice_is_one(registry_of: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of({"one.py": ONE})
    with_entries(monkeypatch, Entry("one", importlib.import_module("things.one").One))
    assert registry.names() == ["one"]


def test_a_plug_in_of_a_name_of_ours_replaces_nothing(registry_of: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = registry_of({"one.py": ONE})
    base = importlib.import_module("things.base").Base
    with_entries(monkeypatch, Entry("mine", type("Mine", (base,), {"name": "one", "__module__": __name__})))
    with pytest.raises(UnusableError, match=r"2 of this name are defined, in .*one.py and .*test_registry.*; rename"):
        registry.get("one")


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (
            ImportError("no torch_extras"),
            r"entry point odd = plug:odd cannot be imported \(ImportError: no torch_extras",
        ),
        (SystemExit(3), r"cannot be imported \(SystemExit: 3\)"),
        (int, "is not a class derived from things.base.Base with a name of its own"),
        ("text", "is not a class derived from things.base.Base"),
    ],
)
def test_a_plug_in_that_is_none_is_an_error_only_where_it_is_asked_for(
    registry_of: Build, monkeypatch: pytest.MonkeyPatch, found: Any, reason: str
) -> None:
    registry = registry_of({"one.py": ONE})
    with_entries(monkeypatch, Entry("odd", found))
    assert registry.names() == ["one"]
    with pytest.raises(UnusableError, match=reason):
        registry.get("odd")


@pytest.mark.parametrize("registry", [methods.METHODS, data.DATASETS])
def test_everything_that_is_shipped_can_be_used(registry: Registry[Any]) -> None:
    assert registry.refusals() == []
    for name in registry.names():
        assert registry.get(name).name == name


@pytest.mark.parametrize("room", [methods, data])
def test_an_unknown_name_is_refused_with_those_there_are(room: Any) -> None:
    with pytest.raises(KeyError, match=f"called 'nothing'; there are: .*{room.names()[-1]}"):
        room.get("nothing")


def test_methods_are_found_by_the_same_class_as_datasets() -> None:
    assert type(methods.METHODS) is type(data.DATASETS) is Registry
    assert {"joint", "iprm", "igm"} <= set(methods.names())
    assert {"digits", "arrays", "manifest"} <= set(data.names())
