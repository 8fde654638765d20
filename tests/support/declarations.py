"""What every data set of media declares: its options, the recipe of the papers, and encoders that exist."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from data.base import DatasetSource
from models import encoders
from sweep.training.recipe import Recipe


def assert_declared(
    source: type[DatasetSource[Any]], options: dict[str, Any], specs: dict[str, str], epochs: int, **recipe: Any
) -> None:
    """Compare encoders and recipe of a source with what is expected of them.

    specs: modality -> name of its encoder, with the ``options`` given; recipe: optimizer, lr and batch_size, all of
    which fall after 70 epochs."""
    chosen = source.Options.model_validate(options)
    assert source.modalities(chosen) == tuple(specs)
    assert source.encoders(chosen) == specs
    assert all(encoders.resolve(name)["name"] == name for name in specs.values())
    declared = dict(source.recipe)
    assert declared.pop("epochs") == epochs
    assert declared == {**recipe, "schedule": {"name": "step", "every": 70}}
    assert Recipe.model_validate(declared).batch_size == recipe["batch_size"]


def assert_paths_have_names(source: type[DatasetSource[Any]], **given: Any) -> None:
    """Check that each path may be of one letter, and not of none. given: what else must be said."""
    for path in source.paths:
        assert getattr(source.Options.model_validate({**given, "root": "r", path: "d"}), path) == "d"
        with pytest.raises(ValidationError, match="at least 1 character"):
            source.Options.model_validate({**given, "root": "r", path: ""})
