"""SMV: samples to which a modality contributes too little are shown again with that modality alone.

Wei, Feng, Wang, Hu, "Enhancing Multimodal Cooperation via Sample-level Modality Valuation", CVPR 2024.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from data.base import Batch
from methods.base import Context, Outputs, evaluating
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, check_fused_loss_alone, check_fusion
from methods.base.hyperparameters import Choice, Integer, Uniform, hyper, in_epochs
from models import unknown
from models.fusion import Source

Growth = Literal["linear", "tanh", "power"]
FULL = 1 - 1e-6
"""Contribution from which on a modality contributes its share, against rounding."""
FEW, NONE = 0.4, -0.1
"""Contributions down to which one copy, and two copies, are shown; below there are three."""

# Equations -----------------------------------------------------------------------------------------------------


def shapley_contributions(correct: Tensor, num_modalities: int) -> Tensor:
    """Compute φ, float32 [M, N]: each modality's mean gain of value over all orders in which modalities join.

    correct: bool [2^M, N], whether each sample is predicted rightly by the modalities that are the bits of the row's
    number. A set S has the value |S| where it is right, else 0; row 0, the empty set, is not read. So φ adds up to M
    where all modalities together are right, to 0 elsewhere. Raises ValueError for another number of rows."""
    if len(correct) != 2**num_modalities:
        raise ValueError(f"{num_modalities} modalities have {2**num_modalities} subsets, got {len(correct)} rows")
    sizes = torch.tensor([number.bit_count() for number in range(len(correct))], device=correct.device)
    values = (sizes.unsqueeze(1) * correct).double()
    values[0] = 0
    found = []
    for m in range(num_modalities):
        without = [number for number in range(len(correct)) if not number >> m & 1]
        shares = [1 / (num_modalities * math.comb(num_modalities - 1, number.bit_count())) for number in without]
        gains = torch.stack([values[number | 1 << m] - values[number] for number in without])
        found.append(torch.tensor(shares, dtype=gains.dtype, device=gains.device) @ gains)
    return torch.stack(found).float()


def resample_counts(contrib: Tensor) -> Tensor:
    """Count the copies that each sample gets with each modality alone, int64 [M, N], from contributions [M, N]: 0 from
    1 on, 1 above 0.4, 2 above -0.1, else 3."""
    return (contrib < FULL).long() + (contrib <= FEW).long() + (contrib <= NONE).long()


def resample_index(counts: Tensor) -> tuple[Tensor, Tensor]:
    """List what an epoch shows: positions of samples and the modality that is kept of each, int64 [T] both.

    First the N originals in order, with -1: all modalities; then sample by sample, modality by modality the copies,
    counts [M, N]. T = N + Σ counts."""
    modalities, samples = counts.shape
    originals = torch.arange(samples, device=counts.device)
    entries = torch.arange(samples * modalities, device=counts.device).repeat_interleave(counts.T.flatten())
    index = torch.cat([originals, entries // modalities])
    return index, torch.cat([torch.full_like(originals, -1), entries % modalities])


def modality_level_probability(mean_contrib: Tensor, alpha: float = 1.0, func: str = "linear") -> Tensor:
    """Compute the share of samples that is shown again with each modality alone, [M] in [0, 1], from its mean
    contribution φ̄, [M].

    d_m = 2/3 · Σ_j max(0, φ̄_j - φ̄_m) / (M - 1); linear: α d; tanh: tanh(α d); power: α d^1.5. Raises ValueError for
    another function."""
    gaps = (mean_contrib.unsqueeze(0) - mean_contrib.unsqueeze(1)).clamp_min(0).sum(1)
    distance = 2 / 3 * gaps / max(1, len(mean_contrib) - 1)
    if func == "linear":
        return (alpha * distance).clamp(0, 1)
    if func == "tanh":
        return torch.tanh(alpha * distance).clamp(0, 1)
    if func == "power":
        return (alpha * distance**1.5).clamp(0, 1)
    raise unknown("func", func, get_args(Growth))


# Method --------------------------------------------------------------------------------------------------------


class SMVHyperparameters(FusionHyperparameters):
    level: Literal["sample", "modality"] = hyper("sample", search=Choice(("sample", "modality")))
    """whether samples get copies by their own contributions, or at random by the modality's mean contribution"""
    warmup_epochs: float = hyper(0.08, low=0.0, search=Uniform(0.02, 0.2), epochs=True)
    """epochs of joint training at first"""
    max_copies: int = hyper(3, low=1, high=3, search=Integer(1, 3), only_if=("level", "sample"))
    """most copies of a sample with one modality"""
    alpha: float = hyper(1.0, symbol="α", low=0.0, search=Uniform(0.25, 3.0), only_if=("level", "modality"))
    """how much the share of copies grows with the gap between contributions"""
    part_ratio: float = hyper(
        0.2, symbol="|Z|/N", above=0.0, high=1.0, search=Uniform(0.05, 1.0), only_if=("level", "modality")
    )
    """share of the training samples whose contributions are measured"""
    func: Growth = hyper("linear", search=Choice(get_args(Growth)), only_if=("level", "modality"))
    """how the share of copies grows: α d, tanh(α d) or α d^1.5"""
    replacement: bool = hyper(True, only_if=("level", "modality"))
    """draw copies with replacement"""
    value_every: float = hyper(1.0, above=0.0, epochs=True)
    """epochs between two measurements; between them the last one counts"""


class SMV(FusedMethod[SMVHyperparameters]):
    """Before an epoch the contribution of each modality to the prediction of each training sample is measured, as a
    Shapley value over sets of modalities. Where a modality contributes less than its share, the sample is shown again
    in that epoch with this modality alone, up to three times. At the level of modalities a part of the samples is
    measured, and copies are drawn from all of them, as many as the mean contributions are apart.

    Source: Wei et al., CVPR 2024. Values of sets, and counts of copies; the growth functions of the official code.

    Departures from the official code: it values the whole set at the level of modalities, too, in training mode, with
    random crops; here that is done with the part alone, and in evaluation mode. Rules for three and more modalities
    reduce to the code's for two. Warm-up, 5 of 60 epochs there, is a share of the budget. Modalities that a copy lacks
    are absent from the fusion: zero, or masked where it reads tokens. ``fusion: channel`` is refused, as an absent
    modality would live on in the others' features.

    Cost: from the warm-up on a forward pass over the samples that are measured, and an epoch longer by the copies: at
    the level of samples at most 2 A + 5 (1 - A) times as long with two modalities and training accuracy A.

    State: the contributions that were measured last."""

    name = "smv"
    title = "Sample-level modality valuation"
    paper = "Wei, Feng, Wang, Hu: Enhancing Multimodal Cooperation, CVPR 2024"
    stages = ("data",)
    capturable = True
    helpers = ("_extra_state",)

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.warmup, self.every = in_epochs(hp.warmup_epochs, self.epochs), in_epochs(hp.value_every, self.epochs)
        self.contributions: Tensor | None = None
        self._found: dict[str, float] = {}

    def usual_source(self) -> Source:
        return "zero"

    # Stage 1: data -----------------------------------------------------------------------------------------------

    def on_epoch_start(self, context: Context) -> None:
        """Measure contributions, where that is due."""
        since = context.epoch - 1 - self.warmup
        if since >= 0 and since % self.every == 0:
            self.contributions = self.measured_contributions(context)

    def sampler(self, context: Context) -> Tensor | tuple[Tensor, Tensor]:
        """Show all samples and, after the warm-up, copies with one modality among them."""
        order = self.shuffled(context)
        if self.contributions is None:
            return order
        by_sample = self.hyperparameters.level == "sample"
        copies = self.copies_of_samples(context) if by_sample else list(self.drawn_copies(context))
        self._found = {
            f"contribution_{m}": float(mean)
            for m, mean in zip(self.modalities, self.contributions.mean(1), strict=True)
        } | {f"copies_{m}": len(own) / len(order) for m, own in zip(self.modalities, copies, strict=True)}
        if not sum(map(len, copies)):
            return order
        index = torch.cat([order, *copies])
        kept = torch.arange(-1, len(copies)).repeat_interleave(torch.tensor([len(order), *map(len, copies)]))
        mixed = torch.randperm(len(index), generator=context.generator("smv order", context.epoch))
        return index[mixed], kept[mixed]

    def copies_of_samples(self, context: Context) -> list[Tensor]:
        """List the samples that are shown again with each modality, int64 [n_m], a sample once a copy."""
        assert self.contributions is not None
        counts = resample_counts(self.contributions).clamp_max(self.hyperparameters.max_copies)
        index, kept = resample_index(counts)
        return [index[kept == m] for m in range(len(self.modalities))]

    def drawn_copies(self, context: Context) -> Iterator[Tensor]:
        """Draw the samples that are shown again with each modality, int64 [n_m]."""
        assert self.contributions is not None
        hp, samples = self.hyperparameters, context.train_size
        shares = modality_level_probability(self.contributions.mean(1), hp.alpha, hp.func)
        for m, share in enumerate(shares.tolist()):
            count, drawn = math.floor(round(share * samples, 4)), context.generator("smv copies", context.epoch, m)
            if hp.replacement:
                yield torch.randint(samples, (count,), generator=drawn)
            else:
                yield torch.randperm(samples, generator=drawn)[:count]

    @torch.no_grad()
    def measured_contributions(self, context: Context) -> Tensor:
        """Measure the contributions of all training samples, or at the level of modalities of a part: [M, n] on the
        host, alike on every worker."""
        index = torch.arange(context.train_size)
        if self.hyperparameters.level == "modality":
            count = max(1, round(self.hyperparameters.part_ratio * context.train_size))
            drawn = context.generator("smv part", context.epoch)
            index = torch.randperm(context.train_size, generator=drawn)[:count]
        correct: list[Tensor] = []
        with evaluating(self):
            for batch in context.train_batches(index=index):
                with context.autocast():
                    features = self.encode(batch)
                    there = batch.presence(self.modalities)
                    shown = [self.fusion.fuse(features, there & s).logits for s in self.subsets()]
                    right = [logits.argmax(-1) == batch.labels for logits in shown]
                correct.append(context.gather_rows(torch.stack(right, 1).long()).cpu())
        return shapley_contributions(torch.cat(correct).T.bool(), len(self.modalities))

    def subsets(self) -> Iterator[Tensor]:
        """Give every set of modalities, bool [M] on the device, in the order of its bits; the empty one first."""
        places = torch.arange(len(self.modalities), device=next(self.parameters()).device)
        for number in range(2 ** len(self.modalities)):
            yield (number >> places) & 1 == 1

    # Training ----------------------------------------------------------------------------------------------------

    def training_outputs(self, batch: Batch, context: Context) -> Outputs:
        """Fuse all modalities of originals, and of copies the one that is kept."""
        features = self.encode(batch)
        present = None
        if batch.tag is not None:
            places = torch.arange(len(features), device=batch.tag.device)
            present = (batch.tag < 0).unsqueeze(1) | (batch.tag.unsqueeze(1) == places)
        if batch.present:
            there = batch.presence(self.modalities)
            present = there if present is None else present & there
        output = self.fusion.fuse(features, present)
        return Outputs(features, output.logits, extra=output.extra)

    # Checks, state, diagnostics ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: SMVHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        check_fused_loss_alone(cls.name, hyperparameters)

    def on_fit_start(self, context: Context) -> None:
        if self.warmup >= self.epochs:
            context.warn("smv: the warm-up lasts as long as the training, so no sample is shown again")

    def get_extra_state(self) -> Tensor | None:
        return self.contributions

    def set_extra_state(self, state: Any) -> None:
        self.contributions = state

    def diagnostics(self) -> dict[str, float]:
        """From the end of the warm-up on: each modality's mean contribution to the samples that were measured (1: its
        share of a right prediction), and its copies as a share of the training samples."""
        return dict(self._found)
