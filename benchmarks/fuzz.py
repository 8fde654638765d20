"""Damaged inputs through the command line, in this process: no traceback, an exit code that is documented, nothing
written outside the folders given, and after all of it the sweep's table as it was.

    python -m benchmarks.fuzz --minutes 10 [--seed 0]

A case damages one file of a small desk (sweeps.yaml, npz, CSV, exports, records of runs and sweeps) and runs one
command on it. ``tests/benchmarks/test_fuzz.py`` runs some hundred cases; this runs as many as fit in the time, drawn
anew with each seed, and stops at the first that is wrong, which Hypothesis then makes as small as it can."""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import shutil
import signal
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from sweep.commands.main import main
from sweep.results.tables import load

CODES = (0, 1, 2, 3)
"""Done, some runs failed, a mistake, locked."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Those that commands handle, and this process as it did."""

ODD: tuple[Any, ...] = (
    None, True, -1, 0, 1, 0.5, 1e308, 10**18, 10**30, "", "x", "../x", "/etc", "[/b]", "$\\foo$", "<b>", "=1+1",
    "é" * 300, [], {}, [[]], [None], {"x": None}, [-1, 0], "null", "nan", "\x1b[31m",
)  # fmt: skip
"""Values that stand in place of others."""

GARBAGE = (
    b"",
    b"\0",
    b"\xff\xfe",
    b"[",
    b"{",
    b'"',
    b"\n",
    b"&a [*a]",
    b"NaN",
    b"1e999",
    b": - ",
    b"PK\x03\x04",
    b"\x80" * 64,
)
"""Bytes that are put into files."""

SWEEPS: dict[str, Any] = {
    "s": {
        "methods": ["joint", "ogm"],
        "datasets": ["arrays"],
        "data": {"arrays": {"root": "data.npz", "modalities": ["a", "b"]}},
        "encoders": {"a": {"name": "mlp", "width": 4}, "b": {"name": "mlp", "width": 4}},
        "vary": {"train.lr": {"grid": [0.01, 0.1]}},
        "keep": "all",
    },
    "q": {
        "method": "ogm",
        "datasets": ["digits"],
        "data": {"digits": {"train_samples": 60}},
        "vary": {"alpha": {"uniform": [0.1, 0.9]}},
        "search": {"algorithm": "random", "configurations": 2},
    },
    "m": {
        "method": "joint",
        "datasets": ["manifest"],
        "data": {
            "manifest": {
                "root": "rows.csv",
                "allow_repeats": True,  # all rows name one picture
                "modalities": {name: {"kind": "image", "size": 8} for name in "xy"},
            }
        },
        "encoders": {"x": "mlp", "y": "mlp"},
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One damage and one command. target: the part of a file's name that says which; how: what is done to its bytes."""

    target: str
    command: tuple[str, ...]
    how: Callable[[bytes], bytes | None]
    said: str

    def __repr__(self) -> str:
        return f"{self.said} of {self.target}, then {' '.join(self.command)}"


class FuzzDesk:
    """A folder with a sweeps file, data, results of two sweeps and an export."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "desk"
        self.folder.mkdir(parents=True)
        draw = np.random.default_rng(0)
        labels = np.arange(24) % 2
        arrays = {"a": draw.normal(size=(24, 4)) + labels[:, None], "b": draw.normal(size=(24, 3))}
        np.savez(self.folder / "data.npz", labels=labels, **arrays)
        (self.folder / "p.ppm").write_bytes(b"P6 8 8 255\n" + bytes(range(192)))
        rows = "".join(f"p.ppm,p.ppm,{label}\n" for label in labels)
        (self.folder / "rows.csv").write_text(f"x,y,label\n{rows}")
        defaults = {"seeds": [0], "epochs": 1, "references": False}
        (self.folder / "sweeps.yaml").write_text(
            yaml.safe_dump({"defaults": defaults, "sweeps": SWEEPS}, sort_keys=False)
        )
        with self._here():
            for words in (("run", "s", "q", "--local", "--no-report"), ("export", "s")):
                code, said = run(words)
                assert code == 0, said
        self._before = self._everything()
        self._table = self._rows()

    def check(self, case: Case) -> None:
        """Run a case and put everything back. Raises AssertionError where the command did what none may."""
        path = self._file(case.target)
        damaged = case.how(path.read_bytes())
        if damaged is None:
            path.unlink()
        else:
            path.write_bytes(damaged)
        try:
            with self._here():
                code, said = run(case.command)
            assert code in CODES, f"{case}: exit code {code}\n{said}"
            assert "Traceback" not in said, f"{case}\n{said}"
            strange = {p for p in self.folder.parent.rglob("*") if not p.is_relative_to(self.folder)}
            assert not strange, f"{case}: wrote {strange}"
            tops = {p.name for p in self.folder.iterdir()} - {"results", "exports", "predictions.csv"}
            assert tops <= {"data.npz", "p.ppm", "rows.csv", "sweeps.yaml"}, f"{case}: wrote {tops}"
        finally:
            self._restore()

    def check_table(self) -> None:
        """Run the sweep once more. Raises AssertionError where its table is another."""
        with self._here():
            code, said = run(("run", "s", "--local", "--no-report"))
        assert code == 0, said
        assert self._rows() == self._table
        self._restore()

    def _file(self, target: str) -> Path:
        return sorted(self.folder.glob(target))[0]

    def _everything(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.folder.rglob("*") if path.is_file()}

    def _restore(self) -> None:
        for path in sorted(self.folder.rglob("*"), reverse=True):
            if path.is_file() and path not in self._before:
                path.unlink()
            elif path.is_dir() and not any(path.iterdir()):
                path.rmdir()
        for path, content in self._before.items():
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)

    def _rows(self) -> str:
        frame = load(self.folder / "results" / "s").sort_values("hash")
        kept = [c for c in frame if not str(c).startswith(("env.", "seconds", "samples_per", "peak_memory"))]
        return str(frame[kept].to_json(orient="records", double_precision=15))

    @contextlib.contextmanager
    def _here(self) -> Iterator[None]:
        with contextlib.chdir(self.folder):
            yield


def run(words: Sequence[str]) -> tuple[int, str]:
    """Run a command in this process; returns its exit code and all that it says. Raises what a command should not."""
    said, handlers = io.StringIO(), {number: signal.getsignal(number) for number in SIGNALS}
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), warnings.catch_warnings():
        try:
            code = main(list(words))
        except SystemExit as end:
            code = int(end.code or 0)
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    return code, said.getvalue()


# Damage ---------------------------------------------------------------------------------------------------------------


def bytes_damage() -> st.SearchStrategy[tuple[Callable[[bytes], bytes | None], str]]:
    """Cut a file, empty it, take it away, or put garbage over a part of it."""

    def spoiled(place: float, length: int, garbage: bytes) -> tuple[Callable[[bytes], bytes | None], str]:
        def how(content: bytes) -> bytes:
            start = int(place * len(content))
            return content[:start] + garbage + content[start + length :]

        return how, f"{garbage!r} over {length} bytes at {place:.2f}"

    def cut(place: float) -> tuple[Callable[[bytes], bytes | None], str]:
        return lambda content: content[: int(place * len(content))], f"all but the first {place:.2f}"

    places = st.floats(0, 1)
    gone: tuple[Callable[[bytes], bytes | None], str] = (lambda content: None, "the absence")
    return st.one_of(
        st.builds(spoiled, places, st.integers(0, 40), st.sampled_from(GARBAGE) | st.binary(max_size=8)),
        st.builds(cut, places),
        st.just(gone),
    )


def values_damage(
    parsed: Callable[[str], Any], written: Callable[[Any], str]
) -> st.SearchStrategy[tuple[Callable[[bytes], bytes | None], str]]:
    """Put an odd value in place of another, of a text that ``parsed`` reads and ``written`` writes."""

    def odd(which: float, value: Any, gone: bool) -> tuple[Callable[[bytes], bytes | None], str]:
        def how(content: bytes) -> bytes:
            document = parsed(content.decode())
            places = list(_places(document))
            holder, key = places[int(which * (len(places) - 1))]
            if gone:
                del holder[key]
            else:
                holder[key] = value
            return written(document).encode()

        return how, "a value left out" if gone else f"{value!r:.40} in place of value {which:.2f}"

    return st.builds(odd, st.floats(0, 1), st.sampled_from(ODD), st.booleans())


def _places(document: Any) -> Iterator[tuple[Any, Any]]:
    """List the places of all values within a document."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for key, value in inner:
        yield document, key
        yield from _places(value)


def _lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.splitlines()]


def _as_lines(document: list[Any]) -> str:
    return "".join(json.dumps(line) + "\n" for line in document)


BYTES = bytes_damage()
YAML = BYTES | values_damage(yaml.safe_load, lambda document: yaml.safe_dump(document, allow_unicode=True))
JSON = BYTES | values_damage(json.loads, json.dumps)
JSONL = BYTES | values_damage(_lines, _as_lines)

RUN = ("run", "s", "--local", "--no-report")
RECORDS = (
    RUN,
    ("show", "s"),
    ("clean", "--dry-run"),
    ("clean", "--orphans", "--stale"),
    ("export", "s"),
    ("list", "sweeps"),
)
SWEEP_FILES = (RUN, ("show", "s"), ("resume", "s", "--local", "--no-report"), ("clean", "--orphans"), ("export", "s"))
FILES = (
    ("validate",),
    ("show", "s"),
    ("run", "s", "q", "--dry-run"),
    ("list", "sweeps"),
    ("run", "s", "--local", "--no-report"),
)
PREDICT = (("predict", "exports/s"), ("predict", "exports/s", "data.npz"))

TARGETS: dict[str, tuple[st.SearchStrategy[Any], Sequence[tuple[str, ...]]]] = {
    "sweeps.yaml": (YAML, FILES),
    "data.npz": (BYTES, (("validate",), ("run", "s", "--local", "--no-report", "--force"), *PREDICT)),
    "rows.csv": (BYTES, (("validate",), ("prepare", "manifest", "--root", "rows.csv", "--local"))),
    "exports/s/*.safetensors": (BYTES, PREDICT),
    "exports/s/*.json": (JSON, PREDICT),
    "results/runs/*/config.json": (JSON, RECORDS),
    "results/runs/*/final.json": (JSON, RECORDS),
    "results/runs/*/test.json": (JSON, RECORDS),
    "results/runs/*/environment.json": (JSON, RECORDS),
    "results/runs/*/metrics.jsonl": (JSONL, RECORDS),
    "results/runs/*/weights.safetensors": (BYTES, (("export", "s"), RUN)),
    "results/s/index.jsonl": (JSONL, SWEEP_FILES),
    "results/s/sweep.yaml": (YAML, SWEEP_FILES),
    "results/q/study.journal": (JSONL, (("run", "q", "--local", "--no-report"), ("replay", "q"))),
}
"""Which file, what is done to it, and the commands that read it."""

REPORTED = {name: TARGETS[name][0] for name in TARGETS if name.startswith("results/") and "json" in name}
REPORTED["results/s/sweep.yaml"] = TARGETS["results/s/sweep.yaml"][0]
"""Files that ``report`` reads, too, which takes a hundred times as long as the other commands."""


def cases() -> st.SearchStrategy[Case]:
    """Draw a case of any command but ``report``."""
    return _cases({name: (damage, commands) for name, (damage, commands) in TARGETS.items()})


def report_cases() -> st.SearchStrategy[Case]:
    """Draw a case of ``report``."""
    return _cases({name: (damage, (("report", "s"),)) for name, damage in REPORTED.items()})


def _cases(targets: dict[str, tuple[st.SearchStrategy[Any], Sequence[tuple[str, ...]]]]) -> st.SearchStrategy[Case]:
    def of(target: str) -> st.SearchStrategy[Case]:
        damage, commands = targets[target]
        return st.builds(
            lambda how, words: Case(target, words, how[0], how[1]), damage, st.sampled_from(list(commands))
        )

    return st.sampled_from(sorted(targets)).flatmap(of)


def check_many(desk: FuzzDesk, drawn: st.SearchStrategy[Case], count: int, number: int | None = None) -> None:
    """Check ``count`` cases. number: seeds what is drawn; None: always the same. Raises AssertionError."""

    @settings(max_examples=count, deadline=None, database=None, derandomize=number is None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(drawn)
    def each(case: Case) -> None:
        desk.check(case)

    (each if number is None else seed(number)(each))()


def fuzz() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    folder, began, number = Path(tempfile.mkdtemp(prefix="sweep-fuzz-")), time.monotonic(), options.seed
    os.environ["SWEEP_CACHE"] = str(folder / "cache")
    try:
        desk, done = FuzzDesk(folder / "box"), 0
        while time.monotonic() - began < 60 * options.minutes:
            check_many(desk, cases(), 200, number)
            check_many(desk, report_cases(), 5, number)
            desk.check_table()
            number, done = number + 1, done + 205
        print(f"{done} cases, seeds {options.seed} to {number - 1}: none wrong")
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    fuzz()
