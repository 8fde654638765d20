"""What a command said of a sweep, kept beside its index and said again as long as nothing has changed.

To import torch, to plan and to read the records of thousands of runs takes most of the time of a command that finds
nothing new. An answer is kept with digests of all that it came from: the words of the command and the file of sweeps,
the code, the packages that are installed, the files of the sweep, and of each of its runs times and sizes of the
records. Where any of these differs, or the kept file is damaged, the command looks at everything again. Answers about
data of the user's own are not kept: only looking at the data tells whether they are the same."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from sweep.commands.console import Said, say_again, terminal
from sweep.runs.code_texts import read_text_digests
from sweep.storage.files import StoreError, write_atomic
from sweep.storage.stamps import Stamps, stamp_files

if TYPE_CHECKING:
    from sweep.config import Sweep

FILE = ".answers.json"
"""In the folder of a sweep: command -> its answer."""
RECORDS = ("final.json", "config.json", "test.json", "environment.json", "metrics.jsonl")
TABLES = ("runs.parquet", "runs.csv", "epochs.parquet")
_HASH = re.compile(rb'"hash": ?"([0-9a-zA-Z]{1,64})"')


@dataclass(frozen=True)
class Question:
    """One command about one sweep. digest: of all that the answer comes from, but for runs and written files."""

    folder: Path
    command: str
    digest: str

    def indexed(self) -> list[str]:
        """List the runs of the sweep's index."""
        return sorted({found.decode() for found in _HASH.findall((self.folder / "index.jsonl").read_bytes())})

    def answer(self) -> Said | None:
        """Return the kept answer; None where there is none or anything has changed."""
        try:
            kept = json.loads((self.folder / FILE).read_bytes())[self.command]
            whole = kept["question"] == self.digest and kept["check"] == _check(kept)
            said: Said = kept["said"]
            holds = whole and _stamps(self.folder, kept["runs"]).digest == kept["records"]
            return said if holds and stamp_files(kept["files"]).digest == kept["written"] else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None


@dataclass
class Keeper:
    """Keeps the answer to a question, where it may be kept.

    refused: something spoke against it while the command was at work."""

    question: Question | None
    refused: bool = False
    _runs: list[str] = field(default_factory=list)
    _records: str = ""

    def stamp(self, runs: Iterable[str]) -> None:
        """Stamp the records of runs, before any of them is read."""
        if self.question is None:
            return
        self._runs = sorted(runs)
        found = _stamps(self.question.folder, self._runs)
        self._records = found.digest
        self.refused |= not found.settled

    def keep(self, said: Said, files: Sequence[str] = ()) -> None:
        """Keep an answer with the files that were written; in a folder that cannot be written nothing is kept."""
        if self.question is None or self.refused or not self._records:
            return
        entry = {"question": self.question.digest, "runs": self._runs, "records": self._records, "said": said}
        entry |= {"files": list(files), "written": stamp_files(files).digest}
        path = self.question.folder / FILE
        try:
            before = json.loads(path.read_bytes())
        except (OSError, ValueError):
            before = {}
        kept = before if isinstance(before, dict) else {}
        kept[self.question.command] = {**entry, "check": _check(entry)}
        with suppress(StoreError):
            write_atomic(path, json.dumps(kept).encode())


@contextmanager
def keeping(question: Question | None) -> Iterator[Keeper]:
    """Keep no answer beside which anything was warned of: the warning would not be said again."""
    keeper, show = Keeper(question), warnings.showwarning

    def shown(*warned: Any, **options: Any) -> None:
        keeper.refused = True
        show(*warned, **options)

    warnings.showwarning = shown
    try:
        yield keeper
    finally:
        warnings.showwarning = show


def question_about(options: argparse.Namespace, name: str) -> Question | None:
    """Ask what a command asks about a sweep; None where no answer is kept: the results are elsewhere, or there are
    none. To be asked before the command reads anything."""
    folder = Path(options.results) / name
    if "://" in str(options.results) or "/" in name or not (folder / "index.jsonl").is_file():
        return None
    words = {key: str(value) for key, value in vars(options).items() if key not in ("names", "no_report")}
    overrides = [word for word in options.names if "=" in word]
    try:
        read = [folder / file for file in sorted(os.listdir(folder)) if file[0] != "." and file not in TABLES]
        texts = {str(path): _content(path) for path in [options.file, *read] if path.is_file()}
        parts = [name, words, overrides, texts, read_text_digests(), sys.version, sys.path, sorted(_installed())]
    except OSError:
        return None
    return Question(folder, options.command, hashlib.sha256(json.dumps(parts).encode()).hexdigest())


def _installed() -> Iterator[str]:
    """Name what is installed, with versions, and say where."""
    for folder in sys.path:
        with suppress(OSError):
            yield from (name for name in os.listdir(folder) if name.endswith((".dist-info", ".egg-info", ".pth")))


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _stamps(folder: Path, runs: Iterable[str]) -> Stamps:
    root = f"{folder.parent}/runs"
    return stamp_files(f"{root}/{run}/{record}" for run in runs for record in RECORDS)


def _check(kept: dict[str, Any]) -> str:
    parts = {name: value for name, value in kept.items() if name != "check"}
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def depends_on_files_elsewhere(sweep: Sweep) -> bool:
    """Tell whether the plan of a sweep depends on what is neither code nor results: data or weights on this machine,
    methods or datasets of other packages."""
    import data
    from sweep.config import freeze

    plug_ins = any(entry_points(group=group) for group in ("sweep.methods", "sweep.datasets"))
    return plug_ins or any(data.get(name).paths for name in sweep.datasets) or "pretrained" in freeze(sweep)


def repeat_answers(options: argparse.Namespace) -> bool:
    """Say again what the command said when it was last given, where that holds for every sweep that it names. True
    where it was said and nothing is left to do."""
    if not _may_be_repeated(options):
        return False
    said = list[Said]()
    for name in dict.fromkeys(word for word in options.names if "=" not in word):
        question = question_about(options, name)
        answer = None if question is None else question.answer()
        if answer is None or (options.command == "run" and _is_locked(Path(options.results) / name)):
            return False
        said.append(answer)
    for each in said:
        say_again(each, terminal())
    return bool(said)


def _may_be_repeated(options: argparse.Namespace) -> bool:
    if options.command == "run":
        in_job = "RAY_JOB_ID" in os.environ or "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ
        return options.no_report and not (options.force or options.dry_run or in_job)
    return options.command == "show" or (options.command == "report" and not options.tex)


def _is_locked(folder: Path) -> bool:
    """Tell whether another process runs the sweep, or may do."""
    lock = FileLock(folder / ".lock", fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except (Timeout, OSError):
        return True
    lock.release()
    return False
