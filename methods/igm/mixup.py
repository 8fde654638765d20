"""Mixup of one modality's inputs, over the joint batch of all workers."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import NamedTuple

from torch import Tensor

from data.base import Batch
from methods.base import Context


class Mixed(NamedTuple):
    """A training batch, mixed with partners: its own labels weigh ``share``, ``partner_labels`` [B] the rest."""

    batch: Batch
    partner_labels: Tensor
    share: float


def mixed_batch(batch: Batch, modality: str, alpha: float, context: Context) -> Mixed:
    """Mix the inputs of ``modality``: x becomes share x + (1 - share) x', with partners x' from the joint batch.

    One share a step is drawn from Beta(alpha, alpha). Whole numbers (token ids) cannot be mixed and stay as they are;
    alpha 0 mixes nothing."""
    x = batch.inputs[modality]
    if alpha > 0 and not x.is_floating_point():
        context.warn(f"igm: mixup_alpha leaves {modality} alone: whole numbers, such as token ids, cannot be mixed")
    if alpha == 0 or not x.is_floating_point():
        return Mixed(batch, batch.labels, 1.0)
    share = Random(context.generator("igm mixup", context.step).initial_seed()).betavariate(alpha, alpha)
    order = context.gather(context.sample_numbers("igm mixup", 1)).squeeze(1).argsort()
    partner = order[context.offset : context.offset + len(batch)]
    inputs = {**batch.inputs, modality: share * x + (1 - share) * context.gather(x)[partner]}
    return Mixed(replace(batch, inputs=inputs), context.gather(batch.labels)[partner], share)
