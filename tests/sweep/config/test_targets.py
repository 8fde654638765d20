"""What a varied name sets: the section, whose it is, and the place in it."""

from __future__ import annotations

import pytest

import methods
from sweep.config.targets import Target, target


@pytest.mark.parametrize(
    ("name", "section", "owner", "path"),
    [
        ("alpha", "hyperparameters", None, ("alpha",)),
        ("iprm.alpha", "hyperparameters", "iprm", ("alpha",)),
        ("rho.audio", "hyperparameters", None, ("rho", "audio")),
        ("igm.rho.audio", "hyperparameters", "igm", ("rho", "audio")),
        # The name of a method alone sets nothing of it.
        ("iprm", "hyperparameters", None, ("iprm",)),
        ("train.lr", "train", None, ("lr",)),
        ("train.schedule.every", "train", None, ("schedule", "every")),
        ("data.image_noise", "data", None, ("image_noise",)),
        ("data.av_digits.image_noise", "data", "av_digits", ("image_noise",)),
        ("data.corrupt.image.noise", "data", None, ("corrupt", "image", "noise")),
        ("data.av_digits.corrupt.image.noise", "data", "av_digits", ("corrupt", "image", "noise")),
        ("encoders.left.width", "encoders", None, ("left", "width")),
        ("epochs", "epochs", None, ("epochs",)),
        # Only the whole name is the number of epochs.
        ("epochs.first", "hyperparameters", None, ("epochs", "first")),
    ],
)
def test_a_name_sets_a_value_of_a_section(name: str, section: str, owner: str | None, path: tuple[str, ...]) -> None:
    found = target(name)
    assert (found.section, found.owner, found.path) == (section, owner, path)
    assert found.hyperparameter == (path[0] if section == "hyperparameters" else None)


def test_a_method_that_cannot_be_used_still_owns_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    assert target("broken.alpha").owner is None
    monkeypatch.setitem(methods.METHODS.found.unusable, "broken", "cannot be imported")
    assert target("broken.alpha") == Target("hyperparameters", "broken", ("alpha",))


@pytest.mark.parametrize(
    ("name", "concerned"),
    [
        ("alpha", True),
        ("iprm.alpha", True),
        ("igm.alpha", False),
        ("data.digits.size", True),
        ("data.watch.size", False),
        ("data.size", True),
        ("train.lr", True),
    ],
)
def test_names_of_another_method_or_dataset_do_not_concern_one(name: str, concerned: bool) -> None:
    assert target(name).concerns("iprm", "digits") is concerned
