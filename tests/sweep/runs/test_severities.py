"""Severities are told from all other varied names."""

from __future__ import annotations

import pytest

from sweep.runs.severities import is_severity, severities


@pytest.mark.parametrize(
    ("name", "severe"),
    [
        ("data.digits.corrupt.profile.noise", True),
        ("data.corrupt.profile.drop", True),
        ("data.digits.corrupt", True),
        ("data.digits.corrupt.profile", True),
        ("data.digits.train_samples", False),
        ("data.split_seed", False),
        ("train.lr", False),
        ("corrupt", False),
        ("iprm.corrupt.profile", False),
    ],
)
def test_what_corrupts_data_is_a_severity(name: str, severe: bool) -> None:
    assert is_severity(name) == severe
    assert severities({name: 1, "alpha": 2}) == ({name: 1} if severe else {})
