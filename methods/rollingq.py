"""RollingQ: the query of a class token is turned back towards the modality that it has stopped reading.

Ni, Wei, Liu, Chen, Peng, Lin, Hu, "RollingQ: Reviving the Cooperation Dynamics in Multimodal Transformer", ICML 2025.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs, evaluating
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters, FusionName
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper
from models import unknown
from models.fusion import AttentionFusion, Source

# Equations -----------------------------------------------------------------------------------------------------


def attention_cosines(query: Tensor, keys: list[Tensor]) -> Tensor:
    """c_m: cosine of each query and its sample's mean key, averaged over a batch; [B, D] and M of [B, L_m, D] -> [M].

    Norms are at least 1e-8, so a zero vector has cosine 0."""
    return torch.stack([F.cosine_similarity(query, each.mean(1), dim=1, eps=1e-8).mean() for each in keys])


def attention_imbalance_rate(query: Tensor, key_a: Tensor, key_b: Tensor) -> Tensor:
    """AIR = c_a - c_b, 0-d in [-2, 2]: above 0 where the query lies nearer to the keys of a."""
    first, second = attention_cosines(query, [key_a, key_b])
    return first - second


def anchor_weights(cosines: Tensor, sigma: float) -> Tensor:
    """w = softmax(-2 σ c), [M] -> [M]: the farther a modality's keys, the larger. Of two: (1 ± tanh(σ AIR)) / 2."""
    return (-2 * sigma * cosines).softmax(0)


def anchor_query(mean_query: Tensor, mean_keys: list[Tensor], weights: Tensor) -> Tensor:
    """q_b: the weighted sum of the unit mean keys, at the norm of the mean query; all of [D].

    A mean key of zero counts for nothing; where the sum vanishes, the mean query is returned."""
    units = torch.stack([_unit(key) for key in mean_keys])
    total = (weights.unsqueeze(1) * units).sum(0)
    norm = total.norm()
    anchor = total / norm.clamp_min(1e-12) * mean_query.norm()
    return torch.where(norm < 1e-12, mean_query, anchor)


def rotation_matrix(source: Tensor, target: Tensor, method: str = "minimal") -> Tensor:
    """R_b [D, D], orthogonal of determinant 1, that turns the direction of source [D] into that of target [D].

    minimal: in the plane of both, which leaves the complement alone; parallel vectors give the identity, opposite ones
    half a turn. svd: U Vᵀ of target sourceᵀ, which off the line of source depends on the linear-algebra library. A zero
    vector gives the identity. Computed in double precision. Raises ValueError for another method."""
    if method not in ("minimal", "svd"):
        raise unknown("method", method, ("minimal", "svd"))
    x, y = (_unit(vector.double()) for vector in (source, target))
    identity = torch.eye(len(x), dtype=torch.float64, device=x.device)
    if not bool(x.any()) or not bool(y.any()):
        return identity.to(source.dtype)
    turned = _svd_rotation(x, y) if method == "svd" else _minimal_rotation(x, y, identity)
    return turned.to(source.dtype)


def _minimal_rotation(x: Tensor, y: Tensor, identity: Tensor) -> Tensor:
    cosine = float(x @ y)
    if 1 + cosine < 1e-12:
        axis = identity[int(x.abs().argmin())]
        side = _unit(axis - (axis @ x) * x)
        return identity - 2 * torch.outer(x, x) - 2 * torch.outer(side, side)
    twist = torch.outer(y, x) - torch.outer(x, y)
    return identity + twist + twist @ twist / (1 + cosine)


def _svd_rotation(x: Tensor, y: Tensor) -> Tensor:
    left, _, right = torch.linalg.svd(torch.outer(y, x))
    if float(torch.linalg.det(left @ right)) < 0:
        left[:, -1] *= -1
    return left @ right


def apply_rotation(query: Tensor, rotation: Tensor) -> Tensor:
    """q Rᵀ, [B, D] and [D, D] -> [B, D]."""
    return query @ rotation.T


def rotated_mean_query(source: Tensor, target: Tensor, method: str = "minimal") -> Tensor:
    """Turn source [D] into the direction of target [D]; its norm stays."""
    return apply_rotation(source.unsqueeze(0), rotation_matrix(source, target, method)).squeeze(0)


def _unit(vector: Tensor) -> Tensor:
    return vector / vector.norm().clamp_min(1e-12)


# Method --------------------------------------------------------------------------------------------------------


class RollingQHyperparameters(FusionHyperparameters):
    beta: float = hyper(0.1, symbol="β", low=0.0, search=Uniform(0.0, 0.5))
    """attention imbalance from which on the query is turned"""
    sigma: float = hyper(2.0, symbol="ρ", low=0.0, search=LogUniform(0.1, 20.0))
    """how far the query is turned towards the modality that is read least (0: between all)"""
    max_rotations: int = hyper(1, low=0, search=Integer(1, 5))
    """turns at most (published: 1, on Kinetics-Sounds 3)"""
    rotation: Literal["minimal", "svd"] = hyper("minimal", search=Choice(("minimal", "svd")))
    """in one plane alone, or as the official code's decomposition gives it"""
    air_source: Literal["last_batch", "train_pass"] = hyper("last_batch", search=Choice(("last_batch", "train_pass")))
    """what the imbalance is measured on: the epoch's last batch as it is trained, or all training samples"""
    fusion: FusionName = hyper("attention")
    """only attention has a query"""
    tokens: Literal["one", "all"] = hyper("all", search=Choice(("one", "all")))
    """what of a modality is read: its feature, or all tokens of its encoder"""
    fusion_dropout: float = hyper(0.2, low=0.0, high=0.9, search=Uniform(0.0, 0.5))
    """share of attention weights, and of what is read, dropped in training; above 0 every worker draws its own"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: probes, which learn beside the network and do not reach it)"""
    aux_detach: bool = hyper(True)
    """probes do not reach the encoders"""


class RollingQ(FusedMethod[RollingQHyperparameters]):
    """A class token reads the modalities' tokens by attention. Its query drifts towards the keys of one modality, which
    is read more, learns more, and is read still more. At the end of an epoch in which the query lies nearer to one
    modality's keys than to another's by too much, it is turned towards a point between the mean keys, nearer to the
    modality that is read least. The turn is a fixed rotation behind the query's projection; training goes on from it.

    Source: Ni et al., ICML 2025, by its official code and a note that repeats its formulas; β and ρ of the paper are
    not known, the defaults are ours. For three and more modalities, our extension: the largest difference between two
    cosines takes the place of the imbalance.

    Departures from the official code: the rotation is applied after a resume and at inference, too; the imbalance need
    but reach β; means count each sample alike; a turn in the plane of both vectors (``rotation: svd`` is the code's).
    Probes read the mean of a modality's tokens. Several heads have a rotation each.

    Cost: as joint training; for each turn a forward pass over the training data (with ``air_source: train_pass`` one an
    epoch).

    State: the rotation, and how many turns there were."""

    name = "rollingq"
    title = "Rolling query"
    paper = "Ni, Wei, Liu, Chen, Peng, Lin, Hu: RollingQ, ICML 2025"
    stages = ("feed-forward",)
    helpers = ("rotations",)
    fusion: AttentionFusion
    rotations: Tensor

    @classmethod
    def check(cls, hyperparameters: RollingQHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.fusion != "attention":
            raise MethodError(f"rollingq turns the query of fusion attention, which {hyperparameters.fusion} has not")

    def build(self) -> None:
        super().build()
        self.register_buffer("rotations", torch.zeros((), dtype=torch.int64))
        self._batch, self._last_cosines = 0, torch.zeros(0)
        self._told: dict[str, float] = {}

    def usual_source(self) -> Source:
        return "aux"

    # Training ----------------------------------------------------------------------------------------------------

    def on_epoch_start(self, context: Context) -> None:
        self._batch, self._told = 0, {}

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give those of the probes."""
        return self.unimodal_logits(features) if self.source == "aux" else []

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the cross-entropy of the fused logits; probes add theirs."""
        logits = [outputs.logits, *outputs.unimodal_logits]
        return torch.stack([F.cross_entropy(each, batch.labels) for each in logits]).sum()

    @torch.no_grad()
    def modulate_gradients(self, outputs: Outputs, batch: Batch, context: Context) -> None:
        """Change no gradient; measure how near the query lies to each modality's keys."""
        query, keys = self.query_and_keys(outputs)
        cosines = self.cosines(query, keys)
        for modality, cosine in zip(self.modalities, cosines, strict=True):
            context.log(f"cosine_{modality}", cosine)
        self._batch += 1
        if self._batch == context.steps_in_epoch:
            self._last_cosines = context.mean(cosines)

    def query_and_keys(self, outputs: Outputs) -> tuple[Tensor, list[Tensor]]:
        """Give the class token's query and each modality's mean key, [B, D] each and in single precision at least."""
        query, keys, mask = (outputs.extra[name].detach() for name in ("query", "keys", "mask"))
        keys = keys.to(torch.promote_types(keys.dtype, torch.float32))
        parts = self.fusion.by_modality(keys * mask.unsqueeze(2), outputs.features)
        counts = self.fusion.by_modality(mask.unsqueeze(2), outputs.features)
        means = [part.sum(1) / count.sum(1).clamp_min(1) for part, count in zip(parts, counts, strict=True)]
        return query.to(keys.dtype), means

    def cosines(self, query: Tensor, keys: list[Tensor]) -> Tensor:
        """Compute c, [M], the mean over heads."""
        heads = self.fusion.num_heads
        by_head = [query.chunk(heads, 1), *(key.chunk(heads, 1) for key in keys)]
        found = [attention_cosines(q, [key.unsqueeze(1) for key in own]) for q, *own in zip(*by_head, strict=True)]
        return torch.stack(found).mean(0)

    # Turns -------------------------------------------------------------------------------------------------------

    def on_epoch_end(self, context: Context) -> None:
        hp = self.hyperparameters
        left = hp.max_rotations - int(self.rotations)
        measured = None
        cosines = self._last_cosines
        if hp.air_source == "train_pass":
            query, keys, cosines = measured = self.measured(context)
        low, high = cosines.aminmax()
        imbalance = float(high - low)
        self._told = {"attention_imbalance": imbalance, "rotations": float(self.rotations)}
        if left <= 0 or imbalance < hp.beta:
            return
        query, keys, _ = measured or self.measured(context)
        weights = anchor_weights(cosines, hp.sigma)
        self.turn(query, keys, weights, context)
        self._told |= {f"weight_{m}": float(w) for m, w in zip(self.modalities, weights, strict=True)}
        self._told["rotations"] = float(self.rotations)

    @torch.no_grad()
    def measured(self, context: Context) -> tuple[Tensor, list[Tensor], Tensor]:
        """Average over the training samples, in evaluation mode: the query [D], each modality's mean key [D], and the
        cosines [M]."""
        count, width = len(self.modalities), self.fusion.width
        sums = torch.zeros((1 + count) * width + count, dtype=torch.float64, device=context.device)
        with evaluating(self):
            for batch in filter(len, context.train_batches()):
                with context.autocast():
                    outputs = self.training_outputs(batch, context)
                query, keys = self.query_and_keys(outputs)
                vectors = torch.cat([query, *keys], 1).double().sum(0)
                sums += torch.cat([vectors, len(batch) * self.cosines(query, keys).double()])
        means = (context.sum(sums) / (context.train_size - len(context.held_out))).float()
        mean_query, *mean_keys = means[:-count].split(width)
        return mean_query, mean_keys, means[-count:]

    @torch.no_grad()
    def turn(self, query: Tensor, keys: list[Tensor], weights: Tensor, context: Context) -> None:
        """Put a rotation towards the anchor behind those that there are: in each head one of its own."""
        heads = self.fusion.num_heads
        by_head = zip(query.chunk(heads), *(key.chunk(heads) for key in keys), strict=True)
        turns = [
            rotation_matrix(q, anchor_query(q, list(own), weights), self.hyperparameters.rotation)
            for q, *own in by_head
        ]
        rotation = torch.block_diag(*turns) @ self.fusion.rotation
        self.fusion.rotation.copy_(context.broadcast(rotation))
        self.rotations += 1

    def diagnostics(self) -> dict[str, float]:
        """At the end of the epoch: the largest difference between two modalities' cosines (attention imbalance), how
        many turns there were, and where the query was turned the weight of each modality's keys. Logged, as means over
        the epoch's samples: the cosine of the query and each modality's mean key."""
        return dict(self._told)
