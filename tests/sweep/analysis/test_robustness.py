"""What methods lose from the lowest severity to the highest."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
from support.corrupted_results import noisier_and_noisier
from support.synthetic_results import Results, alpha_sweep, noisy

from sweep.analysis.parts import Parts
from sweep.analysis.robustness import Robustness, robustness, robustness_sentences
from sweep.analysis.standings import BETTER, NO_DIFFERENCE, WORSE
from sweep.results.tables import load


def test_methods_are_compared_by_what_they_lose(tmp_path: Path) -> None:
    (found,) = robustness(Parts(load(noisier_and_noisier(tmp_path))))
    assert (found.dataset, found.words, found.values, found.metric) == (
        "digits", "profile noise", (0, 1, 4), "test_accuracy"
    )  # fmt: skip
    assert set(found.rows["dataset"]) == {"digits"}
    changes = found.changes.set_index("label")
    assert list(changes.index[:1]) == ["iprm"]
    assert changes["mean"].to_dict() == pytest.approx({"iprm": -0.02, "igm": -0.16, "joint": -0.16}, abs=0.004)
    assert changes["plain"].to_dict() == {"iprm": False, "igm": False, "joint": True}
    assert changes["joint_verdict"].to_dict() == {"iprm": BETTER, "igm": NO_DIFFERENCE, "joint": ""}
    assert changes["joint"]["iprm"] == pytest.approx(changes["mean"]["iprm"] - changes["mean"]["joint"])
    (sentence,) = robustness_sentences([found])
    assert sentence.startswith("From profile noise 0 to 4 on digits, test accuracy of joint changes by -1")
    assert "of the 2 methods compared with it, 1 loses less (iprm -" in sentence
    assert sentence.endswith("none loses more beyond chance.")


def test_of_several_corruptions_each_is_followed_with_the_others_at_their_lowest(tmp_path: Path) -> None:
    """A point that names none has the severities that its data were recorded with."""
    results = Results(tmp_path)
    results.sweep("one", "method: iprm\n")
    drops = [{}, {"left": 0.25}, {"left": 0.5}, {"profile": 0.5}]
    for drop in drops:
        values = {f"data.digits.corrupt.{modality}.drop": share for modality, share in drop.items()}
        for seed in range(2):
            folder = results.run("one", "iprm", seed, noisy(seed, 0.9 - sum(drop.values()), 0.8, 0.5), values=values)
            config = json.loads((folder / "config.json").read_text())
            base = {"left": {"drop": 0.1}} | {m: {"drop": share} for m, share in drop.items()}
            (folder / "config.json").write_text(json.dumps(config | {"data": {"corrupt": base}}))
    left, profile = robustness(Parts(load(tmp_path / "one")))
    assert (left.words, left.values) == ("left drop", (0.1, 0.25, 0.5))
    assert (profile.words, profile.values) == ("profile drop", (0, 0.5))
    assert "iprm -" in robustness_sentences([left])[0]


def test_a_sweep_without_severities_has_none(tmp_path: Path) -> None:
    alpha_sweep(tmp_path)
    assert robustness(Parts(load(tmp_path / "iprm-alpha"))) == []


def sentences(*changes: tuple[str, float, str], half: float = 0.01, dataset: str = "digits") -> list[str]:
    """What is said of methods with their changes and verdicts beside joint training."""
    rows = [
        {"label": label, "plain": label == "joint", "mean": mean, "low": mean - half, "high": mean + half, "n": 3}
        | {"joint_verdict": verdict}
        for label, mean, verdict in changes
    ]
    found = Robustness(
        dataset, "vary.x", "left noise", (0.0, 1.0, 2.5), "test_accuracy", pd.DataFrame(), pd.DataFrame(rows)
    )
    return robustness_sentences([found])


def test_those_that_lose_less_and_more_are_named_with_the_largest_difference_first() -> None:
    better, worse = [("a", 0.02, BETTER), ("b", -0.01, BETTER)], [("d", -0.2, WORSE), ("e", -0.3, WORSE)]
    assert sentences(*better, ("joint", -0.1, ""), ("c", -0.12, NO_DIFFERENCE), *worse) == [
        "From left noise 0 to 2.5 on digits, test accuracy of joint changes by -10.0 ± 1.0 points; of the 5 methods "
        "compared with it, 2 lose less (a +2.0 ± 1.0; b -1.0 ± 1.0) and 2 lose more (e -30.0 ± 1.0; d -20.0 ± 1.0) "
        "beyond chance."
    ]
    assert sentences(("joint", -0.1, ""), ("d", -0.2, WORSE))[0].endswith(
        "of the one method compared with it, none loses less and 1 loses more (d -20.0 ± 1.0) beyond chance."
    )


def test_of_many_the_first_five_are_named() -> None:
    many = [(name, -0.01, BETTER) for name in "abcdef"]
    (five,), (six,) = (sentences(*many[:count], ("joint", -0.1, "")) for count in (5, 6))
    assert "e -1.0 ± 1.0) and none" in five
    assert "e -1.0 ± 1.0; ...) and none" in six
    assert "f -1.0" not in six


def test_without_joint_training_the_ends_are_named_and_without_a_change_nothing() -> None:
    alone = "From left noise 0 to 2.5 on digits, test accuracy changes by so many points: "
    assert sentences(("a", -0.01, ""), ("b", -0.05, ""), ("c", -0.2, "")) == [f"{alone}a -1.0 ± 1.0, c -20.0 ± 1.0."]
    assert sentences(("a", -0.01, "")) == [f"{alone}a -1.0 ± 1.0."]
    assert sentences(("a", -0.01, ""), half=math.nan) == [f"{alone}a -1.0."]
    assert sentences(("joint", -0.01, ""), ("a", -0.02, "")) == [f"{alone}joint -1.0 ± 1.0, a -2.0 ± 1.0."]
    assert sentences(("a", -0.01, BETTER)) == [f"{alone}a -1.0 ± 1.0."]
    assert sentences(("a", math.nan, "")) == []
