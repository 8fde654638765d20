import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweep import config
from sweep.config import ConfigError, Range, freeze, load, load_frozen, validate
from sweep.config.resolve import target

pytest_plugins = ["fakes"]
pytestmark = pytest.mark.usefixtures("fakes")

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def write(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(text, name="sweeps.yaml"):
        Path(name).write_text(text, encoding="utf-8")
        return name

    return write


@pytest.fixture
def one(write):
    """The first sweep of a text."""

    def one(text, *overrides):
        return load(write(text), None, list(overrides))[0]

    return one


def lines(call, *arguments):
    with pytest.raises(ConfigError) as caught:
        call(*arguments)
    return str(caught.value).splitlines()


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


def test_sweeps_come_in_the_order_asked_for(write):
    file = write("sweeps: {a: {method: mixer, datasets: [toy]}, b: {method: joint, datasets: [toy]}}")
    assert [s.name for s in load(file)] == config.names(file) == ["a", "b"]
    assert [s.name for s in load(file, ["b", "a", "b"])] == ["b", "a"]
    assert lines(load, file, ["bb"]) == ["command line: bb: no sweep of this name; did you mean b?"]


def test_only_the_sweeps_asked_for_must_be_right(write):
    file = write("sweeps: {good: {method: mixer, datasets: [toy]}, bad: {method: x, datasets: [toy]}}")
    assert load(file, ["good"])[0].name == "good"
    assert len(lines(load, file)) == len(lines(validate, file)) == 1


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("epochs=5", "epochs", 5),
        ("epochs=null", "epochs", None),
        ("references=false", "references", False),
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
        assert lines(one, text, override) == ["command line: title=a: b: expected a text, not a mapping"]
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
    assert lines(one, points, "hyperparameters.alpha=0.3") == [
        "command line: hyperparameters.alpha=0.3: the points of this sweep set alpha; write points=[...] instead"
    ]
    assert lines(one, SEARCH, "hyperparameters.alpha=0.3") == [
        "command line: hyperparameters.alpha=0.3: this sweep varies alpha; write vary.alpha=... instead"
    ]
    assert lines(one, SMALL, "data.files.size=3") == [
        "command line: data.files.size=3: this sweep does not use files; there are: toy"
    ]


def test_encoders_of_other_datasets_may_stay_in_the_file(one):
    text = "sweeps: {a: {method: mixer, datasets: [toy], encoders: {left: mlp}, data: {files: {root: x}}}}"
    assert one(text, "datasets=[files]").datasets == ["files"]
    assert lines(one, text, "encoders.audio=mlp")[0].startswith("command line: encoders.audio=mlp: no modality")


def test_what_two_values_forbid_together_is_found_by_validation(write):
    file = write("""
sweeps:
  a:
    method: mixer
    datasets: [toy]
    vary:
      kind: {grid: [round, flat]}
      alpha: {grid: [0.5, 1]}
""")
    assert load(file)[0].name == "a"
    assert lines(validate, file) == [
        "sweeps.yaml:6: sweeps.a.vary: flat mixing needs alpha below 1 (dataset toy), with kind = flat, alpha = 1"
    ]


def test_a_point_is_checked_as_a_whole(one):
    text = """
sweeps:
  a:
    method: mixer
    datasets: [toy]
    points:
      - {kind: flat}
      - {kind: flat, alpha: 1}
"""
    assert lines(one, text) == ["sweeps.yaml:8: sweeps.a.points[1]: flat mixing needs alpha below 1 (dataset toy)"]


def test_a_wrong_method_does_not_move_the_mistakes_of_the_others(one):
    text = """
sweeps:
  a:
    methods:
      - mixxer
      - {method: mixer, hyperparameters: {step: 2}}
      - {method: ranker, hyperparameters: {beta: 2}}
    datasets: [toy]
"""
    assert lines(one, text) == [
        "sweeps.yaml:5: sweeps.a.methods[0]: no method called 'mixxer'; did you mean mixer?",
        "sweeps.yaml:6: sweeps.a.methods[1].hyperparameters.step: no hyperparameter of mixer called 'step'; "
        "did you mean steps?",
        "sweeps.yaml:7: sweeps.a.methods[2].hyperparameters.beta: expected a number at most 1, not 2",
    ]


def test_a_frozen_sweep_is_equal_and_its_mistakes_have_lines(one, write):
    sweep = one(
        """
defaults: {epochs: 3, title: "yes", reproduces: "1e-4"}
sweeps:
  a:
    methods: [mixer, {method: joint, label: "null"}]
    datasets: [toy]
    vary: {mixer.radius: {grid: [1e-15, 0.2, {left: 0.1}]}, train.lr: {loguniform: [1e-3, 1]}}
    search: {algorithm: tpe, configurations: 3}
    scheduler: asha
    timeout: 2h
""",
        "epochs=4",
        "keep=none",
    )
    text = freeze(sweep)
    assert load_frozen(write(text, "sweep.yaml")) == sweep
    assert freeze(load_frozen("sweep.yaml")) == text
    assert sweep != load_frozen(write(freeze(sweep.model_copy(update={"epochs": 5}))))
    found = lines(load_frozen, write(text.replace("method: mixer", "method: mixr"), "sweep.yaml"))
    assert found[0].startswith("sweep.yaml:7: sweeps.a.methods[0]: no method called 'mixr'")


def test_a_frozen_file_holds_one_sweep(write):
    file = write("sweeps: {a: {method: mixer, datasets: [toy]}, b: {method: joint, datasets: [toy]}}")
    assert lines(load_frozen, file) == ["sweeps.yaml: sweeps: expected one frozen sweep, found 2"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    title=st.none() | st.text(),
    values=st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
)
def test_freezing_loses_nothing(tmp_path, title, values, seeds):
    base = {"name": "a", "methods": [{"method": "mixer", "label": "mixer"}], "datasets": ["toy"]}
    sweep = config.Sweep.model_validate({**base, "title": title, "vary": {"alpha": {"grid": values}}, "seeds": seeds})
    file = tmp_path / "sweep.yaml"
    file.write_text(freeze(sweep), encoding="utf-8")
    assert load_frozen(file) == sweep


@pytest.mark.parametrize(
    ("name", "room", "owner", "path"),
    [
        ("alpha", "hyperparameters", None, ("alpha",)),
        ("iprm.alpha", "hyperparameters", "iprm", ("alpha",)),
        ("train.lr", "train", None, ("lr",)),
        ("train.schedule.every", "train", None, ("schedule", "every")),
        ("data.noise", "data", None, ("noise",)),
        ("data.toy.noise", "data", "toy", ("noise",)),
        ("encoders.left.width", "encoders", None, ("left", "width")),
        ("epochs", "epochs", None, ("epochs",)),
    ],
)
def test_a_varied_name_says_what_it_sets(name, room, owner, path):
    found = target(name)
    assert (found.room, found.owner, found.path) == (room, owner, path)


def test_validating_imports_nothing_heavy():
    script = (
        "import sys; from sweep import config; config.validate('sweeps.yaml'); "
        "heavy = 'ray torchvision torchaudio transformers sklearn scipy optuna'; "
        "print([name for name in heavy.split() if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr
