"""What modules bind by imports, and where it is defined, read off their text. Tests of digests of what is reached so
are those of test_reached_code.py."""

from __future__ import annotations

import ast
import itertools
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from pathlib import Path

import pytest

from sweep.runs import module_imports
from sweep.runs.module_imports import Module, import_bindings, is_ours, read_module, source_module

_packages = itertools.count()

FILES = {
    "plug": "",
    "plug.a": """
def pace(t): return t
async def later(): inner = 1
class Kind: field = 1
RATE: float = 1.0
first, (second, third) = 1, (2, 3)
one = other = 2
third += 1
_hidden = 1
import os.path, json as js
from pathlib import Path
named[0] = given.attribute = 4
""",
    "plug.b": """
from plug.a import pace as speed
import plug.a as whole
import plug.a
import os.path
from os import sep
""",
    "plug.sub": "from .deep import depth\nfrom plug.star import *",
    "plug.sub.deep": "depth = 1",
    "plug.star": "__all__ = ['x', 'y', *more]\nfrom plug.deeper import *\nz = 1",
    "plug.deeper": "__all__ = ('y', '_z')\nx = y = _z = 0",
    "plug.circle": "from plug.ring import n, m\nfrom plug.ring import *\no = 1",
    "plug.ring": "from plug.circle import n\nfrom plug.circle import *\nm = 1",
    "plug.last": """
from plug.a import pace
pace = 2
def RATE(): 0
from plug.a import RATE
from plug.star import y
y: int
""",
    "plug.below": """
if one:
    in_if = 1
else:
    in_else = 1
try:
    in_try = 1
except ImportError:
    in_except = 1
finally:
    in_finally = 1
with one as bound:
    in_with = 1
for count in some:
    in_loop = 1
def f():
    in_function = 1
class C:
    in_class = 1
async def g():
    in_coroutine = 1
""",
}
BELOW = "in_if in_else in_try in_except in_finally in_with count in_loop f C g"
PACKAGES = {"plug", "plug.sub"}


@pytest.fixture(autouse=True)
def files(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Modules of a plug-in that lies on no disk, for the tests that read none."""
    if "tmp_path" not in request.fixturenames:
        modules = {name: Module(name, ast.parse(text), name in PACKAGES) for name, text in FILES.items()}
        monkeypatch.setattr(module_imports, "read_module", modules.get)


def bound(text: str, name: str = "plug.method", is_package: bool = False) -> list[tuple[str, str, str]]:
    found = import_bindings(Module(name, ast.parse(text), is_package), "plug")
    return [(each.local, each.definition, each.module) for each in found]


PACE, A = ("pace", "pace", "plug.a"), ("a", "", "plug.a")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os, numpy.linalg\nfrom os import path\nos.path", []),
        ("import plugs\nfrom plugs import a", []),
        ("import plug.a", [("plug.a", "", "plug.a")]),
        ("import os, plug.a\nplug.a.pace.speed", [("plug.a", "", "plug.a"), ("plug.a.pace", "pace", "plug.a")]),
        ("import plug.a as e\ne.pace", [("e", "", "plug.a"), ("e.pace", "pace", "plug.a")]),
        ("import plug.a as e\nplug.a.pace", [("e", "", "plug.a")]),
        ("from plug import a\na.pace", [A, ("a.pace", "pace", "plug.a")]),
        ("from plug import a as b\nb.pace\na.pace", [("b", "", "plug.a"), ("b.pace", "pace", "plug.a")]),
        ("from plug.a import pace\npace.speed", [PACE]),
        ("from plug.a import pace as speed, RATE", [("RATE", "RATE", "plug.a"), ("speed", "pace", "plug.a")]),
        ("def late():\n    from plug.a import pace", [PACE]),
        # What is no chain of names reaches into no module.
        ("from plug import a\na().pace\na[0].pace\n[a][0].pace\npace.a", [A]),
        ("from . import a", [A]),
        ("from .a import pace", [PACE]),
        # Nobody is seen to define it, or there is no such module.
        ("from plug.a import ghost", [("ghost", "ghost", "plug.a")]),
        ("from plug import ghost", [("ghost", "ghost", "plug")]),
        ("from plug.nowhere import ghost", [("ghost", "ghost", "plug.nowhere")]),
        ("from plug.nowhere import *", []),
        # A module that is no package has no modules in it.
        ("from plug.a import b", [("b", "b", "plug.a")]),
    ],
)  # fmt: skip
def test_what_an_import_binds(text: str, expected: list[tuple[str, str, str]]) -> None:
    assert bound(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from plug.b import speed", ("speed", "pace", "plug.a")),
        ("from plug.b import pace", ("pace", "pace", "plug.b")),
        ("from plug.b import whole", ("whole", "", "plug.a")),
        ("from plug.b import plug", ("plug", "", "plug")),
        ("from plug.b import os", ("os", "os", "plug.b")),
        ("from plug.b import sep", ("sep", "sep", "plug.b")),
        ("from plug.sub import depth", ("depth", "depth", "plug.sub.deep")),
        ("from plug.sub import deep", ("deep", "", "plug.sub.deep")),
        ("from plug.sub import x", ("x", "x", "plug.star")),
        ("from plug.sub import y", ("y", "y", "plug.deeper")),
        ("from plug.sub import z", ("z", "z", "plug.sub")),
        # Where a name is bound several times the last one counts.
        ("from plug.last import pace", ("pace", "pace", "plug.last")),
        ("from plug.last import RATE", ("RATE", "RATE", "plug.a")),
        ("from plug.last import y", ("y", "y", "plug.last")),
        # Modules that have a name of each other only have it where they are asked.
        ("from plug.circle import n", ("n", "n", "plug.circle")),
        ("from plug.circle import m", ("m", "m", "plug.ring")),
        ("from plug.ring import o", ("o", "o", "plug.circle")),
    ],
)
def test_a_name_that_is_passed_on_is_found_where_it_is_defined(text: str, expected: tuple[str, str, str]) -> None:
    assert bound(text) == [expected]


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("a", "pace later Kind RATE first second third one other os js Path named given"),
        ("star", "x y"),
        ("deeper", "y _z"),
        ("sub", "depth x y"),
        ("circle", "m n o"),
        ("below", BELOW),
    ],
)
def test_everything_public_is_bound_by_a_star(module: str, names: str) -> None:
    assert {local for local, _, _ in bound(f"from plug.{module} import *")} == set(names.split())


@pytest.mark.parametrize("name", BELOW.split())
def test_what_is_defined_below_a_condition_is_defined(name: str) -> None:
    assert bound(f"from plug.below import {name}") == [(name, name, "plug.below")]
    assert module_imports._next(Module("m", ast.parse(FILES["plug.below"]), is_package=False), name, "plug") is None


@pytest.mark.parametrize(
    ("text", "package", "expected"),
    [
        ("from os.path import x", False, "os.path"),
        ("from . import x", False, "plug.deep"),
        ("from . import x", True, "plug.deep.module"),
        ("from .a import x", False, "plug.deep.a"),
        ("from .a import x", True, "plug.deep.module.a"),
        ("from .. import x", False, "plug"),
        ("from ..a.b import x", True, "plug.deep.a.b"),
    ],
)
def test_relative_imports_start_at_the_package(text: str, package: bool, expected: str) -> None:
    (node,) = ast.parse(text).body
    assert isinstance(node, ast.ImportFrom)
    assert source_module(node, Module("plug.deep.module", ast.parse(text), package)) == expected


@pytest.mark.parametrize(
    ("name", "ours"),
    [("data", True), ("sweep.runs", True), ("plug.a", True), ("plugs", False), ("os.data", False), ("torch", False)],
)
def test_ours_are_four_packages_and_the_plug_ins(name: str, ours: bool) -> None:
    assert is_ours(name, "plug") is ours


def test_a_module_is_read_and_not_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = f"unexecuted{next(_packages)}"

    def write(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_text(text)

    write({"__init__.py": "raise SystemExit", "a.py": "raise SystemExit(1)", "bare/b.py": "b = 1", "c.so": ""})
    monkeypatch.syspath_prepend(tmp_path)
    spec = find_spec(root)
    assert spec is not None
    monkeypatch.setitem(sys.modules, root, module_from_spec(spec))  # as if it had been imported
    read = {name: read_module(f"{root}{name}") for name in ("", ".a", ".bare", ".bare.b", ".a.b", ".c", ".d", ".d.e")}
    found = {name: (ast.unparse(module.tree), module.is_package) for name, module in read.items() if module}
    assert found == {
        "": ("raise SystemExit", True),
        ".a": ("raise SystemExit(1)", False),
        ".bare": ("", True),
        ".bare.b": ("b = 1", False),
    }
    assert {module.name.removeprefix(root) for module in read.values() if module} == found.keys()
    (tmp_path / f"{root}_bare").mkdir()
    assert import_module(f"{root}_bare").__file__ is None
    imported = read_module(f"{root}_bare")
    assert imported is not None
    assert (ast.unparse(imported.tree), imported.is_package) == ("", True)
    # Built in, an extension, and not there.
    assert [read_module(name) for name in ("sys", "math", f"{root}_absent", f"{root}_absent.a")] == [None] * 4
