"""Optical flow between consecutive frames, by OpenCV."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from data.media._files import require_package


def farneback(frames: NDArray[np.uint8], levels: int = 3, window: int = 15, iterations: int = 3) -> NDArray[np.float32]:
    """Compute displacements (x, y) in pixels from each frame to the next, [T - 1, 2, H, W], of grey frames [T, H, W].

    Farneback, "Two-frame motion estimation based on polynomial expansion", SCIA 2003: a pyramid of ``levels`` halvings,
    averages over ``window`` pixels, polynomials over 5 pixels (deviation 1.2). Raises DataError without OpenCV."""
    cv2 = require_package("cv2", "opencv-python-headless", "optical flow")
    estimate = cv2.calcOpticalFlowFarneback
    flows = [estimate(a, b, None, 0.5, levels, window, iterations, 5, 1.2, 0) for a, b in pairwise(frames)]
    return np.stack(flows).transpose(0, 3, 1, 2)
