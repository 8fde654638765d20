"""The rule of the race, by hand; its record; and configurations that leave it."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from support.hand_driven_agenda import Driver
from support.small_runs import make_plan

from benchmarks import racing_rates
from sweep.engine.tasks import Task
from sweep.search.proposals import Nothing
from sweep.search.racing import RISK, Decision, Race, RaceLog, margin


def race_of(values: dict[str, list[float]], seeds: int = 3) -> Race:
    race = Race(range(seeds))
    for name, own in values.items():
        for seed, each in enumerate(own):
            race.add(name, seed, each)
    return race


def test_the_margin_is_students_bound_of_a_difference_of_means() -> None:
    # t(0.975, 4) = 2.776445 from tables
    assert margin(0.1, 4, 2, 0.025) == pytest.approx(2.776445 * 0.1 * math.sqrt(2 / 2), rel=1e-6)
    assert margin(0.1, 4, 8, 0.025) == pytest.approx(2.776445 * 0.1 / 2, rel=1e-6)


def test_equal_configurations_are_lost_as_seldom_as_said() -> None:
    lost, _, _, _ = racing_rates.rates(0.0, configurations=12, seeds=5, searches=60)
    assert lost < RISK
    _, best, saved, loss = racing_rates.rates(2.0, configurations=12, seeds=5, searches=60)
    assert best < RISK
    assert saved > 0.25
    assert loss < 0.02


def test_a_comparison_by_hand() -> None:
    race = race_of({"a": [0.8, 0.7, 0.9], "b": [0.7, 0.6, 0.5], "c": [0.5, 0.4]})
    compared = race.compare("c")
    assert compared is not None
    leader, difference, width = compared
    # within: 0.02 and 2 degrees, 0.02 and 2, 0.005 and 1; on the seeds 0 and 1 the leader has 0.75, c 0.45
    deviation = math.sqrt((0.02 + 0.02 + 0.005) / 5)
    assert (leader, difference) == ("a", pytest.approx(-0.3))
    # Two looks of three seeds, and two that might lead: t(1 - 0.05 / 4, 5) = 3.163381 from tables.
    assert width == pytest.approx(3.163381 * deviation, rel=1e-6)


def test_the_leader_has_the_best_mean_over_all_seeds_and_is_looked_at_on_common_ones() -> None:
    race = race_of({"a": [0.1, 0.9, 0.8], "b": [0.5, 0.5, 0.5], "c": [0.9, 0.9], "d": [0.2]})
    compared = race.compare("d")
    assert compared is not None
    assert compared[:2] == ("a", pytest.approx(0.1))  # c would lead, but has not all seeds; a's own first seed is 0.1
    assert race.compare("a") is None


def test_nothing_is_decided_with_too_few_degrees_of_freedom_or_no_leader() -> None:
    assert race_of({"a": [0.9, 0.9, 0.9], "b": [0.1]}).compare("b") is None
    assert (
        race_of({"a": [0.9, 0.9], "b": [0.8, 0.8], "c": [0.8, 0.8], "d": [0.8, 0.8], "e": [0.1]}).compare("e") is None
    )
    decided = race_of({"a": [0.9, 0.9, 0.9], "b": [0.8, 0.8, 0.8], "c": [0.1]}).compare("c")
    assert decided == ("a", pytest.approx(-0.8), pytest.approx(0))


def test_a_seed_that_is_told_twice_counts_once() -> None:
    values = {"a": [0.8, 0.7, 0.9], "b": [0.7, 0.6, 0.5], "c": [0.5, 0.4]}
    race = race_of(values)
    for name, own in values.items():
        for seed, each in enumerate(own):
            race.add(name, seed, each)
    assert race.compare("c") == race_of(values).compare("c")
    # Two degrees of freedom are too few, however often they are told.
    few = race_of({"a": [0.8, 0.7, 0.9], "b": [0.1]})
    for _ in range(3):
        few.add("a", 2, 0.9)
        few.add("b", 0, 0.1)
    assert few.compare("b") is None


def test_of_a_seed_that_is_told_twice_the_later_value_counts() -> None:
    race = race_of({"a": [0.9, 0.9, 0.9], "b": [0.8, 0.8, 0.8], "c": [0.7]})
    race.add("a", 1, 0.1)  # its mean is now below that of b
    assert race.compare("b") is None
    compared = race.compare("a")
    assert compared is not None
    assert compared == race_of({"b": [0.8, 0.8, 0.8], "a": [0.9, 0.1, 0.9], "c": [0.7]}).compare("a")


def question(configuration: str, seeds: list[int]) -> Decision:
    return Decision(
        label="l", dataset="d", configuration=configuration, number=1, objective="accuracy", seeds=seeds, stays=True
    )


def test_a_decision_that_was_made_is_never_made_again(tmp_path: Path) -> None:
    path = tmp_path / "race.jsonl"
    race = race_of({"a": [0.9, 0.91, 0.9], "b": [0.8, 0.81, 0.8], "c": [0.1]})
    made = RaceLog(path, fresh=False).decide(question("c", [0]), race)
    assert (made.stays, made.leader, made.difference) == (False, "a", pytest.approx(-0.8))
    with path.open("a") as file:
        file.write('{"label": "l", "da')  # the process died here
    empty = Race(range(3))
    again = RaceLog(path, fresh=False)
    assert again.decide(question("c", [0]), empty) == made
    assert again.decide(question("c", [0, 1]), empty).stays
    assert [json.loads(line)["seeds"] for line in path.read_text().splitlines()] == [[0], [0, 1]]
    assert RaceLog(path, fresh=True).decide(question("c", [0]), empty).stays


def test_what_the_margin_covers_stays(tmp_path: Path) -> None:
    race = race_of({"a": [0.8, 0.7, 0.9], "b": [0.7, 0.6, 0.5], "c": [0.6, 0.5], "d": [0.2, 0.1]})
    log = RaceLog(tmp_path / "race.jsonl", fresh=False)
    near, far = log.decide(question("c", [0, 1]), race), log.decide(question("d", [0, 1]), race)
    for decision in (near, far):
        assert decision.difference is not None
        assert decision.margin is not None
        assert decision.difference < 0 < decision.margin
        assert decision.stays is (decision.difference + decision.margin >= 0)
    assert (near.stays, far.stays) == (True, False)
    # As good as the leader, where no value differs at all: nothing speaks against it.
    equal = race_of({"a": [0.5, 0.5, 0.5], "b": [0.5, 0.5, 0.5], "c": [0.5]})
    assert RaceLog(tmp_path / "equal.jsonl", fresh=False).decide(question("c", [0]), equal).stays


def test_of_equal_means_the_first_leads() -> None:
    compared = race_of({"a": [0.9, 0.9, 0.9], "b": [0.9, 0.9, 0.9], "c": [0.1]}).compare("c")
    assert compared is not None
    assert compared[0] == "a"


def test_a_torn_line_loses_no_decision_but_its_own(tmp_path: Path) -> None:
    path = tmp_path / "race.jsonl"
    race = race_of({"a": [0.9, 0.91, 0.9], "b": [0.8, 0.81, 0.8], "c": [0.1], "d": [0.1]})
    log = RaceLog(path, fresh=False)
    before = log.decide(question("c", [0]), race)
    with path.open("a") as file:
        file.write('{"label": "l", "da')  # there was no room for the rest
    after = log.decide(question("d", [0]), race)
    again, empty = RaceLog(path, fresh=False), Race(range(3))
    assert [again.decide(question(name, [0]), empty) for name in ("c", "d")] == [before, after]
    assert [json.loads(line)["configuration"] for line in path.read_text().splitlines()] == ["c", "d"]


def test_a_log_that_begins_torn_is_taken_up_all_the_same(tmp_path: Path) -> None:
    path = tmp_path / "race.jsonl"
    kept = question("c", [0])
    path.write_text('{"label": "l", "da\n' + kept.model_dump_json() + "\n")
    RaceLog(path, fresh=False)
    assert path.read_text() == kept.model_dump_json() + "\n"


def test_without_anything_to_compare_with_a_configuration_stays(tmp_path: Path) -> None:
    made = RaceLog(tmp_path / "race.jsonl", fresh=False).decide(question("c", [0]), race_of({"c": [0.1]}))
    assert (made.stays, made.leader, made.difference, made.margin) == (True, None, None, None)


# A whole race -----------------------------------------------------------------------------------------------------

VALUES = [0.90, 0.88, 0.89, 0.30, 0.895, 0.20]
KEYS = {
    "vary": {"alpha": {"uniform": [0.1, 0.9]}},
    "search": {"algorithm": "random", "configurations": 6, "racing": True},
    "seeds": [0, 1, 2],
    "report_seeds": [7],
}


def quality(task: Task) -> float:
    if task.configuration.number is None:
        return 0.5
    return VALUES[task.configuration.number] + 0.001 * task.run.seed


def run_race(driver: Driver, most: int = 10**9) -> list[tuple[int | None, int, str]]:
    """Number, seed and role of each run; two at a time, the later one ending first."""
    done, under_way = list[tuple[int | None, int, str]](), list[Task]()
    while len(done) < most:
        task = driver.agenda.next() if len(under_way) < 2 else Nothing.NOW
        if isinstance(task, Task):
            under_way.append(task)
        elif under_way:
            ended = under_way.pop()
            driver.end(ended, quality(ended))
            done.append((ended.configuration.number, ended.run.seed, ended.configuration.role))
        else:
            assert task is Nothing.LEFT
            break
    return done


def test_further_seeds_are_for_those_in_the_race(tmp_path: Path) -> None:
    driver = Driver(tmp_path, **KEYS)
    done = run_race(driver)
    seeds = {number: [s for n, s, role in done if n == number and role == "sweep"] for number in range(6)}
    assert seeds == {0: [0, 1, 2], 1: [0, 1, 2], 2: [0, 1, 2], 3: [0], 4: [0, 1, 2], 5: [0]}
    assert [(n, s) for n, s, role in done if role == "report"] == [(0, 7)]
    # The index has the runs that there are, and no others.
    assert sorted((e.number, e.seed) for e in driver.index if e.role == "sweep") == sorted(
        (n, s) for n, s, role in done if role == "sweep"
    )
    out = [json.loads(line) for line in (tmp_path / "results/s/race.jsonl").read_text().splitlines()]
    assert {(d["number"], d["stays"]) for d in out} == {
        (0, True),
        (1, True),
        (2, True),
        (3, False),
        (4, True),
        (5, False),
    }
    assert all(d["leader"] for d in out if not d["stays"])


@pytest.mark.parametrize("most", range(1, 14, 3))
def test_an_interrupted_race_goes_on_as_it_began(tmp_path: Path, most: int) -> None:
    first = Driver(tmp_path, **KEYS)
    before = run_race(first, most)
    first.agenda.abandon()
    decided = (tmp_path / "results/s/race.jsonl").read_text() if most > 1 else ""
    second = Driver(tmp_path, **KEYS)
    after = run_race(second)
    assert not set(before) & set(after)
    assert (tmp_path / "results/s/race.jsonl").read_text().startswith(decided)
    third = Driver(tmp_path, **KEYS)
    assert run_race(third) == []
    assert [e for e in third.index if e.role == "report"] == [e for e in second.index if e.role == "report"]


def test_the_plan_counts_a_race_as_if_all_stayed(tmp_path: Path) -> None:
    planned = make_plan(tmp_path, **KEYS)
    assert planned.searched_runs() == 18
    assert planned.may_end_sooner
