"""Every key of a sweep, its forms and its default."""

from __future__ import annotations

import pytest

from sweep.config import Range
from sweep.config.schema import ResourcesSpec

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
