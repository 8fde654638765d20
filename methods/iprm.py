"""IPRM: probe the balance of two modalities in a step, and rebalance their mix at once.

Yang, Wu, Jiang, "Towards Equilibrium: An Instantaneous Probe-and-Rebalance Multimodal Learning Approach", IJCAI 2025.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs
from methods.base.hyperparameters import Choice, Hyperparameters, Uniform, hyper
from models import linear, unknown

# Equations -----------------------------------------------------------------------------------------------------


def mix_features(x: Tensor, y: Tensor, lam_x: float | Tensor, kind: str = "geodesic") -> Tensor:
    """Mix two features, [n, d] each -> [n, d]; λ = ``lam_x`` in [0, 1] is the share of x (float or 0-d tensor).

    geodesic: spherical interpolation of the normalised rows, sin(λθ)/sin(θ) x + sin((1-λ)θ)/sin(θ) y (eq. 2), of
    norm 1; rows that are nearly parallel or opposite (|cosine| > 1 - 1e-6) are mixed linearly. linear: λx + (1-λ)y
    of the normalised rows. linear_raw: of the rows as they are. A zero row stays zero. Raises ValueError for
    another ``kind``."""
    return path(x, y, kind).at(lam_x)


class Path(NamedTuple):
    """The mixes of two features between one and the other: what they share, whatever the shares.

    x, y: the ends, [n, d] each. On the sphere: aligned, bool [n, 1], rows that are mixed linearly; angle θ [n, 1]
    between the ends of the others."""

    x: Tensor
    y: Tensor
    aligned: Tensor | None = None
    angle: Tensor | None = None

    def at(self, lam_x: float | Tensor) -> Tensor:
        """Give the mix [n, d] with the share λ of x."""
        straight = lam_x * self.x + (1 - lam_x) * self.y
        if self.aligned is None or self.angle is None:
            return straight
        theta = self.angle
        curved = (torch.sin(lam_x * theta) * self.x + torch.sin((1 - lam_x) * theta) * self.y) / theta.sin()
        return torch.where(self.aligned, straight, curved)


def path(x: Tensor, y: Tensor, kind: str) -> Path:
    """Compute the mixes of two features of a ``kind``: see :func:`mix_features`."""
    if kind not in ("geodesic", "linear", "linear_raw"):
        raise unknown("kind of mix", kind, ("geodesic", "linear", "linear_raw"))
    if kind != "linear_raw":
        x, y = F.normalize(x, dim=-1, eps=1e-8), F.normalize(y, dim=-1, eps=1e-8)
    if kind != "geodesic":
        return Path(x, y)
    cosine = (x * y).sum(-1, keepdim=True)
    aligned = cosine.abs() > 1 - 1e-6
    # Replaced before the arccos, whose gradient is infinite there and would turn into NaN behind the `where`.
    angle = torch.where(aligned, torch.zeros_like(cosine), cosine).acos()
    return Path(x, y, aligned, angle)


def kl_divergence(logits_p: Tensor, logits_q: Tensor, reduction: str = "mean") -> Tensor:
    """Compute KL(softmax p || softmax q) of logits [n, K], in nats, summed over classes.

    reduction over the batch: mean or sum (0-d), none ([n]). Raises ValueError for another one."""
    log_p, log_q = logits_p.log_softmax(-1), logits_q.log_softmax(-1)
    divergence = (log_p.exp() * (log_p - log_q)).sum(-1)
    if reduction == "mean":
        return divergence.mean()
    if reduction == "sum":
        return divergence.sum()
    if reduction == "none":
        return divergence
    raise unknown("reduction", reduction, ("mean", "sum", "none"))


def strength_weights(kl_x: Any, kl_y: Any) -> tuple[Any, Any]:
    """Compute ω_x = D_y / (D_x + D_y) and ω_y = 1 - ω_x (eq. 5): the modality nearer to the mixed prediction weighs
    more.

    Floats give floats, 0-d tensors 0-d tensors; (0.5, 0.5) where the sum is at most 1e-12."""
    total = kl_x + kl_y
    if isinstance(total, Tensor):
        omega: Any = torch.where(total <= 1e-12, torch.full_like(total, 0.5), kl_y / total.clamp_min(1e-12))
    else:
        omega = 0.5 if total <= 1e-12 else kl_y / total
    return omega, 1 - omega


def update_probe_weight(lam: Any, omega: Any, alpha: float) -> Any:
    """Compute λ_{t+1} = α λ_t + (1 - α) ω_t (eq. 8), floats or tensors; ω alone before the first step (``lam``
    None)."""
    return omega if lam is None else alpha * lam + (1 - alpha) * omega


def mixed_targets(targets_x: Tensor, targets_y: Tensor, lam_x: float | Tensor, num_classes: int) -> Tensor:
    """Compute λ onehot(x) + (1 - λ) onehot(y): int64 [n] each -> float32 [n, K]."""
    x, y = F.one_hot(targets_x, num_classes).float(), F.one_hot(targets_y, num_classes).float()
    return lam_x * x + (1 - lam_x) * y


def combine_logits(uni_logits: list[Tensor], mix_logits: list[Tensor]) -> Tensor:
    """Add the sum of the unimodal logits and the mean of the pairs' mixed logits, [n, K] each -> [n, K]."""
    return torch.stack(uni_logits).sum(0) + torch.stack(mix_logits).mean(0)


# Method --------------------------------------------------------------------------------------------------------


class IPRMHyperparameters(Hyperparameters):
    alpha: float = hyper(0.8, symbol="α", low=0.0, high=1.0, search=Uniform(0.1, 0.9), only_if=("ema", "on"))
    """weight of the old probe weight in the moving average"""
    kind: Literal["geodesic", "linear", "linear_raw"] = hyper(
        "geodesic", search=Choice(("geodesic", "linear", "linear_raw"))
    )
    """how two features are mixed: on the sphere, linearly after normalisation, linearly as they are"""
    ema: Literal["on", "off", "fixed"] = hyper("on", search=Choice(("on", "off", "fixed")))
    """probe weight: moving average, the last strength alone, or lambda_init for ever"""
    passes: Literal[1, 2] = hyper(2, search=Choice((1, 2)))
    """2: probe, then learn with the rebalanced mix; 1: learn with the probed mix"""
    paired: bool = hyper(True)
    """mix the features of one sample; false: of two samples with mixed targets (two modalities)"""
    pair_heads: Literal["tri_cls", "single_cls"] = hyper("tri_cls", search=Choice(("tri_cls", "single_cls")))
    """three and more modalities: a mixed head for each pair, or one shared head and one random pair a step"""
    predict: Literal["sum", "multi"] = hyper("sum")
    """inference: unimodal and mixed heads together, or mixed heads only"""
    lambda_init: float = hyper(0.5, symbol="ω₀", low=0.0, high=1.0)
    """probe weight of the first step"""


class IPRM(Method[IPRMHyperparameters]):
    """Two modalities are mixed on the unit sphere with a weight λ that can be set at will. A step first evaluates the
    mixed head with the remembered weight and learns nothing (probe): the modality whose own prediction lies nearer to
    the mixed one is the stronger. It gets the larger weight at once (rebalance), and the loss is that of the rebalanced
    mix plus those of the unimodal heads; the features are computed once.

    Source: Yang, Wu, Jiang, IJCAI 2025: mix (eq. 2), strength and weight (4 to 6), loss (7), moving average (8). Its
    ablations: ``kind: linear`` (L-Mixup), ``ema: off``, ``passes: 1`` (One-Pass), ``paired: false``; for three and more
    modalities every pair is mixed, by heads of their own or by one (``pair_heads``).

    Departures from the official code: every modality has a head of its own (in the code's script for three, the third
    goes through the second's); parallel, opposite and zero features give finite mixes and gradients; two strengths of 0
    give the weight 0.5; inference mixes with the weight held in the state, and a pair never drawn with lambda_init.
    Unpaired mixing permutes the samples of a worker's batch, anew in each step (our reading), so there alone N workers
    do not equal one.

    Cost: one forward and one backward a step, as joint training; beside them one mix and one linear head without
    gradients for each pair (none with ``passes: 1``).

    State: the probe weight λ of every pair (i, j), i < j, which belongs to modality i."""

    name = "iprm"
    title = "Instantaneous probe-and-rebalance multimodal learning"
    paper = "Yang, Wu, Jiang: Towards Equilibrium, IJCAI 2025"
    stages = ("feed-forward",)
    probe_weights: Tensor
    strengths: Tensor

    def build(self) -> None:
        hp, dims, width = self.hyperparameters, self.dims, min(self.dims)
        self.projections = nn.ModuleList(nn.Identity() if len(set(dims)) == 1 else linear(dim, width) for dim in dims)
        self.unimodal_heads = nn.ModuleList(linear(width, self.num_classes) for _ in dims)
        self.pairs = list(combinations(range(len(dims)), 2))
        count = len(self.pairs) if hp.pair_heads == "tri_cls" else 1
        self.mixed_heads = nn.ModuleList(linear(width, self.num_classes) for _ in range(count))
        self.momentum = {"on": hp.alpha, "off": 0.0, "fixed": 1.0}[hp.ema]
        first = update_probe_weight(None, hp.lambda_init, self.momentum)
        self.register_buffer("probe_weights", torch.full((len(self.pairs),), first))
        self.register_buffer("strengths", torch.full((len(self.pairs),), first))

    # Probe -------------------------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> list[Tensor]:
        """Bring the features to one width [B, d], the smallest of the encoders'."""
        return [project(f) for project, f in zip(self.projections, super().encode(batch), strict=True)]

    def forward(self, batch: Batch) -> Outputs:
        """Probe: mix with the remembered weights; these mixes learn nothing unless ``passes`` is 1."""
        features = self.encode(batch)
        unimodal, paths = self.unimodal_logits(features), self.paths(features)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.hyperparameters.passes == 1):
            mixed = self.mixed_logits(paths)
        extra = {"mixed": torch.stack(mixed), "paths": paths}
        return Outputs(features, self.combine(unimodal, mixed), unimodal, extra)

    def unimodal_logits(self, features: list[Tensor]) -> list[Tensor]:
        return [head(f) for head, f in zip(self.unimodal_heads, features, strict=True)]

    def paths(self, features: list[Tensor]) -> list[Path]:
        """Give the mixes of every pair."""
        return [self.path(features[i], features[j]) for i, j in self.pairs]

    def path(self, x: Tensor, y: Tensor) -> Path:
        """Give the mixes of two features, in full precision (an arccos under bf16 is noise)."""
        return path(x.float(), y.float(), self.hyperparameters.kind)

    def mixed_logits(self, paths: list[Path]) -> list[Tensor]:
        """Give the logits [B, C] of every pair, mixed with the probe weights."""
        return [self.mix(pair, each, self.probe_weights[pair]) for pair, each in enumerate(paths)]

    def mix(self, pair: int, between: Path, weight: Tensor) -> Tensor:
        """Give the logits [B, C] of a pair's mixed head."""
        return self.mixed_heads[pair if len(self.mixed_heads) > 1 else 0](between.at(weight))

    # Rebalance ---------------------------------------------------------------------------------------------------

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute eq. 7, and leave ω of the drawn pairs in ``outputs.extra``."""
        total = torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]).sum()
        for pair in self.drawn_pairs(context):
            total = total + self.mixed_loss(pair, outputs, batch, context)
        return total

    def mixed_loss(self, pair: int, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the cross-entropy of a pair's mix, rebalanced by the strengths that the probe shows (eqs. 4 to 7)."""
        i, j = self.pairs[pair]
        logits_x, logits_y = outputs.unimodal_logits[i], outputs.unimodal_logits[j]
        probe, between, labels_y = outputs.extra["mixed"][pair], outputs.extra["paths"][pair], batch.labels
        one_pass = self.hyperparameters.passes == 1
        if not self.hyperparameters.paired:
            partner = context.sample_numbers("partners", 1).squeeze(1).argsort()
            between = self.path(outputs.features[i], outputs.features[j][partner])
            logits_y, labels_y = logits_y[partner], labels_y[partner]
            with torch.set_grad_enabled(torch.is_grad_enabled() and one_pass):
                probe = self.mix(pair, between, self.probe_weights[pair])
        omega = self.strength(probe, logits_x, logits_y, context)
        outputs.extra[f"omega {pair}"] = omega
        weight = self.probe_weights[pair] if one_pass else omega
        logits = probe if one_pass else self.mix(pair, between, omega)
        if self.hyperparameters.paired:
            return F.cross_entropy(logits, batch.labels)
        return F.cross_entropy(logits, mixed_targets(batch.labels, labels_y, weight, self.num_classes))

    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Leave the gradients as they are, and move the probe weights of the drawn pairs (eq. 8)."""
        for pair in self.drawn_pairs(context):
            self.strengths[pair] = outputs.extra[f"omega {pair}"]
            moved = update_probe_weight(self.probe_weights[pair], self.strengths[pair], self.momentum)
            self.probe_weights[pair] = moved

    @torch.no_grad()
    def strength(self, probe: Tensor, logits_x: Tensor, logits_y: Tensor, context: Context) -> Tensor:
        """Compute ω of the first modality (0-d, without gradient) from divergences summed over the joint batch."""
        divergences = [kl_divergence(logits.float(), probe.float(), "sum") for logits in (logits_x, logits_y)]
        kl_x, kl_y = context.sum(torch.stack(divergences)).clamp_min(0)  # rounding alone makes them negative
        return strength_weights(kl_x, kl_y)[0]

    @property
    def capturable(self) -> bool:
        """Tell whether every step mixes the same pairs."""
        return self.hyperparameters.pair_heads == "tri_cls"

    def drawn_pairs(self, context: Context) -> list[int]:
        """List the pairs whose mixed loss counts in this step."""
        if self.hyperparameters.pair_heads == "tri_cls":
            return list(range(len(self.pairs)))
        return [int(torch.randint(len(self.pairs), (), generator=context.generator("pair", context.step)))]

    # Inference ---------------------------------------------------------------------------------------------------

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = self.unimodal_logits(features)
        logits = self.combine(unimodal, self.mixed_logits(self.paths(features)))
        return {MULTI: logits, **dict(zip(self.modalities, unimodal, strict=True))}

    def combine(self, unimodal: list[Tensor], mixed: list[Tensor]) -> Tensor:
        if self.hyperparameters.predict == "multi":
            return torch.stack(mixed).mean(0)
        return combine_logits(unimodal, mixed)

    # Checks, diagnostics -----------------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: IPRMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if not hyperparameters.paired and len(modalities) != 2:
            raise MethodError(f"iprm: paired: false is defined for two modalities, the dataset gives {len(modalities)}")

    @classmethod
    def world_size_matters(cls, hyperparameters: IPRMHyperparameters) -> bool:
        """Tell whether mixing is unpaired, which permutes each worker's part of the batch."""
        return not hyperparameters.paired

    def diagnostics(self) -> dict[str, float]:
        """λ and ω of each pair: the shares of its first modality."""
        names = [f"{self.modalities[i]}_{self.modalities[j]}" for i, j in self.pairs]
        numbers = {f"lambda_{n}": float(v) for n, v in zip(names, self.probe_weights, strict=True)}
        return numbers | {f"omega_{n}": float(v) for n, v in zip(names, self.strengths, strict=True)}
