"""What a form is that says no more than it must."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
import torch
from torch import Tensor

from data.arrays import ArrayColumn
from data.base import Column
from data.prepared.forms.base import Arrays, Form, Stored
from data.prepared.lists.items import Medium, SplitName


class Least(Form):
    def stored(self, split: SplitName) -> Mapping[str, Stored]:
        return {"x": Stored("uint8", ())}

    def decode(self, medium: Medium, split: SplitName) -> Arrays:
        return {"x": np.zeros((), np.uint8)}

    def column(self, arrays: Mapping[str, Tensor], rows: Tensor, split: SplitName) -> Column:
        return ArrayColumn(arrays["x"], rows)


def test_it_needs_and_promises_nothing_and_has_nothing_to_remark() -> None:
    form = Least()
    form.require()
    assert form.sample() is None
    assert list(form.remarks({}, torch.tensor([0]))) == []
    # Another version would make every cache of a form that declares none stale.
    assert (form.version, form.served) == (1, frozenset())


@pytest.mark.parametrize("name", ["stored", "decode", "column"])
def test_what_it_must_say_cannot_be_left_out(name: str) -> None:
    kept = {each: getattr(Least, each) for each in ("stored", "decode", "column") if each != name}
    with pytest.raises(TypeError, match=name):
        type("Less", (Form,), kept)()
