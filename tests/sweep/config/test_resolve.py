"""Settings of one method on one dataset."""

from __future__ import annotations

import pytest

from sweep.config.resolve import target

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


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
    assert (found.section, found.owner, found.path) == (room, owner, path)
