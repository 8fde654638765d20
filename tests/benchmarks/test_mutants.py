"""The tests that mirror a module, and the changes of it that count."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.mutants import find_tests, mirrored_tests, module_path, read_keys


def test_the_find_tests_a_module_mirror_its_place(tmp_path: Path) -> None:
    for name in ("sweep/runs/store.py", "methods/aug/method.py", "models/encoders/i3d.py", "sweep/runs/__init__.py",
                 "tests/sweep/runs/test_store.py", "tests/methods/test_aug.py", "tests/models/test_encoders_i3d.py",
                 "tests/models/test_encoders.py", "data/__init__.py", "tests/data/test_init.py",
                 "models/encoders/_hub.py", "tests/models/test_encoders_hub.py"):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = {
        module: [path.as_posix() for path in mirrored_tests(module_path(module, tmp_path), tmp_path)]
        for module in (
            "sweep.runs.store",
            "methods.aug.method",
            "models.encoders.i3d",
            "models.encoders._hub",
            "data",
            "sweep.runs",
        )
    }
    assert found == {
        "sweep.runs.store": ["tests/sweep/runs/test_store.py"],
        "methods.aug.method": ["tests/methods/test_aug.py"],
        "models.encoders.i3d": ["tests/models/test_encoders_i3d.py"],
        "models.encoders._hub": ["tests/models/test_encoders_hub.py"],
        "data": ["tests/data/test_init.py"],
        "sweep.runs": [],
    }
    with pytest.raises(SystemExit, match=r"there is no module sweep\.nothing"):
        module_path("sweep.nothing", tmp_path)


def test_a_module_without_tests_is_refused(tmp_path: Path) -> None:
    assert find_tests(Path("m.py"), tmp_path, ["tests/test_other.py"]) == ["tests/test_other.py"]
    with pytest.raises(SystemExit, match=r"m\.py has no mirrored test; name one with --tests"):
        find_tests(Path("m.py"), tmp_path, [])


def test_equivalent_changes_are_read_without_their_reasons(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("# because\nm.py: a < b -> a <= b\n\n")
    assert read_keys(tmp_path / "keys.txt") == {"m.py: a < b -> a <= b"}
    assert read_keys(tmp_path / "none.txt") == set()
