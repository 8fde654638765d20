"""AMSS and AMSS+: train large parts of a weak modality's network and small parts of a strong one's.

Yang, Pan, Jiang, Xu, Tang, "Adaptively Mask Subnetworks considering Modal Significance", TPAMI 2025. The equations are
in ``methods._amss_equations``."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import accumulate as sums
from itertools import combinations, pairwise
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from data.base import Batch
from methods._amss_equations import (
    accumulate,
    batch_statistics,
    largest_units,
    mask_values,
    sample_units,
    significance,
    unit_scores,
    update_ratios,
    usable,
)
from methods.base import MULTI, Context, MethodError, Outputs
from methods.fused import FusedMethod, FusionHyperparameters, build_fusion, check_fusion
from methods.hyperparameters import Choice, LogUniform, Uniform, hyper
from models.fusion import FusionOutput

# Which weights have which units ----------------------------------------------------------------------------------

_HEAD_ROWS = {f"{part}{end}" for part in ("q_proj", "k_proj", "v_proj") for end in (".weight", "_weight")}
_HEAD_ROWS |= {"query.weight", "key.weight", "value.weight"}
_FUSED_ROWS = {"in_proj_weight", "in_proj.weight", "qkv.weight"}
_HEAD_COLS = {"out_proj.weight", "o_proj.weight", "proj.weight", "output.dense.weight"}


@dataclass(frozen=True, eq=False)
class Units:
    """The units of a weight, or of a part of it (an index of rows or columns)."""

    name: str
    weight: nn.Parameter
    unit: str
    part: Any = ...
    num_heads: int | None = None

    @property
    def gradient(self) -> Tensor:
        """A view: what is multiplied here is multiplied in the weight's gradient."""
        assert self.weight.grad is not None
        return self.weight.grad[self.part]

    def scores(self) -> Tensor:
        return unit_scores(self.gradient, self.unit, self.num_heads)

    def multiply(self, mask: Tensor) -> None:
        """mask: as many factors as there are units."""
        gradient = self.gradient
        if self.unit == "element":
            gradient.mul_(mask.view_as(gradient))
        elif self.unit == "filter":
            gradient.mul_(mask.view(-1, *[1] * (gradient.ndim - 1)))
        else:
            axis = 0 if self.unit == "head_rows" else 1
            blocks = gradient.unflatten(axis, (mask.numel(), -1))
            blocks.mul_(mask.view((-1, 1, 1) if axis == 0 else (1, -1, 1)))


@dataclass(frozen=True, eq=False)
class Layer:
    """Weights of one modality under one draw; their scores add up. by_row: a draw for each row of the weight."""

    modality: int
    units: tuple[Units, ...]
    by_row: bool = False

    @property
    def has_gradient(self) -> bool:
        return all(each.weight.grad is not None for each in self.units)

    def scores(self) -> Tensor:
        """[draws, n]."""
        total = sum((each.scores() for each in self.units[1:]), self.units[0].scores())
        return total if self.by_row else total.reshape(1, -1)

    def multiply(self, mask: Tensor) -> None:
        """mask: [draws, n]."""
        for each in self.units:
            each.multiply(mask)


def maskable_units(encoder: nn.Module, linear_unit: str = "element") -> Iterator[list[Units]]:
    """The maskable weights of an encoder, those under one draw together; names are paths inside the encoder.

    Convolutions: output filters. Attention: heads, over all projections of a layer. Other linear layers, where the
    encoder is no Transformer: single weights (``linear_unit`` element) or rows. Never biases, normalisation,
    embeddings (a Transformer's convolutions that cut an input into patches are such) or recurrent weights."""
    attention = [
        units for path, module in encoder.named_modules() if (units := _attention_units(encoder, path, module))
    ]
    yield from attention
    inside = {id(each.weight) for units in attention for each in units}
    for path, module in encoder.named_modules():
        weight = module._parameters.get("weight")
        if weight is None or id(weight) in inside:
            continue
        name = f"{path}.weight".lstrip(".")
        if isinstance(module, _ConvNd) and not module.transposed:
            if not (attention and _cuts_patches(path, module)):
                yield [Units(name, weight, "filter")]
        elif isinstance(module, nn.Linear) and not attention:
            yield [Units(name, weight, "filter" if linear_unit == "row" else "element")]


def _cuts_patches(path: str, convolution: _ConvNd) -> bool:
    """Whether a Transformer's convolution embeds patches, which may overlap."""
    apart = convolution.stride == convolution.kernel_size and max(convolution.stride) > 1
    return apart or "embed" in path or "patch" in path


def _attention_units(encoder: nn.Module, path: str, module: nn.Module) -> list[Units]:
    """The projections of an attention layer, known by their usual names; empty for any other module."""
    heads = getattr(module, "num_heads", None) or getattr(module, "num_attention_heads", None)
    if not isinstance(heads, int):
        return []
    # BERT keeps its output projection beside the attention proper, which it calls self.
    parent, _, last = path.rpartition(".")
    home = parent if last == "self" else path
    units = []
    for name, weight in encoder.get_submodule(home).named_parameters():
        role, name = name.removeprefix("self."), f"{home}.{name}".lstrip(".")
        if role in _FUSED_ROWS:
            thirds = [slice(third * len(weight) // 3, (third + 1) * len(weight) // 3) for third in range(3)]
            units += [Units(name, weight, "head_rows", third, heads) for third in thirds]
        elif role in _HEAD_ROWS or role in _HEAD_COLS:
            units.append(Units(name, weight, "head_rows" if role in _HEAD_ROWS else "head_cols", ..., heads))
    return units


# Method --------------------------------------------------------------------------------------------------------

_OWN_HEADS = ("sum", "late", "channel")
_SPLIT_CLASSIFIER = ("concat", "sum", "late")


class AMSSHyperparameters(FusionHyperparameters):
    tau: float = hyper(
        0.25, symbol="τ", above=0.0, search=LogUniform(0.05, 4.0), only_if=("fixed_ratios", None),
        meaning="temperature of the ratios: the smaller, the less of the stronger modality is updated",
    )  # fmt: skip
    mi_momentum: float = hyper(
        0.0, symbol="λ", low=0.0, high=1.0, search=Uniform(0.0, 0.99), only_if=("fixed_ratios", None),
        meaning="weight of the old significance in its moving average over steps (official code: 0)",
    )  # fmt: skip
    fixed_ratios: list[Annotated[float, Field(gt=0, le=1)]] | None = hyper(
        None, symbol="ρ", meaning="share of units to update of each modality, in (0, 1], instead of the significance's "
        "(the paper's grid: 0.2 to 1, with sampling: uniform and plus: false)",
    )  # fmt: skip
    plus: bool = hyper(
        True, search=Choice((False, True)), only_if=("sampling", "adaptive"),
        meaning="AMSS+: kept gradients are weighted against the bias of masking; false: AMSS",
    )  # fmt: skip
    weighting: Literal["inclusion", "official"] = hyper(
        "inclusion", search=Choice(("inclusion", "official")), only_if=("plus", True),
        meaning="one over the probability of being drawn, which is unbiased, or the official code's damped weight",
    )  # fmt: skip
    weight_offset: float = hyper(
        0.0, symbol="c₀", low=0.0, high=1.0, search=Uniform(0.0, 0.5), only_if=("weighting", "official"),
        meaning="what damps the weight further (official code: 0, image and text 0.2)",
    )  # fmt: skip
    linear_unit: Literal["element", "row"] = hyper(
        "element", only_if=("mask_backbone", True),
        meaning="mask unit of linear layers in encoders that are no Transformers: single weights, or rows",
    )  # fmt: skip
    mask_exclude: list[str] = hyper(
        [], only_if=("mask_backbone", True),
        meaning="name patterns of encoder weights that are never masked, as in *.downsample.* "
        "(the official code leaves out stem and shortcut convolutions)",
    )  # fmt: skip
    mi_shift: float = hyper(
        0.5, symbol="s", low=0.0, search=Uniform(0.0, 3.0), only_if=("fixed_ratios", None),
        meaning="added to the information, so that early, negative estimates count (paper: 0)",
    )  # fmt: skip
    ratio_low: float = hyper(0.1, low=0.0, high=1.0, only_if=("fixed_ratios", None), meaning="smallest ratio")
    ratio_high: float = hyper(0.9, low=0.0, high=1.0, only_if=("fixed_ratios", None), meaning="largest ratio")
    ratio_bias: float = hyper(
        0.0, low=-1.0, high=1.0, search=Uniform(-0.2, 0.2), only_if=("fixed_ratios", None),
        meaning="added to every ratio before it is clipped",
    )  # fmt: skip
    mask_backbone: bool = hyper(True, search=Choice((False, True)), meaning="mask the encoders")
    mask_classifier: bool = hyper(
        True, search=Choice((False, True)),
        meaning="mask each modality's part of the classifier (fusion concat, sum and late)",
    )  # fmt: skip
    sampling: Literal["adaptive", "uniform", "topk"] = hyper(
        "adaptive", search=Choice(("adaptive", "uniform", "topk")),
        meaning="units drawn by their squared gradients, drawn alike, or those with the largest ones",
    )  # fmt: skip
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(
        None, meaning="where unimodal logits come from (null: own heads of sum, late and channel, else the fused head "
        "with the other modalities zeroed; official code of concat: native)",
    )  # fmt: skip


class AMSS(FusedMethod):
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
    Hyperparameters = AMSSHyperparameters
    hyperparameters: AMSSHyperparameters
    significance: Tensor
    ratios: Tensor

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: AMSSHyperparameters, epochs: int
    ) -> None:
        super().__init__(encoders, num_classes, hyperparameters, epochs)
        hp = hyperparameters
        self.fusion = build_fusion(hp, self.modalities, self.dims, num_classes, encoders=list(self.encoders.values()))
        self.source = hp.unimodal_source or ("native" if hp.fusion in _OWN_HEADS else "zero")
        self.scheme = hp.weighting if hp.plus and hp.sampling == "adaptive" else "binary"
        self.layers = (self._encoder_layers() if hp.mask_backbone else []) + (
            self._classifier_layers() if hp.mask_classifier else []
        )
        self.register_buffer("significance", torch.zeros(len(self.dims)))
        self.register_buffer("ratios", torch.tensor(hp.fixed_ratios or [1.0] * len(self.dims)))
        self._sums, self._steps = torch.zeros(3, len(self.dims)), 0
        self._diagnostics: dict[str, float] = {}

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities, side_by_side=True)
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

    # What is masked --------------------------------------------------------------------------------------------

    def _encoder_layers(self) -> list[Layer]:
        """Raises MethodError for a pattern of ``mask_exclude`` that names no maskable weight."""
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
        """Each modality's own classifier, or its columns of the common one: drawn row by row."""
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

    # Phases ----------------------------------------------------------------------------------------------------

    def on_fit_start(self, context: Context) -> None:
        masked = {layer.modality for layer in self.layers}
        if bare := [m for k, m in enumerate(self.modalities) if k not in masked and self.hyperparameters.mask_backbone]:
            context.warn(f"amss finds nothing to mask in the network of {', '.join(bare)}, which is trained as a whole")

    def on_epoch_start(self, context: Context) -> None:
        self._sums, self._steps = torch.zeros(3, len(self.dims), device=context.device), 0

    def on_epoch_end(self, context: Context) -> None:
        if self.hyperparameters.fixed_ratios is not None:
            self._diagnostics = {f"ratio_{m}": float(r) for m, r in zip(self.modalities, self.ratios, strict=True)}
            return
        ratios, found, (fallback, *_) = (self._sums / self._steps).unbind()
        each = list(zip(self.modalities, ratios, found, strict=True))
        self._diagnostics = {f"ratio_{m}": float(r) for m, r, _ in each}
        self._diagnostics |= {f"significance_{m}": float(u) for m, _, u in each}
        self._diagnostics |= {f"imbalance_{a}_{b}": float(u / v) for (a, _, u), (b, _, v) in combinations(each, 2)}
        self._diagnostics["fallback"] = float(fallback)
        if fallback > 0.5 and context.epoch > 1:
            context.warn(
                "amss: in most steps of an epoch a modality seems to know nothing of the labels, so all ratios are 0.5 "
                "there; a larger mi_shift keeps them apart"
            )

    # The step --------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        output = self.fusion.fuse(features)
        unimodal = []
        if self.hyperparameters.fixed_ratios is None:
            with torch.no_grad():
                unimodal = self.fusion.unimodal_logits(features, self.source)
        return Outputs(features, output.logits, unimodal, output.extra)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = self.fusion.unimodal_logits(features, self.source)
        return {MULTI: self.fusion.fuse(features).logits, **dict(zip(self.modalities, unimodal, strict=True))}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """The fusion's own loss, as in joint training."""
        if outputs.unimodal_logits:
            self.weigh(outputs, batch.labels, context)
        output = FusionOutput(outputs.logits, outputs.features, outputs.extra)
        return self.fusion.loss(output, batch.labels, context.epoch - 1)

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
        self.significance = accumulate(self.significance if context.step else None, current, hp.mi_momentum)
        self.ratios = update_ratios(self.significance, hp.tau, hp.ratio_low, hp.ratio_high, hp.ratio_bias)
        fallback = (~usable(self.significance)).expand_as(self.ratios)
        self._sums, self._steps = self._sums + torch.stack([self.ratios, self.significance, fallback]), self._steps + 1

    @torch.no_grad()
    def modulate_gradients(self, context: Context) -> None:
        """Draw the masks of all layers, those of equal length at once, and multiply the gradients by them."""
        generator = context.generator("amss masks", context.step)
        groups = defaultdict(list)
        for layer in self.layers:
            if layer.has_gradient:
                scores = layer.scores()
                groups[scores.shape[-1]].append((layer, scores))
        for group in groups.values():
            scores = torch.cat([scores for _, scores in group])
            ratios = torch.cat([self.ratios[layer.modality].expand(len(scores), 1) for layer, scores in group])
            masks = self.masks(scores, ratios, generator).split([len(scores) for _, scores in group])
            for (layer, _), mask in zip(group, masks, strict=True):
                layer.multiply(mask)

    def masks(self, scores: Tensor, ratios: Tensor, generator: torch.Generator) -> Tensor:
        """Factors of units, [R, n], from their scores [R, n] and the ratio of each row [R, 1]."""
        hp = self.hyperparameters
        if hp.sampling == "topk":
            return mask_values(scores, largest_units(scores, ratios))
        if hp.sampling == "uniform":
            scores = torch.ones_like(scores)
        sampler = "systematic" if self.scheme == "inclusion" else "successive"
        selected = sample_units(scores, ratios, generator, sampler)
        return mask_values(scores, selected, self.scheme, hp.weight_offset)

    def diagnostics(self) -> dict[str, float]:
        """Means over the last epoch's steps: ratio and significance of each modality, share of steps in which ratios
        fell back to 0.5; and the quotients of the modalities' mean significances (the imbalance degree of Figure 5)."""
        return dict(self._diagnostics)
