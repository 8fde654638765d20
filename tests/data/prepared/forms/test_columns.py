"""Batches that are made sample by sample on the host are those that are gathered first and converted as a whole, to the
bit and in the same order in memory."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from data.prepared.forms import (
    FilterBank,
    Flow,
    Form,
    Frames,
    GestureClip,
    Image,
    Spectrogram,
    gestures,
    pictures,
    sound,
)

COUNT = 7
SOUND = {"rate": 800, "seconds": 0.5, "n_fft": 16, "hop": 40}
CLIP = {"frames": 3, "start_range": 2, "stored_size": 12, "size": 8}
FORMS = [
    (Image(size=16, stored_size=24), pictures),
    (Image(size=16, stored_size=24, randaugment=True, normalise=None), pictures),
    (Image(size=16, stored_size=16, crop_scale=None, normalise="clip"), pictures),
    (Frames(frames=1, size=16, stored_size=24, most=4), pictures),
    (Frames(frames=3, size=16, stored_size=24, most=4, flip=False), pictures),
    (Frames(frames=2, size=16, stored_size=24, most=4, random_crop=False), pictures),
    (Spectrogram(**SOUND), sound),
    (Spectrogram(**SOUND, crop="random", dtype="float32", mask_bands=3), sound),
    (FilterBank(frames=20, mels=16, mean=-4.5, deviation=10.3, mask_frames=5), sound),
    (GestureClip(**CLIP), gestures),
    (GestureClip(**CLIP, channels=1), gestures),
    (Flow(frames=3, stored_size=12, size=8, bound=1.5), gestures),
]


def stored_at_random(form: Form, split: str) -> dict[str, Tensor]:
    random, arrays = np.random.default_rng(0), dict[str, Tensor]()
    for name, stored in form.stored(split).items():  # type: ignore[arg-type]
        shape = (COUNT, *stored.shape)
        if name in ("count", "size"):
            values = random.integers(2, 5, shape) * (100 if name == "size" else 1)
        elif stored.dtype.startswith("float"):
            values = random.normal(-1, 3, shape)
        else:
            values = random.integers(0, 256, shape)
        arrays[name] = torch.from_numpy(values.astype(stored.dtype))
    return arrays


@pytest.mark.parametrize(("form", "module"), FORMS, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_batch_made_on_the_host_is_the_one_that_is_gathered_first(
    form: Form, module: ModuleType, split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = torch.tensor([6, 2, 3, 0, 5, 1])
    column = form.column(stored_at_random(form, split), rows, split)  # type: ignore[arg-type]
    index = torch.tensor([3, 1, 4, 0, 4, 5, 2])

    def batches() -> list[Tensor]:
        drawn = [
            column.draw(index, "cpu", torch.Generator().manual_seed(1), part)
            for part in (slice(None), slice(2, 5), slice(0))
        ]
        return [column.gather(index, "cpu"), *drawn]

    found = batches()
    # As on a device, where a batch is one computation.
    monkeypatch.setattr(module, "on_host", lambda values, device: False)
    for batch, gathered in zip(found, batches(), strict=True):
        assert torch.equal(batch, gathered)
        assert batch.shape[1:] == column.shape
        assert len(batch) == 0 or batch.stride() == gathered.stride()
