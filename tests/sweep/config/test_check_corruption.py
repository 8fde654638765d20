"""What cannot be corrupted as a sweep asks is refused where it is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.config_problems import problem_lines
from support.small_runs import make_plan

from sweep.config import ConfigError
from sweep.config.targets import target
from sweep.plan.configurations import Plan


def corrupt(**modalities: Any) -> dict[str, Any]:
    return {"data": {"digits": {"corrupt": modalities}}}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            corrupt(profil={"noise": 1}),
            "corrupt.profil: no modality called 'profil'; did you mean profile?",
        ),
        (corrupt(nope={"drop": 2}), "corrupt.nope: no modality called 'nope'; there are: left, profile"),
        (corrupt(left={"nois": 1}), "data.digits.corrupt.left.nois: no key called 'nois'; did you mean noise?"),
        (corrupt(left={"share": 2}), "data.digits.corrupt.left.share: expected a number at most 1, not 2"),
        (corrupt(left={"where": "train"}), "data.digits.corrupt.left.where: 'train' is not possible"),
        (corrupt(left={"drop": 0.5, "segment": True}), "data.digits.corrupt.left: samples of shape [32] have no time"),
        (
            {"vary": {"data.digits.corrupt.lef.drop": {"grid": [0, 0.1]}}},
            "no modality called 'lef'; did you mean left?",
        ),
        ({"vary": {"data.corrupt.left.drp": {"grid": [0, 0.1]}}}, "no key called 'drp'; did you mean drop?"),
    ],
)
def test_each_mistake_names_its_place_and_its_remedy(tmp_path: Path, keys: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        make_plan(tmp_path, **keys)
    assert words in str(refused.value)


def test_a_severity_is_varied_over_what_the_sweep_fixes(tmp_path: Path) -> None:
    keys = corrupt(left={"noise": 2.0, "where": "all"}) | {"vary": {"data.corrupt.left.share": {"grid": [0, 0.5]}}}
    (study,) = make_plan(tmp_path, **keys).studies
    clean, noisy = (configuration.template for configuration in study.configurations)
    assert "corrupt" not in clean.data
    assert noisy.data["corrupt"]["left"] | {"drop": 0} == {
        "noise": 2.0, "share": 0.5, "drop": 0, "segment": False, "shuffle": 0.0, "where": "all"
    }  # fmt: skip
    assert set(clean.source) == {"method", "dataset"}
    assert set(noisy.source) == {"method", "dataset", "corruption"}
    assert clean.fingerprint == noisy.fingerprint


@pytest.mark.parametrize(
    ("name", "owner", "path"),
    [
        ("data.digits.corrupt.left.noise", "digits", ("corrupt", "left", "noise")),
        ("data.corrupt.left.noise", None, ("corrupt", "left", "noise")),
        ("data.digits.split_seed", "digits", ("split_seed",)),
        ("data.split_seed", None, ("split_seed",)),
    ],
)
def test_names_of_severities(name: str, owner: str | None, path: tuple[str, ...]) -> None:
    assert (target(name).owner, target(name).path) == (owner, path)


def test_token_ids_of_own_data_are_told_before_anything_runs(tmp_path: Path) -> None:
    tokens = np.ones((40, 2, 5), np.int64)
    np.savez(tmp_path / "own.npz", words=tokens, sensor=np.random.rand(40, 3), labels=np.arange(40) % 2)
    own = {"root": str(tmp_path / "own.npz"), "modalities": ["words", "sensor"], "corrupt": {"words": {"noise": 1}}}
    with pytest.raises(ConfigError, match=r"corrupt\.words: token ids are names, to which no noise can be added"):
        make_plan(tmp_path, method="joint", datasets=["arrays"], data={"arrays": own}, encoders={"words": "mlp"})


def of_channel(tmp_path: Path, where: str) -> Plan:
    corrupting = {"mfeat": {"corrupt": {"mor": {"drop": 0.5, "where": where}}}}
    hyperparameters = {"fusion": "channel"}
    return make_plan(tmp_path, method="joint", datasets=["mfeat"], hyperparameters=hyperparameters, data=corrupting)


def test_encoders_side_by_side_are_not_trained_on_absent_modalities(tmp_path: Path) -> None:
    (line,) = problem_lines(of_channel, tmp_path, "all")
    assert "they cannot be trained on samples that lack mor; corrupt the test split alone (where: test)" in line
    assert of_channel(tmp_path, "test").studies
