"""The rooms hold: who imports whom, which third parties live where, and no circles."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("data", "models", "methods", "sweep")

METHODS = "models data.base data.registry methods.base"
ROOMS = {
    # A room, and the rooms or modules that it may import beside itself.
    "data": "",
    "models": "",
    "methods": METHODS,
    "methods.base": "models data.base data.registry",
    "methods.equations": METHODS,
    "methods.*": f"{METHODS} methods.equations",
    # Every room of sweep may import data, models and methods as well.
    "sweep.storage": "",
    "sweep.training": "",
    "sweep.published": "",
    "sweep.runs": "storage training",
    "sweep.config": "runs training",
    "sweep.results": "runs storage",
    "sweep.plan": "config runs",
    "sweep.search": "plan config runs results storage training",
    "sweep.engine": "storage training published runs config results plan search",
    "sweep.analysis": "results plan search config runs published",
    "sweep.report": "analysis results published plan config runs",
    "sweep.inference": "runs results analysis training config",
    "sweep.commands": "storage training published runs config results plan search engine analysis report inference",
}
OUTSIDE = ("sweep", "sweep.__main__", "sweep.fit")
"""They may import every room, and no room imports them."""

THIRD_PARTIES = {
    "ray": "sweep.engine.on_ray",
    "optuna": "sweep.search sweep.analysis sweep.report.plots sweep.commands.dashboard",
    "matplotlib": "sweep.report",
    "plotly": "sweep.report",
    "rich": "sweep.commands sweep.engine",
    "torch.save": "sweep.runs models.encoders.checkpoints",
    "torch.load": "sweep.runs models.encoders.checkpoints",
}
MODULES_WITH_RAY = 7

Uses = Mapping[str, list[tuple[int, str]]]
"""Module -> (line, dotted name) of everything that it imports, wherever in the module."""


def test_no_room_imports_more_than_it_may(uses: Uses) -> None:
    assert not sorted(set(breaches(uses)))


def test_third_parties_stay_in_their_rooms(uses: Uses) -> None:
    assert not sorted(set(strays(uses)))
    with_ray = {module for module, names in uses.items() if any(is_within(name, "ray") for _, name in names)}
    assert len(with_ray) <= MODULES_WITH_RAY, f"these import ray: {sorted(with_ray)}"


def test_no_module_is_part_of_a_circle(uses: Uses) -> None:
    assert circle(uses) is None


# What finds a breach --------------------------------------------------------------------------------------------------


def read_uses(root: Path) -> Uses:
    """Read what every module below ``root`` imports: at its top, inside functions and for type checkers alike."""
    paths = (path for package in PACKAGES for path in sorted((root / package).rglob("*.py")))
    return {module_name(path.relative_to(root)): list(names_used(path, root)) for path in paths}


def module_name(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def names_used(path: Path, root: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names=aliases):
                yield from ((node.lineno, alias.name) for alias in aliases)
            case ast.ImportFrom(module=module, names=aliases, level=level):
                above = path.relative_to(root).parts[:-level] if level else ()
                origin = ".".join([*above, *filter(None, [module])])
                yield from ((alias.lineno, f"{origin}.{alias.name}") for alias in aliases)
            case ast.Attribute(value=ast.Name(id="torch"), attr=attribute):
                yield node.lineno, f"torch.{attribute}"
            case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
                if node.args and isinstance(node.args[0], ast.Constant):
                    yield node.lineno, str(node.args[0].value)


def is_within(name: str, room: str) -> bool:
    return name == room or name.startswith(room + ".")


def module_of(name: str, uses: Uses) -> str | None:
    """Find the module of ours that ``name`` is, or is defined or re-exported in."""
    while name not in uses:
        name, dot, _ = name.rpartition(".")
        if not dot:
            return None
    return name


def room_of(module: str) -> str | None:
    """Find the innermost room of a module; of a method it is the method's own."""
    own = ".".join(module.split(".")[:2])
    if is_within(module, "methods") and own != "methods" and own not in ROOMS:
        return own
    return next((room for room in (own, module.split(".")[0]) if room in ROOMS), None)


def allowed_in(room: str) -> list[str]:
    if room.startswith("sweep."):
        return [room, "data", "models", "methods", *(f"sweep.{other}" for other in ROOMS[room].split())]
    return [room, *(ROOMS[room] if room in ROOMS else ROOMS["methods.*"]).split()]


def breaches(uses: Uses) -> Iterator[str]:
    for module, names in uses.items():
        room = room_of(module)
        if module in OUTSIDE:
            continue
        if room is None:
            yield f"{module} lies in no room"
            continue
        allowed = allowed_in(room)
        for line, name in names:
            target = module_of(name, uses)
            if target is not None and not any(is_within(target, other) for other in allowed):
                yield f"{place(module, line)}: {room} imports {target}; it may import {', '.join(allowed)}"


def strays(uses: Uses) -> Iterator[str]:
    for module, names in uses.items():
        for line, name in names:
            for party, rooms in THIRD_PARTIES.items():
                if is_within(name, party) and not any(is_within(module, room) for room in rooms.split()):
                    yield f"{place(module, line)}: {module} uses {party}, which belongs in {rooms}"


def place(module: str, line: int) -> str:
    path = Path(*module.split("."))
    return f"{path / '__init__' if (ROOT / path).is_dir() else path}.py:{line}"


def circle(uses: Uses) -> list[str] | None:
    """Find modules that import each other in a circle. A name that a package re-exports counts as imported from where
    it is defined, so that a room's ``__init__`` closes no circle by itself."""
    graph = {
        module: {target for _, name in names if (target := defining_module(name, uses)) not in (None, module)}
        for module, names in uses.items()
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        found: list[str] = error.args[1]
        return found
    return None


def defining_module(name: str, uses: Uses) -> str | None:
    module = module_of(name, uses)
    if module is None or module == name:
        return module
    last = name.rpartition(".")[2]
    origins = [other for _, other in uses[module] if other.rpartition(".")[2] == last and other != name]
    return defining_module(origins[0], uses) if origins and module_of(origins[0], uses) else module


# It finds them --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def uses() -> Uses:
    return read_uses(ROOT)


def sources(root: Path, files: Mapping[str, str]) -> Uses:
    """Write modules (path without its ending -> source) and read what they import."""
    for name, source in files.items():
        path = root / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return read_uses(root)


@pytest.mark.parametrize(
    "source",
    [
        "from sweep.runs.store import Store",
        "from sweep.runs import store",
        "import sweep.runs.store as kept",
        "from ..runs import store",
        "import os\nimport sweep.runs.store, json",
        "def late():\n    from sweep.runs.store import Store",
        "if TYPE_CHECKING:\n    from sweep.runs.store import Store",
        "import_module('sweep.runs.store')",
    ],
)
def test_every_kind_of_import_counts(tmp_path: Path, source: str) -> None:
    found = sources(tmp_path, {"sweep/storage/files": source, "sweep/runs/store": "Store = 1"})

    breach = list(breaches(found))

    assert len(breach) == 1
    assert breach[0].startswith(f"sweep/storage/files.py:{len(source.splitlines())}: sweep.storage imports sweep.runs")
    assert breach[0].endswith("it may import sweep.storage, data, models, methods")


def test_only_imports_count(tmp_path: Path) -> None:
    found = sources(
        tmp_path,
        {
            "data/registry": "def get(name): ...",
            "models/fusion": "data = {'sweep': 1}\ndata.items()\n'from sweep.runs import store'",
            "sweep/runs/store": "import models.fusion, data.registry, sweep.storage.files",
            "sweep/storage/files": "",
        },
    )

    assert not [*breaches(found), *strays(found)]


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("data/base", "import models.fusion"),
        ("models/fusion", "from data.base import Dataset"),
        ("methods/iprm", "from data.digits import Digits"),
        ("methods/iprm", "from methods.joint import Joint"),
        ("methods/iprm", "import methods"),
        ("methods/igm/method", "from methods.joint import Joint"),
        ("methods/base/method", "from methods.joint import Joint"),
        ("methods/base/method", "from methods.equations.cosine import cosine"),
        ("sweep/runs/store", "from sweep.fit import fit"),
        ("sweep/runs/store", "from sweep import load_model"),
    ],
)
def test_each_package_keeps_to_its_own(tmp_path: Path, module: str, source: str) -> None:
    known = dict.fromkeys(["methods/__init__", "methods/joint", "methods/equations/cosine", "data/digits"], "")
    known |= dict.fromkeys(["data/base", "models/fusion", "sweep/__init__", "sweep/fit"], "")

    assert len(list(breaches(sources(tmp_path, known | {module: source})))) == 1


def test_a_folder_that_is_no_room_is_named(tmp_path: Path) -> None:
    assert list(breaches(sources(tmp_path, {"sweep/attic/files": ""}))) == ["sweep.attic.files lies in no room"]


@pytest.mark.parametrize(
    "source",
    ["import ray.tune", "from torch import save", "import torch\ntorch.load('x')", "def f():\n  import optuna"],
)
def test_a_third_party_elsewhere_is_named(tmp_path: Path, source: str) -> None:
    (stray,) = strays(sources(tmp_path, {"sweep/plan/build": source}))

    assert stray.startswith(f"sweep/plan/build.py:{len(source.splitlines())}: sweep.plan.build uses ")


def test_a_circle_is_named(tmp_path: Path) -> None:
    lazy = "def f():\n    from sweep.runs.store import g"
    found = sources(tmp_path, {"sweep/runs/store": "import sweep.runs.mirror", "sweep/runs/mirror": lazy})

    assert sorted(set(circle(found) or [])) == ["sweep.runs.mirror", "sweep.runs.store"]


def test_names_that_a_room_re_exports_close_no_circle(tmp_path: Path) -> None:
    found = sources(
        tmp_path,
        {
            "sweep/runs/__init__": "from sweep.runs.store import Store\nfrom sweep.runs.records import Run",
            "sweep/runs/store": "from sweep.runs import Run",
            "sweep/runs/records": "Run = 1",
        },
    )

    assert circle(found) is None
    again = sources(tmp_path, {"sweep/runs/records": "from sweep.runs import Store"})
    assert sorted(set(circle(again) or [])) == ["sweep.runs.records", "sweep.runs.store"]
