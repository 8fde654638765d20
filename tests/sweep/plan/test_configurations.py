"""Plans count the runs that they expect."""

from __future__ import annotations

pytest_plugins = ["support.sweep_files"]


def test_how_many_runs_a_plan_expects(made):
    grid = made("method: mixer, datasets: [toy], seeds: [0, 1], vary: {steps: {grid: [1, 2, 3]}}")
    assert (grid.searched_runs(), grid.report_runs(), grid.expected_runs()) == (0, 0, (3 + 3 + 2) * 2)
    search = made(
        "methods: [mixer, joint], datasets: [toy], seeds: [0, 1], report_seeds: [5], references: false, points: [{}], "
        "search: {algorithm: tpe, configurations: 4}, vary: {mixer.alpha: auto}"
    )
    assert (search.searched_runs(), search.report_runs(), search.expected_runs()) == (4 * 2, 2, 2 + 8 + 2)
    assert not grid.may_end_sooner
    assert not search.may_end_sooner
    ruled = "method: mixer, datasets: [toy], scheduler: {name: asha}, vary: {steps: {grid: [1, 2]}}"
    assert made(f"{ruled}, seeds: [0, 1]").may_end_sooner
    assert not made(f"{ruled}, seeds: [0]").may_end_sooner
    assert [study.epochs for study in search.studies] == [7, 7]
