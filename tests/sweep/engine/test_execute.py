"""What a results folder goes through: killed drivers on storage, drivers side by side, files lost or in the way."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from support.command_desk import Desk, kill
from support.hand_driven_agenda import Driver
from support.small_runs import make_environment, make_plan

from sweep.config import load
from sweep.engine import execute as execute_module
from sweep.engine import local
from sweep.engine.agenda import Agenda
from sweep.engine.execute import Execution, Upkeep, execute, execute_agenda
from sweep.engine.memory import MemoryPatience
from sweep.engine.on_ray.session import RaySession
from sweep.engine.progress import Progress, end_task
from sweep.engine.tally import Tally
from sweep.engine.tasks import Task
from sweep.plan.configurations import Configuration
from sweep.runs import environment
from sweep.runs.code_texts import code_digest
from sweep.runs.environment import ChangedCodeError
from sweep.runs.index import Index
from sweep.runs.records import FinalRecord, IndexEntry
from sweep.runs.store import Store

SWEEP: dict[str, Any] = {
    "method": "joint",
    "datasets": ["digits"],
    "data": {"digits": {"train_samples": 200}},
    "vary": {"train.lr": {"grid": [0.02, 0.05]}},
    "seeds": [0, 1],
    "epochs": 3,
    "references": False,
}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_sweep_on_a_uri_is_killed_and_resumed_on_another_machine(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(s=SWEEP | {"epochs": 6})
    words = ["s", "--local", "--results", (desk.folder / "remote").as_uri()]
    monkeypatch.setenv("SWEEP_MIRROR", str(desk.folder / "one"))
    process = desk.begin("run", *words, "--no-report")
    desk.wait_for(1, process, "remote")
    kill(process)
    before = {path: path.stat().st_mtime_ns for path in desk.finished("remote")}
    assert 1 <= len(before) < 4
    monkeypatch.setenv("SWEEP_MIRROR", str(desk.folder / "other"))
    code, out, err = desk.run("resume", *words)
    assert (code, err) == (0, "")
    assert f"{len(before)} kept from earlier" in out
    assert before.items() <= {path: path.stat().st_mtime_ns for path in desk.finished("remote")}.items()
    assert (desk.folder / "remote/s/report/index.html").exists()
    assert not list((desk.folder / "remote").glob("runs/*/checkpoint.pt"))
    assert not list((desk.folder / "remote").glob("**/*.partial"))
    # As an uninterrupted sweep in a folder, read through the mirror or not.
    desk.write(s=SWEEP | {"epochs": 6})
    assert run(desk, "whole").done == 4
    assert desk.table(results="remote") == desk.table(results="whole")


def test_two_drivers_share_the_runs_that_both_name(desk: Desk) -> None:
    desk.write(s=SWEEP, t=SWEEP)
    drivers = [desk.begin("run", name, "--local", "--no-report") for name in ("s", "t")]
    said = [driver.communicate(timeout=500)[0] for driver in drivers]
    assert [driver.returncode for driver in drivers] == [0, 0]
    kept = [int(out.rpartition(" kept from earlier")[0].rpartition(" ")[2]) if "kept" in out else 0 for out in said]
    assert sum(kept) == 4
    starts = [path.read_text().count("started") for path in desk.folder.glob("results/runs/*/attempts.jsonl")]
    assert starts == [1] * 4
    assert [row["hash"] for row in desk.table("s")] == [row["hash"] for row in desk.table("t")]


def test_a_results_path_that_is_a_file_is_refused(desk: Desk) -> None:
    desk.write(s=SWEEP)
    (desk.folder / "results").write_text("")
    code, _, err = desk.run("run", "s", "--local")
    assert code == 1
    assert "a file stands where a folder is needed; choose another --results" in err
    assert "Traceback" not in err


def run(desk: Desk, results: str = "results") -> Tally:
    """The sweep, in this process."""
    (sweep,) = load(desk.folder / "sweeps.yaml", ["s"], [])
    return execute(sweep, desk.folder / results, Execution(local=True), RaySession(), Console(quiet=True))


@pytest.mark.parametrize("lost", ["results/s/index.jsonl", "results/s"])
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {
            "vary": {"train.lr": {"loguniform": [0.01, 0.1]}},
            "search": {"algorithm": "tpe", "configurations": 3},
            "seeds": [0],
        },
    ],
    ids=["grid", "search"],
)
def test_a_lost_folder_of_a_sweep_is_rebuilt_without_training(desk: Desk, keys: dict[str, Any], lost: str) -> None:
    desk.write(s=SWEEP | {"epochs": 1} | keys)
    first = run(desk)
    table = desk.table()
    path = desk.folder / lost
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    again = run(desk)
    assert (again.done, again.kept) == (first.done, first.done)
    assert desk.table() == table


def test_damaged_runs_are_trained_again_and_the_others_kept(desk: Desk) -> None:
    desk.write(s=SWEEP | {"epochs": 1})
    run(desk)
    table, finals = desk.table(), desk.finished()
    finals[0].write_bytes(b"")
    (finals[1].parent / "config.json").write_bytes(b"")
    (finals[2].parent / "test.json").write_bytes(b"")
    index = desk.folder / "results/s/index.jsonl"
    index.write_text(index.read_text()[:-30])
    again = run(desk)
    assert (again.done, again.kept) == (4, 1)
    assert desk.table() == table


def test_an_index_with_torn_lines_is_repaired_when_it_is_opened(tmp_path: Path) -> None:
    fields = {"method": "joint", "label": "joint", "dataset": "digits", "role": "sweep", "configuration": "c"}
    entries = [IndexEntry(hash=f"{number}", values={}, seed=number, **fields) for number in range(3)]
    path = tmp_path / "index.jsonl"
    lines = [entry.model_dump_json() for entry in entries]
    path.write_text(f"{lines[0]}\n{lines[1][:20]}\n\0\0\n{lines[2][:30]}")
    index = Index(path)
    assert path.read_text() == lines[0] + "\n"
    for entry in entries[:2]:
        index.add(entry)
    assert path.read_text() == "".join(line + "\n" for line in lines[:2])
    index.add(entries[2])
    index.close()
    assert [json.loads(line)["hash"] for line in path.read_text().splitlines()] == ["0", "1", "2"]


def test_code_that_was_rewritten_before_training_trains_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write(s=SWEEP)
    monkeypatch.setattr(environment, "_checked", {})
    monkeypatch.setattr(environment, "read_code_digest", lambda: "rewritten")
    with pytest.raises(ChangedCodeError, match="was rewritten after the sweep was planned"):
        run(desk, "results")
    assert desk.finished() == []


# By hand -------------------------------------------------------------------------------------------------------------


class Hand:
    """Ends runs without training them, where the local executor would train; notes what is done around it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.most = folder, 10**9
        self.seen: list[str] = []
        self.code = code_digest()
        monkeypatch.setattr(local, "run_local", self.run_local)
        monkeypatch.setattr(execute_module, "prepare_datasets", lambda *_: self.seen.append("prepared"))
        monkeypatch.setattr(execute_module, "check_code", lambda digest: self.seen.append("code checked"))
        monkeypatch.setattr(Store, "push", lambda _, name: self.seen.append(f"pushed {name}"))
        monkeypatch.setattr(Store, "pull", lambda _, *names: self.seen.append(f"pulled {' '.join(names)}"))

    def run_local(self, agenda: Agenda, progress: Progress) -> None:
        self.seen.append("trained")
        while self.most and isinstance(task := agenda.next(), Task):
            self.most -= 1
            folder = agenda.store.run(task.hash)
            folder.open(task.run, make_environment(code=self.code))
            final = FinalRecord(status="done", metrics={"validation_accuracy": 0.5})
            folder.commit(final)
            end_task(agenda, progress, task, final)

    def execute(self, force: bool = False, **keys: Any) -> tuple[Tally, list[str]]:
        """How the runs of a sweep ended, and what was said."""
        self.seen.clear()
        out, sweep = io.StringIO(), make_plan(self.folder, **{"seeds": [0, 1], **keys}).sweep
        tally = execute(
            sweep, self.folder / "results", Execution(True, force), RaySession(), Console(file=out, width=200)
        )
        return tally, out.getvalue().splitlines()


@pytest.fixture
def hand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hand:
    return Hand(tmp_path, monkeypatch)


def test_a_sweep_is_pulled_frozen_prepared_trained_and_pushed(hand: Hand) -> None:
    tally, said = hand.execute()
    assert (tally.done, tally.kept) == (2, 0)
    assert [line.rpartition(", ")[0] for line in said] == ["s: 2 of 2 runs ended"]
    assert hand.seen == ["pulled s", "pushed s", "prepared", "code checked", "trained", "pushed s", "pushed s"]
    assert load(hand.folder / "results" / "s" / "sweep.yaml")[0].seeds == [0, 1]
    assert len((hand.folder / "results" / "s" / "index.jsonl").read_text().splitlines()) == 2
    # Nothing is prepared or checked where nothing is left to train, and nobody holds the sweep any more.
    tally, said = hand.execute()
    assert (tally.done, tally.kept) == (2, 2)
    assert [line.rpartition(", ")[0] for line in said] == ["s: 2 of 2 runs ended, 2 kept from earlier"]
    assert "trained" not in hand.seen
    assert "prepared" not in hand.seen
    tally, _ = hand.execute(force=True)
    assert (tally.done, tally.kept) == (2, 0)
    Store(hand.folder / "results").lock("s").release()


def test_a_sweep_that_is_configured_otherwise_than_before_is_frozen_anew(hand: Hand) -> None:
    frozen = hand.folder / "results" / "s" / "sweep.yaml"
    said = "configured otherwise than at its last run: its report now shows what belongs to this configuration"
    anew = f"s: {said}; no run is lost"
    assert anew not in hand.execute()[1]
    assert anew not in hand.execute()[1]
    assert hand.execute(seeds=[0, 1, 2])[1][0] == anew
    assert load(frozen)[0].seeds == [0, 1, 2]
    frozen.write_bytes(b"")  # a power cut
    assert anew not in hand.execute()[1]
    assert load(frozen)[0].seeds == [0, 1]


def test_a_sweep_that_is_configured_otherwise_and_stopped_lists_no_run_of_before(hand: Hand) -> None:
    index = hand.folder / "results" / "s" / "index.jsonl"

    def seeds_and_epochs() -> list[tuple[int, int]]:
        runs = [(entry.seed, Store(hand.folder / "results").run(entry.hash).config()) for entry in entries()]
        return [(seed, run.epochs) for seed, run in runs if run is not None]

    def entries() -> list[IndexEntry]:
        return [IndexEntry.model_validate_json(line) for line in index.read_text().splitlines()]

    hand.execute(seeds=[0, 1, 2], epochs=1)
    hand.most = 0
    with pytest.raises(KeyboardInterrupt):
        hand.execute(seeds=[2, 1, 5], epochs=1)
    assert seeds_and_epochs() == [(1, 1), (2, 1)]
    with pytest.raises(KeyboardInterrupt):
        hand.execute(seeds=[1], epochs=2)
    assert seeds_and_epochs() == []
    hand.execute(seeds=[0, 1, 2], epochs=1)
    assert seeds_and_epochs() == [(0, 1), (1, 1), (2, 1)]


def test_what_a_budget_leaves_is_told(hand: Hand) -> None:
    tally, said = hand.execute(budget={"runs": 1}, seeds=[0, 1, 2])
    assert tally.done == 1
    assert said[-1] == "s: budget spent, 2 runs not started; run again to go on"


def test_an_executor_that_leaves_something_was_interrupted(hand: Hand) -> None:
    hand.most = 1
    with pytest.raises(KeyboardInterrupt):
        hand.execute()
    assert hand.seen[-1] == "pushed s"
    hand.most = 9
    assert hand.execute()[0].kept == 1


def test_on_ray_it_is_trained_to_the_end_with_a_watch_and_patience_with_the_memory_of_ones_own_machine(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, seen = io.StringIO(), list[object]()

    class Session:
        is_own = True

        def watch(self, stuck: Any) -> str:
            return "a watch"

    def run_tuned(of: Agenda, progress: Progress, watch: object, patience: MemoryPatience) -> None:
        seen.extend([of is agenda, watch, patience.holds_back()])
        hand.run_local(agenda, progress)

    def to_the_end(of: Agenda, progress: Progress, cluster: object, train: Callable[[], None]) -> None:
        seen.append(cluster)
        train()

    monkeypatch.setitem(sys.modules, "sweep.engine.on_ray.tune", SimpleNamespace(run_tuned=run_tuned))
    monkeypatch.setattr(execute_module, "train_to_the_end", to_the_end)
    monkeypatch.setattr(execute_module, "is_short", lambda: True)
    for own in (True, False):
        ray: Any = Session()
        ray.is_own = own
        agenda = Driver(hand.folder / str(own), seeds=[0]).agenda
        with Progress(Console(file=out, width=300), "s", 1, agenda.tally) as progress:
            execute_agenda(agenda, progress, Execution(), ray)
        assert seen == [ray, True, "a watch", own]
        assert agenda.failed_unstarted == progress.finished
        seen.clear()
    assert out.getvalue().count("memory is short: ") == 1


def test_runs_that_were_kept_from_earlier_code_are_told(hand: Hand) -> None:
    hand.code = "before"
    hand.execute(seeds=[0, 1])
    hand.code = code_digest()
    _, said = hand.execute(seeds=[0, 1, 2])
    assert said[-1] == (
        "2 runs were kept that earlier code trained: since then code of an unknown folder changed (their methods and "
        "datasets did not); --force trains them again"
    )
    assert not any("earlier code" in line for line in hand.execute(force=True)[1])


def test_what_a_driver_keeps_is_sent_at_the_first_end_and_then_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, sent, ended = [0.0], list[float](), list[int]()
    monkeypatch.setattr(execute_module.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Store, "push", lambda _, name: sent.append(now[0]))

    class Keeper:
        def ended(self, configuration: Configuration, trained: list[str], outcomes: dict[int, FinalRecord]) -> None:
            ended.append(len(trained))

    upkeep = Upkeep(Store(tmp_path), "s", Keeper())  # type: ignore[arg-type]
    configuration = make_plan(tmp_path).studies[0].configurations[0]
    for seconds in (0.0, 29.0, 30.0, 31.0, 60.0, 62.0):
        now[0] = seconds
        upkeep.ended(configuration, ["h"], {})
    assert sent == [0.0, 31.0, 62.0]
    assert ended == [1] * 6
