"""Failures of runs that are trained in this process: nothing but the run that fails is touched by them."""

from __future__ import annotations

import io
import resource
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml
from rich.console import Console
from support.command_desk import Desk
from support.troubled_method import Odd

import data
import methods
from data.base import DataError, Dataset
from data.digits import Digits, DigitsOptions
from data.registry import Found
from sweep.config import load
from sweep.engine import local
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.engine.progress import Progress
from sweep.runs.records import FinalRecord
from sweep.runs.store import Store
from sweep.search.proposals import Nothing
from sweep.storage.files import LockedError

SWEEP: dict[str, Any] = {
    "method": "iprm",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"alpha": {"grid": [0.1, 0.5, 0.9]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


def test_each_failure_of_a_sweep_is_counted_by_cause_retried_aloud_and_shown(tmp_path: Path) -> None:
    desk = Desk(tmp_path, odd=True)
    troubles = ["none", "raise", "diverge", "exit", "exhaust"]
    desk.write(s=SWEEP | {"method": "odd", "vary": {"trouble": {"grid": troubles}}, "seeds": [0], "epochs": 4})
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (1, "")
    assert out.count("trying again (1 of 1)") == 3
    assert "1 diverged, 3 failed (1 error, 1 memory, 1 process)" in out
    code, shown, _ = desk.run("show", "s")
    assert code == 0
    assert "3 failed: 1 error, 1 memory, 1 process" in shown
    assert "failed (memory): RuntimeError" in shown
    assert "lower train.batch_size" in shown
    assert shown.count("after 2 attempts") == 3
    rows = {row["hp.trouble"]: row for row in desk.table()}
    assert {name: row["status"] for name, row in rows.items()} == {
        "none": "done",
        "diverge": "diverged",
        **dict.fromkeys(["raise", "exit", "exhaust"], "failed"),
    }


def sweep_in_process(folder: Path, retries: int = 0, **keys: Any) -> tuple[Store, str]:
    """Train a small sweep here; the store and what was said."""
    file, said = folder / "sweeps.yaml", io.StringIO()
    file.write_text(yaml.safe_dump({"sweeps": {"s": SWEEP | {"seeds": [0], "retries": retries} | keys}}))
    store, console = Store(folder / "results"), Console(file=said, width=400)
    execute(load(file, ["s"], [])[0], store, Execution(local=True), RaySession(), console)
    return store, said.getvalue()


def finals(store: Store) -> list[FinalRecord]:
    found = [store.run(path.parent.name).final() for path in (store.results / "runs").glob("*/final.json")]
    return [final for final in found if final is not None]


@pytest.fixture
def odd(monkeypatch: pytest.MonkeyPatch) -> None:
    """The odd method among the others."""
    monkeypatch.setattr(methods.METHODS, "found", Found(methods.METHODS.found.usable | {"odd": Odd}))


class FragileOptions(DigitsOptions):
    file: str


class Fragile(Digits):
    """The digits, as long as a file exists."""

    name = "fragile"
    Options = FragileOptions
    paths = frozenset({"file"})

    @classmethod
    def load(cls, options: FragileOptions) -> Dataset:  # type: ignore[override]
        if not Path(options.file).exists():
            raise DataError(f"{options.file}: no such file")
        return super().load(options)


def test_after_each_epoch_it_is_asked_whether_the_run_is_still_held(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, shown = list[str](), list[tuple[Any, ...]]()

    def check_held() -> None:
        asked.append("held")
        if len(asked) == 2:
            raise LockedError("another driver may hold it")

    records = [
        SimpleNamespace(epoch=n, epochs=3, metrics={"validation_accuracy": n}, selectable=None) for n in (1, 2, 3)
    ]
    monkeypatch.setattr(local, "train", lambda run, folder, timeout, checkpoint_every: iter(records))
    store = SimpleNamespace(check_held=check_held, run=lambda run_hash: None)
    sweep = SimpleNamespace(timeout=None, checkpoint_every=1.0)
    agenda: Any = SimpleNamespace(plan=SimpleNamespace(sweep=sweep), store=store)
    progress: Any = SimpleNamespace(epoch=lambda *told: shown.append(told))
    task: Any = SimpleNamespace(hash="abc", run=SimpleNamespace(metric="accuracy"))
    with pytest.raises(LockedError, match="another driver"):
        local._train(task, agenda, progress)
    assert shown == [("abc", 1, 3, 1), ("abc", 2, 3, 2)]


def test_runs_of_another_driver_are_looked_at_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    done = list[object]()
    found = iter([Nothing.NOW, "a task", Nothing.NOW, Nothing.LEFT, "never"])
    agenda: Any = SimpleNamespace(next=lambda: next(found))
    progress: Any = SimpleNamespace(started=lambda task: done.append(f"started {task}"))
    monkeypatch.setattr(local.time, "sleep", done.append)
    monkeypatch.setattr(local, "_train", lambda task, agenda, progress: f"trained {task}")
    monkeypatch.setattr(local, "end_task", lambda agenda, progress, task, final: done.append(final))
    local.run_local(agenda, progress)
    assert done == [0.5, "started a task", "trained a task", 0.5]


@pytest.mark.parametrize(("timeout", "watched"), [(None, []), (60.0, [(60.0, 80.0, "cancelled")])])
def test_a_run_with_a_timeout_is_watched_until_it_ends(
    monkeypatch: pytest.MonkeyPatch, timeout: float | None, watched: list[object]
) -> None:
    seen = list[object]()

    def watch(folder: object, timeout: float, after: float, last: object) -> SimpleNamespace:
        assert (folder, last) == (own, "stuck")
        return SimpleNamespace(cancel=lambda: seen.append((timeout, after, "cancelled")))

    monkeypatch.setattr(local, "Watchdog", watch)
    monkeypatch.setattr(local, "train", lambda run, folder, **options: iter(()))
    final = FinalRecord(status="done")
    own = SimpleNamespace(final=lambda: final)
    plan = SimpleNamespace(sweep=SimpleNamespace(timeout=timeout, checkpoint_every=1.0))
    agenda: Any = SimpleNamespace(plan=plan, store=SimpleNamespace(run=lambda run_hash: own))
    progress: Any = SimpleNamespace(stuck="stuck")
    task: Any = SimpleNamespace(hash="abc", run=None)
    assert local._train(task, agenda, progress) is final
    assert seen == watched


def test_a_dataset_that_disappears_fails_its_runs_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data.DATASETS, "found", Found(data.DATASETS.found.usable | {"fragile": Fragile}))
    file = tmp_path / "clips.csv"
    file.touch()
    started = Progress.started

    def vanish(progress: Progress, task: Any) -> None:
        file.unlink(missing_ok=True)
        started(progress, task)

    monkeypatch.setattr(Progress, "started", vanish)
    options = {"digits": {"train_samples": 200}, "fragile": {"train_samples": 200, "file": str(file)}}
    store, said = sweep_in_process(tmp_path, datasets=["fragile", "digits"], data=options, vary={})
    assert sorted(final.status for final in finals(store)) == ["done", "failed"]
    failed = next(final for final in finals(store) if final.status == "failed")
    assert failed.cause == "data"
    assert f"no such file (on {socket.gethostname()}); data.fragile.file is {file}" in (failed.reason or "")
    assert "1 failed (1 data)" in said


@pytest.mark.usefixtures("odd")
def test_a_run_that_hangs_is_interrupted_past_its_timeout_and_the_next_one_goes_on(tmp_path: Path) -> None:
    warm = tmp_path / "warm"  # what is imported once must not take the time of a run
    warm.mkdir()
    sweep_in_process(warm, method="odd", vary={})
    keys = {"method": "odd", "vary": {"trouble": {"grid": ["hang", "raise"]}}, "timeout": 1, "epochs": 4}
    store, _ = sweep_in_process(tmp_path, **keys)
    ends = {final.cause: final for final in finals(store)}
    assert len(finals(store)) == 2
    assert "raise timeout" in (ends["timeout"].reason or "")


def test_a_full_disk_stops_the_sweep_with_one_message_and_loses_nothing(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(s=SWEEP | {"epochs": 40, "seeds": [0]})
    process = desk.begin("run", "s", "--local", "--no-report")
    desk.wait_for(1, process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (4096, 4096))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "File too large" in err
    assert "run the same command again to go on" in err
    assert "Traceback" not in out + err
    kept = len(desk.finished())
    assert 1 <= kept < 3
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, "")
    assert f"{kept} kept from earlier" in out


def test_no_rule_judges_a_network_of_which_a_branch_is_untrained(tmp_path: Path) -> None:
    """IGM trains one modality after the other: before the last one's first turn there is nothing to compare."""
    store, said = sweep_in_process(
        tmp_path,
        method="igm",
        epochs=2,
        vary={"rho": {"grid": [0.3, 0.1, 0.05, 0.02, 0.01, 0.001]}},
        scheduler={"name": "asha", "grace": 1, "reduction": 2},
        patience=1,
    )
    ended = {}
    for folder in (store.run(path.name) for path in (tmp_path / "results" / "runs").iterdir()):
        records = folder.epochs()
        assert [r.selectable for r in records] == [None, *range(1, len(records))]
        assert records[0].phase == "cycle 1 left"
        final = folder.final()
        assert final is not None
        ended[final.status] = min(len(records), ended.get(final.status, 99))
    assert ended["pruned"] >= 2, said
    assert ended["done"] >= 3


def test_wrong_data_fails_every_run_that_reads_it_once_and_with_one_line(tmp_path: Path) -> None:
    sound = np.zeros((400, 6), np.float32)
    sound[300, 2] = np.nan
    np.savez(tmp_path / "set.npz", sound=sound, image=np.zeros((400, 3), np.float32), labels=np.arange(400) % 4)
    desk = Desk(tmp_path)
    options = {"arrays": {"root": "set.npz", "modalities": ["sound", "image"]}, "digits": {"train_samples": 200}}
    methods = ["joint", "iprm"]
    keys = {key: value for key, value in SWEEP.items() if key not in ("method", "vary")}
    desk.write(s=keys | {"methods": methods, "datasets": ["arrays", "digits"], "data": options, "retries": 2})
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (1, "")
    assert "trying again" not in out
    lines = [line for line in out.splitlines() if " on arrays seed " in line]
    assert [line.partition(":")[0] for line in lines] == [f"{m} on arrays seed {k}" for m in methods for k in (0, 1)]
    (said,) = {line.partition(": ")[2] for line in lines}
    assert said.startswith(f"failed (data): DataError: {tmp_path / 'set.npz'}: sound[300] holds a number that is not")
    assert "s: 8 of 8 runs ended, 4 failed (4 data)" in out
    rows = [row for row in desk.table() if row["dataset"] == "arrays"]
    assert [row["status"] for row in rows] == ["failed"] * 4
    assert len(list((tmp_path / "results" / "runs").glob("*/attempts.jsonl"))) == 5  # four on the digits, one here


def test_epochs_without_validation_are_recorded_drawn_and_judged_by_nobody(tmp_path: Path) -> None:
    """A method that trains beside its budget: no table, figure or rule stumbles over what is not there."""
    desk = Desk(tmp_path, odd=True)
    keys = {"method": "estimates", "vary": {"train.lr": {"grid": [0.05, 0.02, 0.3]}}, "epochs": 4}
    desk.write(s=SWEEP | keys | {"seeds": [0], "patience": 1, "scheduler": {"name": "asha", "grace": 1}})
    code, out, err = desk.run("run", "s", "--local", "--no-report")
    assert (code, err) == (0, ""), out
    store = Store(tmp_path / "results")
    courses = [store.run(path.parent.name).epochs() for path in (tmp_path / "results" / "runs").glob("*/final.json")]
    for records in courses:
        assert [bool(record.metrics) for record in records] == [not r.phase.startswith("estimate") for r in records]
        assert [r.selectable for r in records if not r.metrics] == 2 * (len(records) > 4) * [None] + 2 * [None]
    for words in (("show", "s"), ("list", "sweeps"), ("report", "s"), ("run", "s", "--dry-run")):
        code, out, err = desk.run(*words)
        assert (code, err) == (0, ""), (words, out)
    assert list((tmp_path / "results" / "s").rglob("*.html"))
