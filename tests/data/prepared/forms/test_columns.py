"""Columns of all forms: where their samples lie, on the host or on a device, and how a batch is put together."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
import torch
from support.batches_of_forms import assert_a_device_is_served_the_same
from support.device_waits import META

from data.prepared.forms import Form, Frames, Image, Spectrogram, pictures, sound
from data.prepared.forms.columns import assembled, on_host

FORMS = [
    (Frames(frames=3, size=16, stored_size=24, most=4), pictures),
    (Spectrogram(rate=800, seconds=0.5, n_fft=16, hop=40, crop="random"), sound),
]


@pytest.mark.parametrize(("form", "module"), FORMS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_batch_made_on_the_host_is_the_one_that_is_gathered_first(
    form: Form, module: ModuleType, split: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert_a_device_is_served_the_same(form, module, split, monkeypatch)


def test_a_batch_is_the_hosts_where_neither_end_is_a_device() -> None:
    values = torch.zeros(2)
    assert on_host(values, "cpu")
    assert not on_host(values, META)
    assert not on_host(values.to(META), META)
    assert not on_host(values.to(META), "cpu")


def test_samples_of_any_type_are_finished_in_their_own_places() -> None:
    samples = [torch.tensor([1, 2], dtype=torch.uint8), torch.tensor([3.5, 4.0], dtype=torch.float16)]
    batch = assembled((2, 2), samples)
    assert (batch.tolist(), batch.dtype) == ([[1, 2], [3.5, 4]], torch.float32)
    sizes = list[tuple[int, ...]]()
    finished = assembled((2, 2), samples, lambda part: (sizes.append(tuple(part.shape)), part.mul_(2))[1])
    assert finished.tolist() == [[2, 4], [7, 8]]
    assert sizes == [(1, 2), (1, 2)]


def test_a_resident_column_keeps_its_own_samples_and_the_facts_on_the_host() -> None:
    form = Image(size=4, stored_size=4)
    shapes = {"picture": (6, 4, 4, 3), "grey": (6, 1), "size": (6, 2)}
    arrays = {name: torch.arange(torch.Size(shape).numel()).view(shape) for name, shape in shapes.items()}
    column = form.column(arrays, torch.tensor([5, 0, 3]), "train")
    there = column.resident(META)
    assert isinstance(there, type(column))
    assert {name: values.device.type for name, values in there.arrays.items()} == {
        "picture": "meta", "grey": "cpu", "size": "cpu",
    }  # fmt: skip
    assert len(there) == len(column) == 3
    assert there.rows.tolist() == [0, 1, 2]
    for each in (column, there):
        assert each.fact("size", torch.tensor([2, 0])).tolist() == [[6, 7], [10, 11]]
    assert column.nbytes == there.nbytes == 3 * 8 * (48 + 1 + 2)
    taken = column.take("picture", "cpu", torch.tensor([[2], [0]]), torch.tensor([[1, 3]]))
    assert torch.equal(taken, arrays["picture"][[3, 5]][:, [1, 3]])
