"""The code that belongs to a run's identity: an edit of what is reached counts, a move does not."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import data
import methods
from sweep.runs import module_imports, reached_code
from sweep.runs.module_imports import Module
from sweep.runs.reached_code import CONTRACT, reached_modules, source_digest

Digest = Callable[..., str]

_numbers = itertools.count()


def forget_modules() -> None:
    """Read every module anew: a digest is of the code as it was when the process first asked."""
    for each in (module_imports.read_module, module_imports._spec, module_imports.import_bindings, source_digest):
        each.cache_clear()


@pytest.fixture
def digest_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Digest]:
    """The digest of a module of a plug-in called ``plug``, written from its files."""

    def digest(files: Mapping[str, str], start: str = "plug.method", reached: list[str] | None = None) -> str:
        root = tmp_path / str(next(_numbers))
        for name, text in files.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text), encoding="utf-8")
        for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
            del sys.modules[name]
        importlib.invalidate_caches()
        forget_modules()
        with monkeypatch.context() as patch:
            patch.syspath_prepend(root)
            module = importlib.import_module(start)
            if reached is not None:
                assert reached_modules(module) == reached
            return source_digest(module)

    yield digest
    for name in [name for name in sys.modules if name.partition(".")[0] == "plug"]:
        del sys.modules[name]
    forget_modules()


def written(path: Path, source: str) -> ModuleType:
    path.write_text(textwrap.dedent(source), encoding="utf-8")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


PLAIN = """
    class A:
        rate: float = 0.5

        def f(self, x):
            return x + 1
"""


def test_the_layout_of_a_source_does_not_count(tmp_path: Path) -> None:
    explained = '''
        """A module."""

        class A:
            """A class."""

            rate: float = 0.5
            """A rate."""

            def f(self, x):
                """Add.

                One."""
                # one more
                return (x
                        + 1)
    '''
    assert source_digest(written(tmp_path / "one.py", PLAIN)) == source_digest(written(tmp_path / "two.py", explained))


@pytest.mark.parametrize(
    ("old", "new"),
    [("x + 1", "x + 2"), ("x + 1", "x + 1.0"), ("0.5", "0.25"), ("f(self, x)", "f(self, x=0)"), ("x + 1", "1 + x")],
)
def test_a_change_of_meaning_counts(tmp_path: Path, old: str, new: str) -> None:
    before = source_digest(written(tmp_path / "one.py", PLAIN))
    assert source_digest(written(tmp_path / "two.py", PLAIN.replace(old, new))) != before


def test_a_class_stands_for_its_module() -> None:
    from data import digits

    assert source_digest(digits.Digits) == source_digest(digits)


EQUATIONS = """
    def pace(t):
        return t * 2


    def rest(t):
        return t
"""

FLAT = {
    "plug/__init__.py": "",
    "plug/method.py": """
        from plug._equations import pace

        def step(t):
            return pace(t)
    """,
    "plug/_equations.py": EQUATIONS,
}


def with_file(files: Mapping[str, str], name: str, old: str, new: str) -> dict[str, str]:
    assert old in files[name]
    return {**files, name: files[name].replace(old, new)}


@pytest.mark.parametrize(
    "imported",
    [
        "from plug._equations import pace",
        "from ._equations import pace",
        "from . import _equations\n        pace = _equations.pace",
        "import plug._equations as e\n        pace = e.pace",
        "import plug._equations\n        pace = plug._equations.pace",
        "from plug._equations import *",
        "from plug._equations import pace as speed, pace",
        "if True:\n            from plug._equations import pace",
        "def late():\n            from plug._equations import pace\n            return pace",
        "import os, plug._equations",
    ],
)
def test_every_manner_of_import_is_followed(digest_of: Digest, imported: str) -> None:
    text = f"\n        {imported}\n"
    files = {**FLAT, "plug/method.py": text}
    before = digest_of(files, reached=["plug._equations", "plug.method"])
    assert digest_of(with_file(files, "plug/_equations.py", "t * 2", "t * 3")) != before
    assert digest_of(with_file(files, "plug/_equations.py", "t * 2", "(t  * 2)  # twice")) == before


def test_a_move_without_an_edit_does_not_count(digest_of: Digest) -> None:
    before = digest_of(FLAT)
    moved = {
        "plug/__init__.py": "",
        "plug/method.py": FLAT["plug/method.py"].replace("plug._equations", "plug.inner.deep.equations"),
        "plug/inner/__init__.py": "",
        "plug/inner/deep/__init__.py": "",
        "plug/inner/deep/equations.py": EQUATIONS,
    }
    assert digest_of(moved) == before
    edited = with_file(moved, "plug/inner/deep/equations.py", "t * 2", "t * 3")
    assert digest_of(edited) == digest_of(with_file(FLAT, "plug/_equations.py", "t * 2", "t * 3")) != before


def test_a_method_that_becomes_a_package_keeps_its_digest(digest_of: Digest) -> None:
    before = digest_of(FLAT)
    package = {
        "plug/__init__.py": "",
        "plug/mine/__init__.py": "from plug.mine.method import step\nfrom plug.mine.equations import pace\n",
        "plug/mine/method.py": FLAT["plug/method.py"].replace("plug._equations", ".equations"),
        "plug/mine/equations.py": EQUATIONS,
    }
    assert digest_of(package, "plug.mine.method") == before


def test_a_name_that_is_passed_on_counts_as_imported_from_where_it_is_defined(digest_of: Digest) -> None:
    """Another name that the same ``__init__`` passes on is not reached."""
    files = {
        "plug/__init__.py": "",
        "plug/method.py": "from plug.shared import pace\n",
        "plug/shared/__init__.py": """
            from plug.shared.fast import *
            from plug.shared.slow import crawl
        """,
        "plug/shared/fast.py": "from plug.shared.base import FACTOR\n__all__ = ['pace']\npace = FACTOR",
        "plug/shared/base.py": "FACTOR = 2\n",
        "plug/shared/slow.py": "def crawl(t): return t\n",
    }
    before = digest_of(files, reached=["plug.method", "plug.shared.base", "plug.shared.fast"])
    assert digest_of(with_file(files, "plug/shared/base.py", "2", "3")) != before
    assert digest_of(with_file(files, "plug/shared/slow.py", "return t", "return -t")) == before
    direct = {**files, "plug/method.py": "from plug.shared.fast import pace\n"}
    assert digest_of(direct) == before


def test_the_definition_that_a_name_is_bound_to_counts(digest_of: Digest) -> None:
    """Both modules are reached in both cases, and no module's own text differs but for the imports."""
    files = {
        "plug/__init__.py": "",
        "plug/method.py": "from plug.a import pace\nfrom plug.b import rest\n",
        "plug/a.py": "def pace(t): return t\ndef rest(t): return 0\n",
        "plug/b.py": "def pace(t): return -t\ndef rest(t): return 1\n",
    }
    swapped = {**files, "plug/method.py": "from plug.b import pace\nfrom plug.a import rest\n"}
    renamed = {**files, "plug/method.py": "from plug.a import rest as pace\nfrom plug.b import pace as rest\n"}
    assert len({digest_of(files), digest_of(swapped), digest_of(renamed)}) == 3
    turned = {**files, "plug/method.py": "from plug.b import rest\nfrom plug.a import pace\n"}
    assert digest_of(turned) == digest_of(files)


def test_modules_may_import_each_other(digest_of: Digest) -> None:
    files = {
        "plug/__init__.py": "",
        "plug/method.py": "import plug.a\n",
        "plug/a.py": "import plug.b\nA = 1\n",
        "plug/b.py": "import plug.c\nB = 1\n",
        "plug/c.py": "import plug.a\nC = 1\n",
    }
    before = digest_of(files, reached=["plug.a", "plug.b", "plug.c", "plug.method"])
    for name in "abc":
        assert digest_of(with_file(files, f"plug/{name}.py", "= 1", "= 2")) != before


def test_a_further_contract_module_does_not_show_in_the_digest_of_a_circle(
    digest_of: Digest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reached_code, "CONTRACT", CONTRACT | {"plug.base", "plug.further"})
    files = {
        "plug/__init__.py": "",
        "plug/method.py": "from plug.base import B\nimport plug.a\n",
        "plug/base.py": "B = 1\n",
        "plug/further.py": "F = 1\n",
        "plug/a.py": "import plug.c\nA = 1\n",
        "plug/c.py": "import plug.a\nC = 1\n",
    }
    further = with_file(files, "plug/base.py", "B = 1", "from plug.further import F\nB = 1")
    assert digest_of(files) == digest_of(further)


def test_a_plug_in_counts_what_it_reaches_of_ours(digest_of: Digest) -> None:
    files = {"plug/__init__.py": "", "plug/method.py": "from methods.mla import prediction_entropy\nimport models\n"}
    digest_of(files, reached=["methods.equations.entropy", "plug.method"])


KINDS = [methods.get(name) for name in methods.names()] + [data.get(name) for name in data.names()]


@functools.cache
def with_an_edit(found: Module) -> Module:
    edited = ast.Module([*found.tree.body, *ast.parse("EDITED = 1").body], [])
    return Module(found.name, edited, found.is_package)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_an_edit_of_any_module_that_is_reached_changes_the_digest(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    before, real, start = source_digest(kind), reached_code.read_module, reached_code._start(kind)
    edited = ""

    def changed(found: Module | None) -> Module | None:
        return with_an_edit(found) if found is not None and found.name == edited else found

    monkeypatch.setattr(reached_code, "read_module", lambda name: changed(real(name)))
    monkeypatch.setattr(reached_code, "_start", lambda code: changed(start))
    for edited in reached_modules(kind):
        source_digest.cache_clear()
        assert source_digest(kind) != before, edited
    for edited in CONTRACT:
        source_digest.cache_clear()
        assert source_digest(kind) == before, edited


def test_datasets_reach_the_forms_and_the_media_that_they_are_stored_by() -> None:
    reached = reached_modules(data.get("crema_d"))
    assert {"data.media.audio", "data.prepared.forms.sound"} <= set(reached)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_no_method_reaches_another_and_none_the_contract(kind: Any) -> None:
    reached = set(reached_modules(kind))
    assert not reached & CONTRACT
    if issubclass(kind, methods.Method):
        folders = {".".join(name.split(".")[:2]) for name in reached}
        own = ".".join(kind.__module__.split(".")[:2])
        assert folders <= {own, "methods.base", "methods.equations"}


SIBLINGS = """
import sys
from sweep.runs.reached_code import source_digest
import plug.method
print(source_digest(plug.method))
"""


def test_a_digest_is_the_same_in_every_process(digest_of: Digest, tmp_path: Path) -> None:
    """The order of a set of texts depends on the hash seed, which is another one in each process."""
    names = [f"sibling{number}" for number in range(6)]
    files = {f"plug/{name}.py": f"value = {number}\n" for number, name in enumerate(names)}
    imports = "".join(f"from plug import {name}\n" for name in names)
    here = digest_of({**files, "plug/__init__.py": "", "plug/method.py": imports})
    (root,) = tmp_path.iterdir()
    path = os.pathsep.join([str(root), *sys.path])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": "random"}
    command = [sys.executable, "-c", SIBLINGS]
    elsewhere = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    assert elsewhere.strip() == here
