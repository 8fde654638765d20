"""Conclusions: sentences on hyperparameters, choices, fronts and differences to joint training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from support.synthetic_results import Results, alpha_sweep, noisy, pareto_search, two_splits

from sweep.analysis.completeness import raced_out_seeds, read_request
from sweep.analysis.conclusions import conclusions, name_with_role, points_text
from sweep.analysis.fronts import pareto_fronts
from sweep.analysis.parts import Parts
from sweep.results.tables import load


def test_conclusions_name_the_hyperparameter_and_the_comparison(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    first, _, third = conclusions(Parts(load(tmp_path / "iprm-alpha")))
    assert first.startswith("iprm, α (alpha) on digits: ")
    assert third.startswith("Of 10 configurations compared with joint training")


def test_datasets_are_concluded_on_in_their_order_in_the_sweep(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset in ("digits", "av_digits"):
        for alpha in (0.1, 0.2):
            for seed in range(2):
                results.run("one", "iprm", seed, noisy(seed, 0.9 - alpha, 0.8, 0.5), values={"alpha": alpha})
    first, second, *_ = conclusions(Parts(load(tmp_path / "one")))
    assert first.startswith("iprm, α (alpha) on digits: ")
    assert second.startswith("iprm, α (alpha) on av_digits: ")


def test_the_best_value_is_named_by_validation_and_shown_on_test_data(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    levels = {0.1: (0.90, 0.70), 0.2: (0.80, 0.95), 0.3: (0.60, 0.80)}
    for alpha, (validation, test) in levels.items():
        for seed in range(4):
            noise, metrics = 0.001 * seed, {"validation_accuracy": validation + 0.002 * seed}
            results.run("one", "iprm", seed, {"multi": test + noise}, values={"alpha": alpha}, metrics=metrics)
    (sentence, *_) = conclusions(Parts(load(tmp_path / "one")))
    expected = "best at 0.1, worst at 0.3 by validation (test mean 70.2 % at the best, 70.2 to 95.2 % over all)"
    assert expected in sentence


def test_a_search_that_raced_says_what_its_own_choice_reaches(tmp_path: Path) -> None:
    path = pareto_search(tmp_path).path
    (sentence, *_) = conclusions(Parts(load(path / "two")))
    assert "the search chose alpha=0 with" in sentence
    assert "under 3 fresh seeds" in sentence


def test_a_front_is_concluded_with_its_reach(tmp_path: Path) -> None:
    folder = pareto_search(tmp_path).path / "two"
    parts, request = Parts(load(folder)), read_request(folder)
    found = pareto_fronts(parts, request.objectives, request.seeds, raced_out_seeds(folder))
    first = conclusions(parts, found)[0]
    assert first.startswith("iprm on digits: 3 of 4 configurations with all seeds are beaten by none; on that front")
    assert "validation imbalance (%) from 10.0 to 40.0" in first


def test_a_value_that_was_stopped_early_is_left_out_and_named(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for alpha in (0.1, 0.2, 0.3):
        for seed in range(3):
            status = "pruned" if alpha == 0.3 else "done"
            results.run("one", "iprm", seed, noisy(seed, 0.9 - alpha, 0.8, 0.5), values={"alpha": alpha}, status=status)
    assert "1 value was stopped early and left out" in conclusions(Parts(load(tmp_path / "one")))[0]


def test_names_say_the_role_and_points_their_sign() -> None:
    row = {"label": "iprm", "point": "alpha=0.1", "role": "report"}
    assert name_with_role(row) == "iprm: alpha=0.1 (fresh seeds)"
    assert name_with_role({**row, "point": "", "role": "reference"}) == "iprm (reference)"
    assert [points_text(value) for value in (0.0123, -0.5, float("nan"))] == ["+1.23", "-50.00", "–"]


def compared(folder: Path, differences: dict[float, list[float]], seeds: int = 4) -> str:
    """Conclude on configurations by their differences to joint training, one a seed; the last sentence."""
    results = Results(folder)
    results.sweep("one")
    joint = [0.5 + 0.01 * seed for seed in range(seeds)]
    for seed, level in enumerate(joint):
        plain = {"unimodal_loss_weight": 0.0}
        results.run("one", "joint", seed, {"multi": level}, role="reference", hyperparameters=plain)
    for alpha, added in differences.items():
        for seed, difference in enumerate(added):
            lost = math.isnan(difference)
            found = {"multi": joint[seed] + (0 if lost else difference)}
            status = "diverged" if lost else "done"
            results.run("one", "iprm", seed, found, values={"alpha": alpha}, status=status)
    return conclusions(Parts(load(folder / "one")))[-1]


CLEAR, CHANCE = [0.1, 0.101, 0.099, 0.1], [0.1, -0.1, 0.02, -0.01]


def test_better_and_worse_are_those_that_differ_beyond_chance(tmp_path: Path) -> None:
    found = {0.1: CLEAR, 0.2: CHANCE, 0.3: [-2 * each for each in CLEAR]}
    assert compared(tmp_path, found) == (
        "Of 3 configurations compared with joint training over common seeds, 1 better (iprm: alpha=0.1 +10.00 on "
        "digits) and 1 worse (iprm: alpha=0.3 -20.00 on digits) beyond chance; a difference of 13.0 points would "
        "have been found with 80 % probability (Dunnett's test over 4 seeds on one split, as blocks, 5 % for all of "
        "them together)."
    )


def test_two_seeds_cannot_judge_many_and_may_judge_one(tmp_path: Path) -> None:
    apart = [0.1, 0.101]
    sentence = compared(tmp_path / "many", {each: [each, each + 0.001] for each in (0.1, 0.2, 0.3)}, seeds=2)
    assert "none can be judged: 2 seeds are too few for so many comparisons" in sentence
    assert "1 better" in compared(tmp_path / "one", {0.1: apart}, seeds=2)
    mixed = compared(tmp_path / "mixed", {0.1: CLEAR, 0.2: apart, 0.3: CHANCE})
    assert "1 better (iprm: alpha=0.1 +10.00 on digits) beyond chance; 1 cannot be judged: 2 seeds" in mixed
    assert "over 2 to 4 seeds on one split" in mixed


def test_what_chance_may_give_is_neither_better_nor_worse(tmp_path: Path) -> None:
    assert compared(tmp_path, {0.1: CHANCE}).startswith(
        "Of 1 configuration compared with joint training over common seeds, none different beyond chance; a "
        "difference of 17.6 points would have been found"
    )


def test_one_of_many_is_better_only_where_their_number_allows(tmp_path: Path) -> None:
    # p = 0.017 by itself, 0.067 beside three others.
    close = [0.04, 0.08, 0.05, 0.12]
    assert "1 better (iprm: alpha=0.1 +7.25 on digits)" in compared(tmp_path / "alone", {0.1: close})
    beside = dict.fromkeys((0.2, 0.3, 0.4), CHANCE)
    assert "none different" in compared(tmp_path / "beside", {0.1: close, **beside})


def test_survivors_are_not_claimed_and_the_loss_is_said(tmp_path: Path) -> None:
    sentence = compared(tmp_path, {0.1: CLEAR, 0.2: [0.2, 0.201, 0.199, math.nan], 0.3: CHANCE})
    assert "1 better (iprm: alpha=0.1 +10.00 on digits) beyond chance; 1 not claimed, for seeds were lost" in sentence
    assert "(iprm: alpha=0.2 on digits: 1 of 4)" in sentence
    alone = compared(tmp_path / "alone", {0.2: [0.2, 0.201, 0.199, math.nan]})
    assert "better" not in alone
    assert "joint training over common seeds, 1 not claimed" in alone


def test_seeds_that_joint_training_lost_are_said(tmp_path: Path) -> None:
    compared(tmp_path, {0.1: CLEAR})
    plain = {"unimodal_loss_weight": 0.0}
    results = Results(tmp_path)
    results._made = 50
    results.run("one", "joint", 4, role="reference", hyperparameters=plain, status="failed")
    assert "; on digits joint training itself lost 1 seed, which" in conclusions(Parts(load(tmp_path / "one")))[-1]
    results.run("one", "joint", 5, role="reference", hyperparameters=plain, status="diverged")
    assert "joint training itself lost 2 seeds, which" in conclusions(Parts(load(tmp_path / "one")))[-1]


def test_one_common_seed_is_no_comparison(tmp_path: Path) -> None:
    assert "compared with joint" not in compared(tmp_path / "one", {0.1: [0.2], 0.2: [0.1]})
    assert "Of 1 configuration compared" in compared(tmp_path / "two", {0.1: [0.2], 0.2: CLEAR})


def searched(folder: Path, fresh: str | None, status: str = "done") -> str:
    """Conclude on a search of two configurations. fresh: status of the best one's run under a report seed."""
    results = Results(folder)
    results.sweep("one")
    for number, level in enumerate((0.6, 0.7)):
        for seed in range(2):
            values, found = {"alpha": number / 10}, {"multi": level}
            results.run("one", "iprm", seed, found, values=values, number=number, status=status)
    if fresh:
        results.run("one", "iprm", 100, {"multi": 0.9}, values={"alpha": 0.1}, number=1, role="report", status=fresh)
    (sentence,) = conclusions(Parts(load(folder / "one")))
    return sentence


@pytest.mark.parametrize("fresh", [None, "running", "failed", "missing"])
def test_a_choice_without_finished_fresh_seeds_says_so(tmp_path: Path, fresh: str | None) -> None:
    assert searched(tmp_path, fresh).startswith(
        "iprm on digits: the search chose alpha=0.1 with 71.0 % on validation, the best of 2 and so optimistic; it has "
        "no finished run under fresh seeds (report_seeds asks for them). Of 2 configurations with 2 seeds on digits, a "
        "difference of "
    )


def test_the_choice_of_a_grid_is_said_to_be_the_best_of_several(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    said = [each for each in conclusions(Parts(load(tmp_path / "iprm-alpha"))) if "validation chose" in each]
    assert len(said) == 1
    assert said[0].startswith("iprm on digits: validation chose alpha=0.7 with ")
    assert "the best of 9 and so optimistic; it has no finished run under fresh seeds" in said[0]


def test_a_search_is_concluded_as_far_as_it_got(tmp_path: Path) -> None:
    assert "under 1 fresh seed on one split it reaches 90.0 % (test accuracy)." in searched(tmp_path / "fresh", "done")
    nothing = searched(tmp_path / "nothing", None, status="failed")
    assert nothing == "iprm on digits: no searched configuration has finished."


def test_only_finished_fresh_seeds_count(tmp_path: Path) -> None:
    assert "under 1 fresh seed" in searched(tmp_path, "done")
    results, early = Results(tmp_path), {"validation_accuracy": 0.1}
    results._made = 50
    results.run("one", "iprm", 101, values={"alpha": 0.1}, number=1, role="report", status="pruned", metrics=early)
    for path in tmp_path.glob("runs/*/test.json"):
        path.write_text('{"metrics": {}}')
    (sentence,) = conclusions(Parts(load(tmp_path / "one")))
    assert "under 1 fresh seed on one split it reaches 91.0 % (validation accuracy)." in sentence


def test_what_would_have_been_found_is_said_once_of_all_choices(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for method, name in (("iprm", "alpha"), ("bss", "beta")):
        for number, level in enumerate((0.6, 0.7)):
            for seed in range(2):
                values = {name: number / 10}
                results.run("one", method, seed, {"multi": level}, values=values, number=number)
    first, second, power = conclusions(Parts(load(tmp_path / "one")))
    assert first.startswith("iprm on digits: the search chose alpha=0.1")
    assert second.startswith("bss on digits: the search chose beta=0.1")
    assert power.startswith("In each of 2 choices: of 2 configurations with 2 seeds on digits, a difference of ")
    assert "probability" not in first + second


def test_two_splits_are_concluded_on_as_two_repeats_with_a_choice_each(tmp_path: Path) -> None:
    runs = two_splits(tmp_path)
    sensitive, chosen, compared_with_joint = conclusions(Parts(runs))
    assert sensitive == (
        "iprm, α (alpha) on digits: No sensitivity shown: the mean moves by 4.4 points over 3 values, one run between "
        "seeds by 0.9 (ratio 5.2; 4 runs a value on 2 splits), the mean of a split by 11.0 beyond what its split "
        "shares; such a range is within chance, p = 0.925; a range of 86.5 points would have been found with 80 % "
        "probability."
    )
    assert chosen == (
        "iprm on digits: validation chose alpha=0.1 with 91.5 % on validation (split 0); alpha=0.3 with 87.7 % on "
        "validation (split 1); these are the best of 3 each; under 2 fresh seeds on each of 2 splits it reaches 86.5 "
        "(61.1 to 100.0) % (test accuracy). Of 3 configurations with 2 splits on digits, no difference at all of "
        "validation accuracy between one that was named beforehand and any other would have been found with 80 % "
        "probability."
    )
    assert compared_with_joint == (
        "Of 4 configurations compared with joint training over common seeds, none can be judged: 2 splits are too few "
        "for so many comparisons (Dunnett's test over the means of 2 splits, as blocks, 5 % for all of them together)."
    )
    elsewhere = runs["split"].eq(1) & runs["vary.alpha"].eq(0.1)
    assert "(split 1); these are the best of 2 to 3 each; under" in conclusions(Parts(runs[~elsewhere]))[1]


def test_of_many_differences_the_first_five_are_named(tmp_path: Path) -> None:
    def apart(number: int, lost: int = 0) -> list[float]:
        added = 0.1 + number / 100
        return [added, added + 0.001, *([math.nan] * lost), added][:4] if lost else [added, added + 0.001] * 2

    five = compared(tmp_path / "five", {each / 10: apart(each) for each in range(1, 6)})
    assert (
        "5 better (iprm: alpha=0.1 +11.05 on digits; iprm: alpha=0.2 +12.05 on digits; iprm: alpha=0.3 +13.05 on "
        "digits; iprm: alpha=0.4 +14.05 on digits; iprm: alpha=0.5 +15.05 on digits) beyond chance"
    ) in five
    six = compared(tmp_path / "six", {each / 10: apart(each) for each in range(1, 7)})
    assert "6 better" in six
    assert "iprm: alpha=0.5 +15.05 on digits; ...) beyond chance" in six
    losses = {each / 10: apart(each, lost=2) for each in range(1, 7)}
    five_lost = compared(tmp_path / "five-lost", {each: losses[each] for each in list(losses)[:5]})
    assert "iprm: alpha=0.5 on digits: 2 of 4) (Dunnett's test over 2 seeds" in five_lost
    assert compared(tmp_path / "six-lost", losses) == (
        "Of 6 configurations compared with joint training over common seeds, 6 not claimed, for seeds were lost (iprm: "
        "alpha=0.1 on digits: 2 of 4; iprm: alpha=0.2 on digits: 2 of 4; iprm: alpha=0.3 on digits: 2 of 4; iprm: "
        "alpha=0.4 on digits: 2 of 4; iprm: alpha=0.5 on digits: 2 of 4; ...) (Dunnett's test over 2 seeds on one "
        "split, as blocks, 5 % for all of them together)."
    )


def test_each_choice_says_what_would_have_been_found_where_others_say_something_else(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for method, levels in (("iprm", (0.6, 0.7)), ("bss", (0.6, 0.7, 0.65)), ("aug", (0.6,))):
        for number, level in enumerate(levels):
            for seed in range(2):
                results.run("one", method, seed, {"multi": level}, values={"x": number / 10}, number=number)
    first, second = conclusions(Parts(load(tmp_path / "one")))
    assert ". Of 2 configurations with 2 seeds on digits, " in first
    assert ". Of 3 configurations with 2 seeds on digits, " in second
    assert first.endswith("would have been found with 80 % probability.")


def test_sensitivities_are_corrected_for_those_that_were_judged(tmp_path: Path) -> None:
    results = Results(tmp_path)
    results.sweep("one")
    for results.dataset, seeds in (("digits", 3), ("av_digits", 3), ("toy", 1)):
        for alpha in (0.1, 0.2):
            for seed in range(seeds):
                level = 0.5 + alpha + 0.01 * ((seed * 7 + int(10 * alpha) * 3) % 5)
                results.run("one", "iprm", seed, {"multi": level}, values={"alpha": alpha})
    first, second, third = conclusions(Parts(load(tmp_path / "one")))[:3]
    assert "corrected for 2 sentences" in first
    assert "corrected for 2 sentences" in second
    assert "with one seed a value there is no measure of seed noise" in third
