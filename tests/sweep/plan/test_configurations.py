"""Plans: what a configuration is under each seed, and how many runs a plan expects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.small_runs import make_plan

from sweep.config import ConfigError
from sweep.runs.identity import configuration_hash, run_hash

pytest_plugins = ["support.sweep_files"]


def test_how_many_runs_a_plan_expects(made):
    grid = made("method: mixer, datasets: [toy], seeds: [0, 1], vary: {steps: {grid: [1, 2, 3]}}")
    assert (grid.searched_runs(), grid.report_runs(), grid.expected_runs()) == (0, 0, (3 + 3 + 2) * 2)
    search = made(
        "methods: [mixer, joint], datasets: [toy], seeds: [0, 1], report_seeds: [5], references: false, points: [{}], "
        "search: {algorithm: tpe, configurations: 4}, vary: {mixer.alpha: auto}"
    )
    assert (search.searched_runs(), search.report_runs(), search.expected_runs()) == (4 * 2, 2, 2 + 8 + 2)
    assert [study.name for study in search.searches] == ["a/mixer/toy"]
    assert [study.epochs for study in search.studies] == [7, 7]
    assert (search.seeds, search.report_seeds) == ([0, 1], [5])


def test_references_count_once_each_under_report_seeds_whether_listed_or_searched(made):
    keys = "method: mixer, datasets: [toy], report_seeds: [5, 6], seeds: [0]"
    assert made(f"{keys}, vary: {{steps: {{grid: [1, 2]}}}}").report_runs() == (1 + 4) * 2
    searched = made(f"{keys}, search: {{algorithm: tpe, configurations: 4}}, vary: {{train.lr: {{uniform: [0.1, 1]}}}}")
    assert len(searched.searches) == 1 + len(searched.searched_references) == 5
    assert (searched.report_runs(), searched.searched_runs()) == ((1 + 4) * 2, 5 * 4)


def test_a_plan_may_end_sooner_where_a_rule_or_a_race_spares_further_seeds(made):
    grid = "method: mixer, datasets: [toy], vary: {steps: {grid: [1, 2]}}"
    search = "method: mixer, datasets: [toy], vary: {alpha: auto}, search: {algorithm: tpe, configurations: 4%s}"
    assert not made(f"{grid}, seeds: [0, 1]").may_end_sooner
    assert not made(f"{search % ''}, seeds: [0, 1]").may_end_sooner
    assert made(f"{grid}, scheduler: {{name: asha}}, seeds: [0, 1]").may_end_sooner
    assert made(f"{search % ', racing: true'}, seeds: [0, 1]").may_end_sooner
    # One seed each has nobody to be spared.
    assert not made(f"{grid}, scheduler: {{name: asha}}, seeds: [0]").may_end_sooner


def test_nobody_knows_how_many_configurations_several_objectives_will_choose(made):
    text = "method: mixer, datasets: [toy], seeds: [0], references: false, vary: {alpha: auto}, report_seeds: [%s], "
    text += "search: {algorithm: nsga2, configurations: 4, objectives: [accuracy%s]}"
    assert made(text % ("5", ", seconds")).expected_runs() is None
    assert made(text % ("", ", seconds")).expected_runs() == 4
    assert made(text % ("5", "")).expected_runs() == 4 + 1


def test_a_configuration_is_one_run_a_seed_on_its_split(tmp_path: Path) -> None:
    planned = make_plan(tmp_path, splits=[4])
    (study,), (configuration,) = planned.studies, planned.studies[0].configurations
    assert [run.seed for run in configuration.runs([3, 1])] == [3, 1]
    assert configuration.runs([0]) == [configuration.template]
    assert configuration.hashed_runs([3, 1]) == [(run, run_hash(run)) for run in configuration.runs([3, 1])]
    assert (configuration.method, configuration.dataset, configuration.split) == ("iprm", "digits", 4)
    assert (study.method, study.label, study.split, study.name) == ("iprm", "iprm", 4, "s/iprm/digits/split 4")
    own = make_plan(tmp_path).studies[0]
    assert (own.name, own.configurations[0].content, own.configurations[0].split) == ("s/iprm/digits", "", 0)
    assert own.configurations[0].key == configuration.key
    # Of media, the fingerprint is another one on each split: the dataset's own counts.
    drawn = {"fingerprint": "of split 4"}
    media = replace(configuration, template=configuration.template.model_copy(update=drawn), content="as it comes")
    as_it_comes = configuration.template.model_copy(update={"fingerprint": "as it comes"})
    assert media.key == configuration_hash(as_it_comes) != configuration_hash(media.template)


def test_listed_are_the_references_then_grids_and_points(made):
    found = made("methods: [mixer, ranker], datasets: [toy], references: [joint], vary: {mixer.steps: {grid: [1, 2]}}")
    assert [each.label for each in found.listed] == ["joint", "mixer", "mixer", "ranker"]


def test_a_dataset_without_splits_has_none(made):
    (study,) = made("method: mixer, datasets: [toy]").studies
    assert (study.split, study.configurations[0].split) == (None, None)


def test_plans_of_one_sweep_are_equal_and_can_be_printed(made):
    text = "method: mixer, datasets: [toy], search: {algorithm: tpe, configurations: 4}, vary: {alpha: auto}"
    (study,), (again,) = made(text).studies, made(text).studies
    assert study == again
    assert study != made(text.replace("4", "5")).studies[0]
    assert "propose" not in repr(study)
    with pytest.raises(ConfigError, match="at most 1"):
        study.configuration({"alpha": 2.0})


def test_a_choice_is_made_at_each_severity(tmp_path: Path) -> None:
    vary = {"data.digits.corrupt.profile.noise": {"grid": [0, 1, 2]}, "alpha": {"grid": [0.1, 0.9]}}
    found = make_plan(tmp_path, vary=vary, report_seeds=[7], references=["joint"])
    assert [study.choices() for study in found.studies] == [3]
    assert (len(found.references), found.report_runs()) == (3, 6)
