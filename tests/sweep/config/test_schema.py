"""Every key of a sweep, its forms and its default."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from methods.base.hyperparameters import MOST_EPOCHS, Choice, Integer, LogUniform, Uniform
from sweep.config import Range
from sweep.config.schema import (
    BudgetSpec,
    LoggersSpec,
    MethodSpec,
    MLflowSpec,
    ResourcesSpec,
    SchedulerSpec,
    SearchSpec,
    Sweep,
    WandbSpec,
)

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


SEARCH = (
    "sweeps: {a: {method: mixer, datasets: [toy], vary: {alpha: auto}, search: {algorithm: tpe, configurations: 3}}}"
)


SMALL = "sweeps:\n  a: {method: mixer, datasets: [toy]}\n"


def test_what_is_not_written_is_filled_in(one):
    sweep = one(SMALL)
    assert (sweep.name, sweep.seeds, sweep.report_seeds, sweep.epochs) == ("a", [0, 1, 2], [], None)
    assert (sweep.search, sweep.scheduler, sweep.metric, sweep.keep) == (None, None, "accuracy", "best")
    assert (sweep.resources.workers, sweep.resources.cpus, sweep.resources.gpus) == (1, 1, 0)
    assert [(m.method, m.label, m.hyperparameters) for m in sweep.methods] == [("mixer", "mixer", {})]


def test_every_key_of_a_sweep(one):
    sweep = one("""
defaults: {keep: all, retries: 3}
sweeps:
  full:
    title: T
    description: D
    reproduces: R
    methods:
      - joint
      - {method: joint, label: joint + unimodal losses, hyperparameters: {unimodal_loss_weight: 1}}
      - mixer
    hyperparameters: {mixer.steps: 4}
    datasets: [toy, files]
    data: {files: {root: here, size: 3}}
    vary: {mixer.alpha: auto, train.lr: {loguniform: [1e-3, 1]}, epochs: {int: [2, 9]}}
    points: [{mixer.alpha: 1}]
    seeds: [5, 6]
    report_seeds: [7]
    epochs: 4
    train: {optimizer: adam, betas: [0.9, 0.99], schedule: {name: cosine}, precision: bf16, device: cpu}
    encoders: {left: mlp, image: {width: 8}}
    search: {algorithm: gp, configurations: 12, seed: 3}
    scheduler: {name: median, grace: 2}
    resources: {workers: 2, cpus: 1.5, gpus: 0.25}
    metric: macro_f1
    timeout: 2h
    patience: 10
    budget: {hours: 0.5}
    test_peak: false
    references: false
""")
    assert sweep.timeout == 7200
    assert (sweep.keep, sweep.retries, sweep.budget.hours, sweep.test_peak) == ("all", 3, 0.5, False)
    assert (sweep.search.algorithm, sweep.search.configurations, sweep.search.seed) == ("gp", 12, 3)
    assert (sweep.scheduler.name, sweep.scheduler.grace, sweep.scheduler.reduction) == ("median", 2, 3)
    assert [m.label for m in sweep.methods] == ["joint", "joint + unimodal losses", "mixer"]
    assert sweep.vary["epochs"] == Range.model_validate({"int": [2, 9]})


@pytest.mark.parametrize(
    ("written", "key", "expected"),
    [
        ("timeout: 90", "timeout", 90),
        ("timeout: 1.5m", "timeout", 90),
        ("timeout: 10s", "timeout", 10),
        ("timeout: 2 h", "timeout", 7200),
        ("timeout: 1d", "timeout", 86400),
        ("checkpoint_every: 2m", "checkpoint_every", 120),
        ("checkpoint_every: 0", "checkpoint_every", 0),
        ("timeout: null", "timeout", None),
        ("scheduler: none", "scheduler", None),
        ("scheduler: {name: none}", "scheduler", None),
        ("search: {algorithm: grid}", "search", None),
        ("search: null", "search", None),
        ("encoders: {left: mlp}", "encoders", {"left": {"name": "mlp"}}),
        ("report_seeds: null", "report_seeds", []),
    ],
)
def test_several_ways_to_write_one_value(one, written, key, expected):
    assert getattr(one(f"sweeps: {{a: {{method: mixer, datasets: [toy], {written}}}}}"), key) == expected


def test_a_search_has_fresh_report_seeds(one):
    text = SEARCH.replace("}}}", "}%s}}")
    assert one(text % "").report_seeds == [100, 101, 102, 103, 104]
    assert one(text % ", report_seeds: []").report_seeds == []
    assert one(text % "", "report_seeds=[8]").report_seeds == [8]


@pytest.mark.parametrize(("gpus", "share"), [(0, 1), (0.25, 0.25), (1, 1), (4, 1)])
def test_a_fraction_of_a_gpu_is_a_workers_share_of_its_memory(gpus: float, share: float) -> None:
    assert ResourcesSpec(gpus=gpus).gpu_share == share


# Limits ---------------------------------------------------------------------------------------------------------------

SEARCHED = {"algorithm": "tpe", "configurations": 3}
ASHA = {"name": "asha"}
MIXER = MethodSpec(method="mixer", label="mixer")


@pytest.mark.parametrize(
    ("kind", "fixed", "name", "within", "beyond"),
    [
        (SearchSpec, SEARCHED, "configurations", [1, 1_000_000], [0, 1_000_001]),
        (SearchSpec, SEARCHED, "batch", [1, 10_000], [0, 10_001]),
        (SearchSpec, SEARCHED, "seed", [0, 2**63 - 1], [-1, 2**63]),
        (SearchSpec, SEARCHED, "objectives", [["map"] * 3], [["map"] * 4]),
        (SearchSpec, SEARCHED, "warm_start", [["s"] * 100], [["s"] * 101, [""]]),
        (SchedulerSpec, ASHA, "grace", [1], [0]),
        (SchedulerSpec, ASHA, "reduction", [2], [1]),
        (ResourcesSpec, {}, "workers", [1, 10_000], [0, 10_001]),
        (ResourcesSpec, {}, "cpus", [0.001, 100_000.0], [0.0, 100_001.0]),
        (ResourcesSpec, {}, "gpus", [0.0, 0.5, 1.0, 2.0, 10_000.0], [-0.1, 1.5, 10_001.0]),
        (BudgetSpec, {"hours": 1.0}, "runs", [1], [0]),
        (BudgetSpec, {"runs": 1}, "hours", [0.001], [0.0]),
        (Sweep, {"name": "a"}, "methods", [[MIXER] * 1_000], [[MIXER] * 1_001]),
        (Sweep, {"name": "a"}, "datasets", [["toy"] * 1_000], [["toy"] * 1_001]),
        (Sweep, {"name": "a"}, "seeds", [[0], list(range(10_000))], [[], list(range(10_001)), [-1]]),
        (Sweep, {"name": "a"}, "splits", [[], list(range(1_000))], [list(range(1_001))]),
        (Sweep, {"name": "a"}, "report_seeds", [[], list(range(10_000))], [list(range(10_001))]),
        (Sweep, {"name": "a"}, "epochs", [1, MOST_EPOCHS], [0, MOST_EPOCHS + 1]),
        (Sweep, {"name": "a"}, "timeout", [0.1, 1_000 * 86400.0], [0.0, 1_000 * 86400.0 + 1]),
        (Sweep, {"name": "a"}, "checkpoint_every", [0.0], [-0.1]),
        (Sweep, {"name": "a"}, "retries", [0, 1_000], [-1, 1_001]),
        (Sweep, {"name": "a"}, "patience", [1], [0]),
    ],
)
def test_a_number_is_taken_up_to_its_limit_and_not_beyond(
    kind: type[BaseModel], fixed: dict[str, Any], name: str, within: list[Any], beyond: list[Any]
) -> None:
    for value in within:
        assert getattr(kind(**fixed | {name: value}), name) == value
    for value in beyond:
        with pytest.raises(ValidationError):
            kind(**fixed | {name: value})


def test_what_a_sweep_does_by_default() -> None:
    assert SearchSpec(**SEARCHED).model_dump() == {
        **SEARCHED, "seed": 0, "objectives": [], "batch": None, "warm_start": [], "racing": False
    }  # fmt: skip
    assert SchedulerSpec(**ASHA).model_dump() == {**ASHA, "grace": 5, "reduction": 3}
    sweep = Sweep(name="a")
    assert (sweep.timeout, sweep.checkpoint_every, sweep.retries, sweep.patience) == (None, 1.0, 1, None)
    assert (sweep.splits, sweep.test_peak, sweep.budget, sweep.not_applicable) == ([], None, None, "refuse")
    assert sweep.references == ["joint", "joint + unimodal losses", "ensemble", "best unimodal"]
    assert sweep.loggers.chosen() == []


# Ranges ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "searched"),
    [
        ({"grid": [1, "a", None]}, Choice((1, "a", None))),
        ({"choice": [1, 2]}, Choice((1, 2))),
        ({"int": [-1, 4]}, Integer(-1, 4)),
        ({"uniform": [-1, 0]}, Uniform(-1.0, 0.0)),
        ({"loguniform": [1e-3, 1]}, LogUniform(1e-3, 1.0)),
    ],
)
def test_a_range_is_searched_as_it_is_written(written: dict[str, Any], searched: object) -> None:
    found = Range.model_validate(written)
    assert found.search_range() == searched
    assert found.model_dump() == written


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ({"loguniform": [0, 1]}, "loguniform needs positive ends"),
        ({"loguniform": [-1, 1]}, "loguniform needs positive ends"),
        ({"uniform": [1, 1]}, "a low end below the high one"),
        ({"int": [2, 1]}, "a low end below the high one"),
        ({"int": [1, 2.5]}, "two whole numbers"),
        ({"int": [False, True]}, "two whole numbers"),
        ({"uniform": [1]}, "uniform needs two numbers"),
        ({"uniform": [1, 2, 3]}, "uniform needs two numbers"),
        ({"grid": []}, "grid is empty"),
        ({"grid": 3}, "grid needs a list"),
        ({"list": [3]}, "no kind of range"),
        ({"grid": [1], "choice": [2]}, "expected auto, each, or one of"),
    ],
)
def test_ends_that_make_no_range_are_refused(written: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Range.model_validate(written)


def test_ranges_that_method_and_dataset_resolve_are_written_in_a_word() -> None:
    for word in ("auto", "each"):
        assert Range.model_validate(word).model_dump() == word


# Values with more than a type -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seeds", [1, 2, 1], "seed 1 stands twice"),
        ("splits", [4, 4], "split 4 stands twice"),
        ("report_seeds", [7, 7], "seed 7 stands twice"),
        ("references", ["joint", "joint"], "joint stands twice"),
        ("references", "joint", "expected true, false, or a list"),
        ("timeout", "2 weeks", "is no time; write seconds"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(name: str, value: Any, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Sweep(**{"name": "a", name: value})


def test_references_are_all_or_none_or_those_that_are_named_in_the_order_of_the_tables() -> None:
    every = ["joint", "joint + unimodal losses", "ensemble", "best unimodal"]
    given = {True: every, False: []}
    assert {flag: Sweep(name="a", references=flag).references for flag in given} == given
    assert Sweep(name="a", references=["ensemble", "joint"]).references == ["joint", "ensemble"]


def test_a_budget_names_something() -> None:
    with pytest.raises(ValidationError, match="name hours, runs or both"):
        BudgetSpec()


def test_the_loggers_that_are_on_are_those_that_are_written() -> None:
    assert LoggersSpec(wandb=WandbSpec()).chosen() == ["wandb"]
    assert LoggersSpec(mlflow=MLflowSpec(), wandb=WandbSpec()).chosen() == ["mlflow", "wandb"]


# Where it was written -------------------------------------------------------------------------------------------------


def test_a_sweep_knows_what_was_written_and_what_comes_from_the_command_line(one):
    sweep = one(SMALL, "train.lr=0.5", "seeds=[4]")
    assert (sweep.wrote(("seeds",)), sweep.wrote(("datasets",)), sweep.wrote(("epochs",))) == (True, True, False)
    said = {path: sweep.from_command_line(path) for path in [("train",), ("train", "lr"), ("seeds",), ("datasets",)]}
    assert said == {("train",): True, ("train", "lr"): True, ("seeds",): True, ("datasets",): False}


def test_a_mistake_in_a_whole_is_of_the_command_line_where_that_wrote_a_part(one):
    text = "sweeps:\n  a: {method: mixer, datasets: [toy], data: {toy: {noise: 0.1}}}\n"
    whole = str(one(text, "epochs=3").problem_of_whole(("data", "toy"), "wrong", "mend it"))
    assert whole.endswith("sweeps.yaml:2: sweeps.a.data.toy: wrong; mend it")
    part = one(text, "data.toy={noise: 0.5}", "epochs=3").problem_of_whole(("data", "toy"), "wrong", "mend it")
    assert str(part) == "command line: data.toy={noise: 0.5}: wrong; mend it"
    two = one(text, "train.lr=1", "train.batch_size=9").problem_of_whole(("train",), "wrong")
    assert str(two) == "command line: train.lr=1 train.batch_size=9: wrong"


def test_an_entry_of_several_methods_is_found_by_its_label(one):
    text = "sweeps: {a: {methods: [joint, {method: joint, label: other}, mixer], datasets: [toy]}}"
    sweep = one(text)
    assert [sweep.entry_path(entry) for entry in sweep.methods] == [("methods", 0), ("methods", 1), ("methods", 2)]
    stranger = sweep.methods[0].model_copy(update={"label": "stranger"})
    assert sweep.entry_path(stranger) == ("methods",)


def test_sweeps_are_equal_where_all_that_they_say_is(one):
    assert one(SMALL) == one(f"# a comment\n{SMALL}")
    assert one(SMALL) != one(SMALL, "seeds=[4]")
    assert one(SMALL) != "a"
