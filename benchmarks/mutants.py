"""How many small changes of the code its tests notice.

    python -m benchmarks.mutants sweep.runs.store sweep.engine.claims --limit 40 --seed 0

In a copy of the checkout the named modules are changed one place at a time: a comparison, a boundary, a sign, a
condition, a constant, a statement left out. After each change the mirrored tests run, without those that start Ray.
Printed are the share of changes that made a test fail, and those that none noticed. A change that cannot make a
difference goes into the file of equivalent ones, by the line that is printed of it, and counts no more.
"""

from __future__ import annotations

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from benchmarks.mutant_runs import ROOT, unnoticed
from benchmarks.mutations import mutations

EQUIVALENT = Path(__file__).with_name("equivalent_mutants.txt")

LIBRARIES = ("numpy", "torch", "pandas", "scipy.stats", "optuna", "pydantic", "yaml", "rich.console", "pyarrow.fs",
             "hypothesis", "pytest")  # fmt: skip
"""Imported once, before tests run in processes of their own."""


def module_path(module: str, root: Path) -> Path:
    """Find the file of a module, counted from ``root``. Raises SystemExit where there is none."""
    plain = Path(*module.split("."))
    for path in (plain.with_suffix(".py"), plain / "__init__.py"):
        if (root / path).exists():
            return path
    raise SystemExit(f"there is no module {module}")


def mirrored_tests(path: Path, root: Path) -> list[Path]:
    """List the test files of a module, which mirror its place: ``tests/FOLDER/test_FILE.py``, or one for its folder.
    Underscores around the module's name are left out: ``test_init.py`` tests ``__init__.py``."""
    folder, name = path.parent, path.stem.strip("_")
    candidates = [
        Path("tests", folder, f"test_{name}.py"),
        Path("tests", folder.parent, f"test_{folder.name}_{name}.py"),
        Path("tests", folder.parent, f"test_{folder.name}.py"),
    ]
    return [candidate for candidate in candidates if (root / candidate).exists()][:1]


def copy_checkout(root: Path, to: Path) -> None:
    """Copy what git knows of the checkout, and what it does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, check=True, capture_output=True).stdout.decode()
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, to / name)


def measure(modules: Sequence[str], named: Sequence[str], limit: int, seed: int, equivalent: set[str]) -> bool:
    """Print which of ``limit`` changes of modules their tests notice; True where there is none left unnoticed."""
    for library in LIBRARIES:
        import_module(library)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # a test may become another user, who has to read the code
        checkout = Path(folder).resolve() / "checkout"
        copy_checkout(ROOT, checkout)
        tests = {str(path): find_tests(path, checkout, named) for path in (module_path(m, checkout) for m in modules)}
        candidates = [each for path in tests for each in mutations((checkout / path).read_text("utf-8"), path)]
        candidates = [each for each in candidates if each.key not in equivalent]
        chosen = sorted(random.Random(seed).sample(range(len(candidates)), min(limit, len(candidates))))
        changes = [candidates[number] for number in chosen]
        made = Counter(change.path for change in changes)
        noticed = made.copy()
        for survivor in unnoticed(checkout, tests, changes):
            noticed[survivor.path] -= 1
            print(f"{survivor.path}:{survivor.line}\n  - {survivor.before}\n  + {survivor.after}", flush=True)
    for path in tests:
        print(f"{path}: {noticed[path]} of {made[path]} noticed")
    share = 100 * noticed.total() / max(1, made.total())
    print(f"all: {noticed.total()} of {made.total()} noticed, {share:.0f} %, of {len(candidates)} that there are")
    return noticed == made


def find_tests(path: Path, root: Path, named: Sequence[str]) -> list[str]:
    """List the test files of a module, and those that are named besides. Raises SystemExit where there are none."""
    found = [*map(str, mirrored_tests(path, root)), *named]
    if not found:
        raise SystemExit(f"{path} has no mirrored test; name one with --tests")
    return found


def read_keys(path: Path) -> set[str]:
    """Read the keys of changes to leave out, one a line; lines that begin with # say why."""
    lines = path.read_text("utf-8").splitlines() if path.exists() else []
    return {line.strip() for line in lines if line.strip() and not line.startswith("#")}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("modules", nargs="+", metavar="MODULE")
    arguments.add_argument("--tests", nargs="*", default=[], help="test files beside the mirrored ones")
    arguments.add_argument("--limit", type=int, default=40, help="changes at most, of all modules together")
    arguments.add_argument("--seed", type=int, default=0, help="which changes, where there are more")
    arguments.add_argument("--equivalent", type=Path, default=EQUIVALENT, help="file of changes to leave out")
    given = arguments.parse_args()
    all_noticed = measure(given.modules, given.tests, given.limit, given.seed, read_keys(given.equivalent))
    sys.exit(0 if all_noticed else 1)


if __name__ == "__main__":
    main()
