"""Branches: what belongs to one modality alone, as a parameter group of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.method import MULTI, MethodError


def branch_groups(
    encoders: Mapping[str, nn.Module], own: Sequence[Sequence[nn.Module]], fusion: nn.Module
) -> dict[str, list[nn.Module | nn.Parameter]]:
    """Name a parameter group for each modality, and the group "multi" of what they leave of the fusion (perhaps
    nothing).

    own: for each modality the modules of ``fusion`` that join its encoder, see ``Fusion.own_modules``."""
    groups: dict[str, list[nn.Module | nn.Parameter]] = {
        modality: [encoder, *modules] for (modality, encoder), modules in zip(encoders.items(), own, strict=True)
    }
    taken = {id(p) for modules in own for module in modules for p in module.parameters()}
    return groups | {MULTI: [p for p in fusion.parameters() if id(p) not in taken]}


def check_branches(method: str, hyperparameters: FusionHyperparameters) -> None:
    """Refuse a fusion whose encoders are no branches of their own. Raises MethodError."""
    if hyperparameters.fusion == "channel" and hyperparameters.channel_mode == "cen":
        raise MethodError(
            f"{method}: with channel_mode: cen the encoders share their convolutions, so no modality can learn at a "
            "pace of its own; use mmtm, or another fusion"
        )
