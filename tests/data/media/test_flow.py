"""Optical flow."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from data.media.flow import farneback


def test_flow_follows_a_shift(tmp_path: Path) -> None:
    from PIL import Image, ImageFilter

    pixels = np.random.default_rng(0).integers(0, 256, (64, 80), np.uint8)
    first = np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(2)))
    frames = np.stack([first, np.roll(first, 2, 1), np.roll(first, (3, 2), (0, 1))])
    flow = farneback(frames)
    assert flow.shape == (2, 2, 64, 80)
    assert flow.dtype == np.float32
    inner = flow[:, :, 16:-16, 16:-16].mean((2, 3))
    assert np.allclose(inner, [[2, 0], [0, 3]], atol=0.3)
