"""MMPareto: where the joint and the unimodal gradient of an encoder oppose each other, take what is good for both.

Wei, Hu, "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance", ICML 2024.
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch
from methods.base import Context, MethodError, Outputs
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Choice, Uniform, hyper
from models import unknown
from models.fusion import Source

# Equations -----------------------------------------------------------------------------------------------------


def min_norm_weight(g1: Tensor, g2: Tensor, edge: float = 1e-3) -> float:
    """Compute the weight α of g1 for which α g1 + (1 - α) g2 is shortest, by its closed form in inner products a, b, c.

    g1, g2: of one shape. b >= a (also where both are zero): 1 - edge; else b >= c: edge; else (c - b) / (a + c - 2b),
    which is not clamped."""
    return float(_min_norm(inner_products(g1, g2), edge))


def pareto_weights(g_multi: Tensor, g_uni: Tensor, edge: float = 1e-3) -> tuple[float, float]:
    """Compute the weights (α_m, α_u) of the joint and the unimodal gradient, tensors of one shape: halves where their
    cosine is above 0, else :func:`min_norm_weight` and the rest."""
    alpha_m, alpha_u = _pareto(inner_products(g_multi, g_uni), edge)
    return float(alpha_m), float(alpha_u)


def integrate(
    g_multi: Tensor, g_uni: Tensor, alpha_m: Any, alpha_u: Any, gamma: float = 1.5, eps: float = 1e-6
) -> Tensor:
    """Compute γ h of the shape given: h = 2 α_m g_multi + 2 α_u g_uni, lengthened to |g_multi + g_uni| where it is
    shorter.

    alpha_m, alpha_u: floats or 0-d tensors. Zeros where the gradients cancel out: |h| <= eps (|g_multi| + |g_uni|)."""
    return _combined(g_multi, g_uni, *_factors(inner_products(g_multi, g_uni), alpha_m, alpha_u, gamma, eps))


def mmpareto_gradient(
    g_multi: list[Tensor], g_uni: list[Tensor], gamma: float = 1.5, scope: str = "encoder", edge: float = 1e-3
) -> list[Tensor]:
    """Compute the gradient of one encoder, tensor by tensor, from its joint and its unimodal one in the same order.

    The weights are those of the whole encoder. scope: length restored over the encoder, or in each tensor by itself
    (tensor). Nothing is read off the device. Raises ValueError for another scope."""
    products = _products_by_tensor(g_multi, g_uni)
    return _integrated(g_multi, g_uni, products, _pareto(products.sum(0), edge), gamma, scope)


def inner_products(g_multi: Tensor, g_uni: Tensor) -> Tensor:
    """Compute a = <g_m, g_m>, b = <g_m, g_u> and c = <g_u, g_u> of two tensors of one shape: float64 [3]."""
    found = []
    # In parts that a CPU's cache holds in double precision: five times as fast as whole tensors.
    for parts in zip(g_multi.flatten().split(2**18), g_uni.flatten().split(2**18), strict=True):
        x, y = (part.double() for part in parts)
        found.append(torch.stack([x @ x, x @ y, y @ y]))
    return torch.stack(found).sum(0)


def _products_by_tensor(g_multi: list[Tensor], g_uni: list[Tensor]) -> Tensor:
    return torch.stack([inner_products(m, u) for m, u in zip(g_multi, g_uni, strict=True)])


def _min_norm(products: Tensor, edge: float) -> Tensor:
    a, b, c = products
    return torch.where(b >= a, 1 - edge, torch.where(b >= c, edge, (c - b) / (a + c - 2 * b)))


def _pareto(products: Tensor, edge: float) -> tuple[Tensor, Tensor]:
    # The sign of the cosine is that of the inner product, whatever the lengths.
    alpha = torch.where(products[1] > 0, 0.5, _min_norm(products, edge))
    return alpha, 1 - alpha


def _factors(products: Tensor, alpha_m: Any, alpha_u: Any, gamma: float, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    """Give what the two gradients are multiplied by, 0-d each: all lengths follow from the inner products."""
    a, b, c = products
    squared_length = 4 * (alpha_m**2 * a + 2 * alpha_m * alpha_u * b + alpha_u**2 * c)
    longer = ((a + 2 * b + c) / squared_length).clamp_min(1).sqrt()
    cancels = squared_length.clamp_min(0).sqrt() <= eps * (a.sqrt() + c.sqrt())
    factor = torch.where(cancels, 0.0, gamma * longer)
    return 2 * factor * alpha_m, 2 * factor * alpha_u


def _combined(g_multi: Tensor, g_uni: Tensor, factor_m: Tensor, factor_u: Tensor) -> Tensor:
    return torch.addcmul(factor_m.to(g_multi.dtype) * g_multi, g_uni, factor_u.to(g_uni.dtype))


def _integrated(
    g_multi: list[Tensor],
    g_uni: list[Tensor],
    products: Tensor,
    weights: tuple[Tensor, Tensor],
    gamma: float,
    scope: str,
) -> list[Tensor]:
    if scope not in ("encoder", "tensor"):
        raise unknown("scope", scope, ("encoder", "tensor"))
    if scope == "encoder":
        factors = [_factors(products.sum(0), *weights, gamma)] * len(g_multi)
    else:
        factors = [_factors(row, *weights, gamma) for row in products]
    return [_combined(m, u, *each) for m, u, each in zip(g_multi, g_uni, factors, strict=True)]


# Method --------------------------------------------------------------------------------------------------------


class MMParetoHyperparameters(FusionHyperparameters):
    gamma: float = hyper(1.5, symbol="γ", above=0.0, search=Uniform(1.0, 3.0))
    """factor of the encoders' gradients, whether they agree or not"""
    edge: float = hyper(0.001, low=0.0, high=0.5)
    """share of the longer gradient where the shortest combination is the other one alone"""
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(None)
    """where unimodal logits come from (null: a linear head on each modality's feature)"""

    # Only to train as the official code does.
    scope: Literal["encoder", "tensor"] = hyper("encoder", search=Choice(("encoder", "tensor")))
    """whose length is restored: that of an encoder's whole gradient, or of each tensor by itself (official code)"""


class MMPareto(FusedMethod[MMParetoHyperparameters]):
    """Every modality has a loss of its own beside the joint one. Where the two gradients of an encoder agree, they are
    added. Where they oppose each other, their shortest convex combination is taken, which opposes neither; it favours
    the smaller gradient, so its length is restored to that of the sum. Encoders learn ``gamma`` times as much; heads
    get the plain gradient of all losses.

    Source: Wei, Hu, ICML 2024; the closed form of the shortest combination is that of the official code.

    Departures from the official code: length is restored over an encoder, as in the paper (``scope: tensor``: in each
    tensor); gradients that cancel out give zero, where the code divides by zero; parameters that no encoder owns are
    told by the network and not by their names.

    Cost: one forward and two backwards a step, one of the joint loss and one of all unimodal losses together; the
    gradients are held twice.

    State: none."""

    name = "mmpareto"
    title = "Pareto integration of joint and unimodal gradients"
    paper = "Wei, Hu: MMPareto, ICML 2024"
    stages = ("objective", "optimization")
    capturable = True

    @classmethod
    def check(cls, hyperparameters: MMParetoHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.aux_detach:
            raise MethodError("mmpareto: with aux_detach: true no unimodal loss reaches an encoder; set it to false")

    def usual_source(self) -> Source:
        return "aux"

    def losses(self, outputs: Outputs, batch: Batch) -> tuple[Tensor, Tensor]:
        """Compute the joint loss and the sum of the unimodal ones, of which each encoder feels its own."""
        own = [F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]
        return F.cross_entropy(outputs.logits, batch.labels), torch.stack(own).sum()

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        return torch.stack(self.losses(outputs, batch)).sum()

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        context.zero_grad()
        with context.autocast():
            joint, own = self.losses(self.training_outputs(batch, context), batch)
        parameters = [p for p in self.parameters() if p.requires_grad]
        pairs = zip(*context.gradients([joint, own], parameters), strict=True)
        heads = dict(zip(parameters, pairs, strict=True))
        for modality, encoder in self.encoders.items():
            held = [p for p in encoder.parameters() if p in heads]
            multi, uni = [heads[p][0] for p in held], [heads[p][1] for p in held]
            for parameter, gradient in zip(held, self.integrated(modality, multi, uni, context), strict=True):
                parameter.grad = gradient
                del heads[parameter]
        for parameter, (of_joint, of_own) in heads.items():
            parameter.grad = of_joint + of_own
        context.optimizer_step()
        return (joint + own).detach()

    def integrated(self, modality: str, multi: list[Tensor], uni: list[Tensor], context: Context) -> list[Tensor]:
        """Give the gradient of an encoder, and log how its two gradients lie to each other."""
        if not multi:
            return []
        hp = self.hyperparameters
        products = _products_by_tensor(multi, uni)
        a, b, c = whole = products.sum(0)
        weights = _pareto(whole, hp.edge)
        context.log(f"cosine_{modality}", b / (a * c).sqrt().clamp_min(1e-8))
        context.log(f"conflict_{modality}", (b <= 0).float())
        context.log(f"joint_weight_{modality}", weights[0])
        return _integrated(multi, uni, products, weights, hp.gamma, hp.scope)

    def diagnostics(self) -> dict[str, float]:
        """Means over the epoch's steps, for each encoder: cosine of its joint and its unimodal gradient,
        share of steps in which it is not above 0 (conflict), weight α_m of the joint gradient."""
        return {}
