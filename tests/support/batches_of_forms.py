"""Batches of any form that are made sample by sample on the host, beside those that a device gathers and converts."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from data.prepared.forms import Form
from data.prepared.lists.items import SplitName

COUNT = 7


def assert_a_device_is_served_the_same(
    form: Form, module: ModuleType, split: SplitName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare batches that are made on the host with those that are gathered first and converted as a whole, to the
    bit and in the same order in memory. module: the form's."""
    rows = torch.tensor([6, 2, 3, 0, 5, 1])
    column = form.column(_stored_at_random(form, split), rows, split)
    index = torch.tensor([3, 1, 4, 0, 4, 5, 2])

    def batches() -> list[Tensor]:
        drawn = [
            column.draw(index, "cpu", torch.Generator().manual_seed(1), part)
            for part in (slice(None), slice(2, 5), slice(0))
        ]
        return [column.gather(index, "cpu"), *drawn]

    found = batches()
    # As on a device, where a batch is one computation: of samples that lie there, and of what the host sends.
    for samples_on_host in (False, True):
        monkeypatch.setattr(
            module, "on_host", lambda values, device=None, here=samples_on_host: here and device is None
        )
        for batch, gathered in zip(found, batches(), strict=True):
            assert torch.equal(batch, gathered)
            assert batch.shape[1:] == column.shape
            assert len(batch) == 0 or batch.stride() == gathered.stride()


def _stored_at_random(form: Form, split: SplitName) -> dict[str, Tensor]:
    random, arrays = np.random.default_rng(0), dict[str, Tensor]()
    for name, stored in form.stored(split).items():
        shape = (COUNT, *stored.shape)
        if name in ("count", "size"):
            values = random.integers(2, 5, shape) * (100 if name == "size" else 1)
        elif stored.dtype.startswith("float"):
            values = random.normal(-1, 3, shape)
        else:
            values = random.integers(0, 256, shape)
        arrays[name] = torch.from_numpy(values.astype(stored.dtype))
    return arrays
