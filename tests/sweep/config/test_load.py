import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.config_problems import problem_lines

from sweep import config
from sweep.config import freeze, load, load_frozen
from sweep.plan.validate import validate

pytest_plugins = ["support.sweep_files"]

pytestmark = pytest.mark.usefixtures("fakes")


def test_sweeps_come_in_the_order_asked_for(write):
    file = write("sweeps: {a: {method: mixer, datasets: [toy]}, b: {method: joint, datasets: [toy]}}")
    assert [s.name for s in load(file)] == config.names(file) == ["a", "b"]
    assert [s.name for s in load(file, ["b", "a", "b"])] == ["b", "a"]
    assert problem_lines(load, file, ["bb"]) == ["command line: bb: no sweep of this name; did you mean b?"]


def test_what_is_wrong_on_the_command_line_is_said_at_once(write):
    file = write("sweeps: {a: {method: mixer, datasets: [toy]}}")
    lines = problem_lines(load, file, ["a", "b"], ["epochs", "epochs=3", "=4"])
    assert [line.split(":")[1].strip() for line in lines] == ["epochs", "=4", "b"]


def test_what_is_no_sweep_is_said_beside_what_is_wrong_in_the_others(write):
    text = "extra: 1\nsweeps:\n  a: 3\n  b c: {method: mixer, datasets: [toy], epoch: 4}\n"
    keys = [line.split(": ")[1] for line in problem_lines(load, write(text))]
    assert keys == ["extra", "sweeps.a", "sweeps.b c", "sweeps.b c.epoch"]
    # What defaults would have been is not known, and so not what the sweeps lack.
    keys = [line.split(": ")[1] for line in problem_lines(load, write("defaults: 1\n" + text))]
    assert keys == ["defaults", "extra", "sweeps.a", "sweeps.b c"]


def test_only_the_sweeps_asked_for_must_be_right(write):
    file = write("sweeps: {good: {method: mixer, datasets: [toy]}, bad: {method: x, datasets: [toy]}}")
    assert load(file, ["good"])[0].name == "good"
    assert len(problem_lines(load, file)) == len(problem_lines(validate, file)) == 1


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
    found = problem_lines(load_frozen, write(text.replace("method: mixer", "method: mixr"), "sweep.yaml"))
    assert found[0].startswith("sweep.yaml:8: sweeps.a.methods[0]: no method called 'mixr'")


def test_a_frozen_file_holds_one_sweep(write):
    file = write("sweeps: {a: {method: mixer, datasets: [toy]}, b: {method: joint, datasets: [toy]}}")
    assert problem_lines(load_frozen, file) == ["sweeps.yaml: sweeps: expected one frozen sweep, found 2"]


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    title=st.none() | st.text(st.characters(exclude_categories=["Cs", "Cc", "Cf", "Cn", "Zl", "Zp"])),
    values=st.lists(st.floats(0, 1), min_size=1, max_size=4, unique=True),
    seeds=st.lists(st.integers(0, 99), min_size=1, max_size=4, unique=True),
)
def test_freezing_loses_nothing(tmp_path, title, values, seeds):
    base = {"name": "a", "methods": [{"method": "mixer", "label": "mixer"}], "datasets": ["toy"]}
    sweep = config.Sweep.model_validate({**base, "title": title, "vary": {"alpha": {"grid": values}}, "seeds": seeds})
    file = tmp_path / "sweep.yaml"
    file.write_text(freeze(sweep), encoding="utf-8")
    assert load_frozen(file) == sweep
