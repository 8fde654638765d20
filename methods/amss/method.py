"""The method AMSS."""

from __future__ import annotations

from collections import defaultdict
from fnmatch import fnmatchcase
from itertools import accumulate as sums
from itertools import combinations, pairwise
from math import prod
from typing import Any

import torch
from torch import Tensor

from data.base import Batch
from methods.amss.equations import (
    accumulate,
    batch_statistics,
    largest_units,
    mask_values,
    numbers_shape,
    sample_units,
    significance,
    update_ratios,
    usable,
)
from methods.amss.hyperparameters import AMSSHyperparameters
from methods.amss.units import Layer, Units, maskable_units
from methods.base import Context, MethodError, Outputs
from methods.base.fused import FusedMethod
from models.fusion import Source

_OWN_HEADS = ("sum", "late", "channel")
_SPLIT_CLASSIFIER = ("concat", "sum", "late")


class AMSS(FusedMethod[AMSSHyperparameters]):
    """Joint training in which only a share of each modality's units (filters, attention heads, classifier weights)
    receives its gradient: a small share for the modality that has learned much by its mutual information with the
    labels, a large one for the others. Units with large squared gradients are drawn more often; AMSS+ (``plus``)
    divides what is kept by its probability, so that masked gradients are right on average.

    Source: Yang, Pan, Jiang, Xu, Tang, TPAMI 2025: significance (eq. 2), its moving average (3), update ratios (4),
    weights of AMSS+ (5); unit scores, draws and which weights are masked: section III and supplement C.

    Departures from the official code: the classifier's mask is applied, with probabilities of its elements rather than
    of their column numbers; AMSS+ is unbiased (``weighting: official`` gives the code's weights); an attention layer
    has one draw for all its projections; label and feature entropies are in nats, by sample; fewer scored units than
    are to be drawn are filled up.

    Cost: one forward and one backward, as joint training, and the squares of the masked gradients. Momentum and weight
    decay act after the mask, so a masked unit may still move.

    State: significance u and ratios r."""

    name = "amss"
    title = "Adaptively masked subnetworks by modal significance"
    paper = "Yang, Pan, Jiang, Xu, Tang: Adaptively Mask Subnetworks considering Modal Significance, TPAMI 2025"
    stages = ("optimization",)
    capturable = True
    computes_with_features = True
    significance: Tensor
    ratios: Tensor

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        self.scheme = hp.weighting if hp.plus and hp.sampling == "adaptive" else "binary"
        self.layers = (self._encoder_layers() if hp.mask_backbone else []) + (
            self._classifier_layers() if hp.mask_classifier else []
        )
        self.unit_sampler = "systematic" if self.scheme == "inclusion" else "successive"
        self.register_buffer("significance", torch.zeros(len(self.dims)))
        self.register_buffer("ratios", torch.tensor(hp.fixed_ratios or [1.0] * len(self.dims)))
        self._imbalance: dict[str, float] = {}

    # How much of a modality is updated ---------------------------------------------------------------------------

    def usual_source(self) -> Source:
        return "native" if self.hyperparameters.fusion in _OWN_HEADS else "zero"

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give those that the significance is made of: without gradient, and none where ratios are fixed."""
        if self.hyperparameters.fixed_ratios is not None:
            return []
        with torch.no_grad():
            return self.unimodal_logits(features)

    @torch.no_grad()
    def weigh(self, outputs: Outputs, labels: Tensor, context: Context) -> None:
        """Move significance and ratios by the joint batch (eqs. 2 to 4)."""
        hp = self.hyperparameters
        found = [
            batch_statistics(logits, features, labels, self.num_classes)
            for logits, features in zip(outputs.unimodal_logits, outputs.features, strict=True)
        ]
        pairs = [torch.stack([each["log_likelihood"], each["feature_entropy"]]) for each in found]
        counts = context.sum(found[0]["label_counts"])
        means = context.mean(torch.stack(pairs))
        current = torch.stack([significance(likelihood, counts, entropy, hp.mi_shift) for likelihood, entropy in means])
        before = self.significance if context.step else None
        self.significance.copy_(accumulate(before, current, hp.mi_momentum))
        self.ratios.copy_(update_ratios(self.significance, hp.tau, hp.ratio_low, hp.ratio_high, hp.ratio_bias))
        for m, found_now in zip(self.modalities, self.significance, strict=True):
            context.log(f"significance_{m}", found_now)
        context.log("fallback", (~usable(self.significance)).float())

    # Which of its units are --------------------------------------------------------------------------------------

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Move the ratios; draw the masks of all layers, those of equal length at once; multiply the gradients."""
        if outputs.unimodal_logits:
            self.weigh(outputs, batch.labels, context)
        for m, ratio in zip(self.modalities, self.ratios, strict=True):
            context.log(f"ratio_{m}", ratio)
        numbers = context.step_numbers("amss masks", self._draw_numbers)
        for width, layers in self._layers_of_width().items():
            rows = sum(draws for _, draws in layers)
            shape = numbers_shape((rows, width), self.unit_sampler)
            uniform, numbers = numbers[: prod(shape)].view(shape), numbers[prod(shape) :]
            parts = uniform.split([draws for _, draws in layers])
            group = [(layer, layer.scores(), part) for (layer, _), part in zip(layers, parts, strict=True)
                     if layer.has_gradient]  # fmt: skip
            if not group:
                continue
            scores = torch.cat([scores for _, scores, _ in group])
            ratios = torch.cat([self.ratios[layer.modality].expand(len(scores), 1) for layer, scores, _ in group])
            masks = self.masks(scores, ratios, torch.cat([part for _, _, part in group]))
            for (layer, _, _), mask in zip(group, masks.split([len(scores) for _, scores, _ in group]), strict=True):
                layer.multiply(mask)

    def _layers_of_width(self) -> dict[int, list[tuple[Layer, int]]]:
        """Group the layers by the units of a draw, each with its number of draws."""
        groups = defaultdict(list)
        for layer in self.layers:
            draws, width = layer.shape
            groups[width].append((layer, draws))
        return groups

    def _draw_numbers(self, generator: torch.Generator) -> Tensor:
        """Draw what the masks of a step take, layers of equal width together."""
        drawn = []
        for width, layers in self._layers_of_width().items():
            shape = numbers_shape((sum(draws for _, draws in layers), width), self.unit_sampler)
            drawn.append(torch.rand(shape, dtype=torch.float64, generator=generator).flatten())
        return torch.cat(drawn) if drawn else torch.empty(0)

    def masks(self, scores: Tensor, ratios: Tensor, uniform: Tensor) -> Tensor:
        """Draw factors of units, [R, n], from their scores [R, n], the ratio of each row [R, 1] and random numbers."""
        hp = self.hyperparameters
        if hp.sampling == "topk":
            return mask_values(scores, largest_units(scores, ratios))
        if hp.sampling == "uniform":
            scores = torch.ones_like(scores)
        selected = sample_units(scores, ratios, None, self.unit_sampler, uniform)
        return mask_values(scores, selected, self.scheme, hp.weight_offset)

    # What can be masked ------------------------------------------------------------------------------------------

    def _encoder_layers(self) -> list[Layer]:
        """List the maskable layers of all encoders.

        Raises MethodError for a pattern of ``mask_exclude`` that names no maskable weight."""
        patterns, layers, unused = self.hyperparameters.mask_exclude, [], set(self.hyperparameters.mask_exclude)
        for k, (modality, encoder) in enumerate(self.encoders.items()):
            for units in maskable_units(encoder, self.hyperparameters.linear_unit):
                fitting = {u.name: [p for p in patterns if fnmatchcase(f"{modality}.{u.name}", p)] for u in units}
                unused -= {pattern for found in fitting.values() for pattern in found}
                if kept := tuple(u for u in units if not fitting[u.name]):
                    layers.append(Layer(k, kept))
        if unused:
            raise MethodError(
                f"amss: mask_exclude: no maskable weight fits {min(unused)!r}; names are MODALITY.PATH, such as "
                f"{next((f'{self.modalities[each.modality]}.{each.units[0].name}' for each in layers), 'none')}"
            )
        return layers

    def _classifier_layers(self) -> list[Layer]:
        """List each modality's own classifier, or its columns of the common one: drawn row by row."""
        fusion = self.hyperparameters.fusion
        if fusion not in _SPLIT_CLASSIFIER:
            return []
        blocks: list[Any] = [...] * len(self.dims)
        if fusion == "concat":
            blocks = [(slice(None), slice(*ends)) for ends in pairwise([0, *sums(self.dims)])]
        names = ["head.weight" if fusion == "concat" else f"heads.{k}.weight" for k in range(len(blocks))]
        parts = [
            Units(f"fusion.{n}", self.fusion.get_parameter(n), "element", b) for n, b in zip(names, blocks, strict=True)
        ]
        return [Layer(k, (part,), by_row=True) for k, part in enumerate(parts)]

    # Checks, warnings, diagnostics -------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: AMSSHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        hp = hyperparameters
        if hp.unimodal_source == "aux" or hp.aux_detach:
            raise MethodError("amss trains no auxiliary heads: use unimodal_source native or zero, aux_detach: false")
        if hp.fixed_ratios is not None and len(hp.fixed_ratios) != len(modalities):
            raise MethodError(f"amss: fixed_ratios needs one entry for each of {', '.join(modalities)}")
        if hp.fixed_ratios is None and hp.ratio_low > hp.ratio_high:
            raise MethodError(f"amss: ratio_low {hp.ratio_low} lies above ratio_high {hp.ratio_high}")
        if hp.mask_classifier and not hp.mask_backbone and hp.fusion not in _SPLIT_CLASSIFIER:
            raise MethodError(
                f"amss: fusion {hp.fusion} has no classifier in parts by modality, so mask_backbone: false leaves "
                "nothing to mask; use fusion concat, sum or late"
            )

    def on_fit_start(self, context: Context) -> None:
        masked = {layer.modality for layer in self.layers if not layer.by_row}
        if bare := [m for k, m in enumerate(self.modalities) if k not in masked and self.hyperparameters.mask_backbone]:
            context.warn(f"amss finds nothing to mask in the encoder of {', '.join(bare)}, which is trained as a whole")

    def on_epoch_end(self, context: Context) -> None:
        means = context.logged()
        if "fallback" not in means:
            return
        self._imbalance = {
            f"imbalance_{a}_{b}": means[f"significance_{a}"] / means[f"significance_{b}"]
            for a, b in combinations(self.modalities, 2)
        }
        if means["fallback"] > 0.5 and context.epoch > 1:
            context.warn(
                "amss: in most steps of an epoch a modality seems to know nothing of the labels, so all ratios are 0.5 "
                "there; a larger mi_shift keeps them apart"
            )

    def diagnostics(self) -> dict[str, float]:
        """Logged, as means over the epoch's samples: ratio and significance of each modality, share of steps in which
        ratios fell back to 0.5. Here: the quotients of the mean significances (the imbalance degree of Figure 5)."""
        return dict(self._imbalance)
