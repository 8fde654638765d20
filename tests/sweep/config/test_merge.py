"""Defaults below, the sweep above, overrides on top."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

from sweep import config
from sweep.config import Range

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


SEARCH = (
    "sweeps: {a: {method: mixer, datasets: [toy], vary: {alpha: auto}, search: {algorithm: tpe, configurations: 3}}}"
)


SMALL = "sweeps:\n  a: {method: mixer, datasets: [toy]}\n"


def test_defaults_lie_below_a_sweep(one):
    sweep = one("""
defaults:
  methods: [joint, ranker]
  seeds: [4]
  train: {lr: 0.3, weight_decay: 0.0, schedule: {name: step, every: 5, factor: 0.5}}
  data: {toy: {noise: 0.5}, files: {size: 3}}
  encoders: {left: {name: mlp, width: 8}, right: {name: mlp, width: 8}}
  hyperparameters: {alpha: 0.3, radius: {left: 0.1}}
  resources: {cpus: 2}
sweeps:
  a:
    method: mixer
    datasets: [toy]
    train: {lr: 0.1, schedule: {name: cosine}}
    data: {toy: {views: [right, left]}}
    encoders: {left: cnn, right: {depth: 1}}
    hyperparameters: {radius: {right: 0.2}}
    resources: {gpus: 1}
""")
    assert [m.method for m in sweep.methods] == ["mixer"]
    assert sweep.seeds == [4]
    assert sweep.train == {"lr": 0.1, "weight_decay": 0.0, "schedule": {"name": "cosine"}}
    assert sweep.data == {"toy": {"noise": 0.5, "views": ["right", "left"]}, "files": {"size": 3}}
    assert sweep.encoders == {"left": {"name": "cnn"}, "right": {"name": "mlp", "width": 8, "depth": 1}}
    assert sweep.hyperparameters == {"alpha": 0.3, "radius": {"right": 0.2}}
    assert (sweep.resources.cpus, sweep.resources.gpus) == (2, 1)


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("epochs=5", "epochs", 5),
        ("epochs=null", "epochs", None),
        ("references=false", "references", []),
        ("retries=0", "retries", 0),
        ("encoders={}", "encoders", {}),
        ("timeout=30m", "timeout", 1800),
        ("train.lr=1e-3", "train", {"lr": 1e-3}),
        ("train.schedule.every=3", "train", {"schedule": {"every": 3}}),
        ("data.toy.noise=0", "data", {"toy": {"noise": 0}}),
        ("hyperparameters.steps=2", "hyperparameters", {"steps": 2}),
        ("hyperparameters.mixer.steps=2", "hyperparameters", {"mixer.steps": 2}),
        ("datasets=[files, toy]", "datasets", ["files", "toy"]),
        ("encoders.left=cnn", "encoders", {"left": {"name": "cnn"}}),
        ("title=a: b", "title", None),
        ("title='a = b'", "title", "a = b"),
        ("budget.hours=2", "budget", config.BudgetSpec(hours=2)),
    ],
)
def test_an_override_is_a_yaml_value_at_a_key(one, override, key, expected):
    text = "sweeps: {a: {method: mixer, datasets: [toy], epochs: 9, data: {files: {root: x}}}}"
    if expected is None and key == "title":
        assert problem_lines(one, text, override) == ["command line: title=a: b: expected a text, not a mapping"]
        return
    sweep = one(text, override)
    found = getattr(sweep, key)
    assert found == ({"files": {"root": "x"}} | expected if key == "data" else expected)


def test_overrides_of_a_range_replace_it(one):
    assert one(SEARCH, "vary.alpha.grid=[0.1, 0.5]").vary["alpha"] == Range.model_validate({"grid": [0.1, 0.5]})
    assert one(SEARCH, "vary.alpha={uniform: [0, 1]}").vary["alpha"] == Range.model_validate({"uniform": [0, 1]})
    more = one(SEARCH, "vary.train.lr.loguniform=[0.01, 0.1]", "search.configurations=4")
    assert list(more.vary) == ["alpha", "train.lr"]
    assert (more.search.algorithm, more.search.configurations) == ("tpe", 4)


def test_the_last_override_wins(one):
    assert one(SMALL, "epochs=5", "epochs=6").epochs == 6
    assert one(SMALL, "scheduler=median", "scheduler.grace=2").scheduler.grace == 2
    assert one(SMALL, "method=joint").methods[0].method == "joint"
    assert [m.label for m in one(SMALL, "methods=[joint, ranker]").methods] == ["joint", "ranker"]


def test_an_override_is_stronger_than_the_entry_of_a_method(one):
    text = "sweeps: {a: {methods: [{method: mixer, hyperparameters: {steps: 9, alpha: 0.1}}], datasets: [toy]}}"
    sweep = one(text, "hyperparameters.steps=2")
    assert sweep.hyperparameters == {"steps": 2}
    assert sweep.methods[0].hyperparameters == {"alpha": 0.1}


def test_an_override_that_would_be_lost_is_refused(one):
    points = "sweeps: {a: {method: mixer, datasets: [toy], points: [{alpha: 0.1}, {steps: 2}]}}"
    assert problem_lines(one, points, "hyperparameters.alpha=0.3") == [
        "command line: hyperparameters.alpha=0.3: the points of this sweep set alpha; write points=[...] instead"
    ]
    assert problem_lines(one, SEARCH, "hyperparameters.alpha=0.3") == [
        "command line: hyperparameters.alpha=0.3: this sweep varies alpha; write vary.alpha=... instead"
    ]
    assert problem_lines(one, SMALL, "data.files.size=3") == [
        "command line: data.files.size=3: this sweep does not use files; there are: toy"
    ]
