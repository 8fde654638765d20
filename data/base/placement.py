"""Moving what the host holds to the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor


def moved(values: Tensor, device: torch.device | str) -> Tensor:
    """Move values to the device without waiting for what that is doing: from the host to a GPU through pinned memory,
    which alone can be copied behind the host's back."""
    device = torch.device(device)
    if values.device.type == "cpu" and device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device, non_blocking=True)
