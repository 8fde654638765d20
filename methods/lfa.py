"""LFA: fit the labels and align the modalities, with a weight between the two that falls during training.

Yang, Wan, Jiang, Xu, "Facilitating Multimodal Classification via Dynamically Learning Modality Gap", NeurIPS 2024
(the official code calls it LFM)."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, Literal

import torch
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from data.base import Batch
from methods.base import MULTI, Context, MethodError, Outputs, evaluating
from methods.fused import FusedMethod, FusionHyperparameters, build_fusion, check_fusion
from methods.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper, in_epochs
from models import linear

STRATEGIES = ("constant", "stepwise", "heuristic", "cubic", "exp_decay", "fitted")
# Learned courses, by rising powers of the epoch: Kinetics-Sounds, 30 epochs (section 4.4); CREMA-D, 200 epochs counted
# from 0 (official code).
CUBIC = (1.0, 3.2e-2, -6.5e-3, 1.5e-4)
FITTED = (0.795376296, -3.35472727e-3, -1.22989557e-4, 2.92947416e-6, -2.23835486e-8, 5.39717505e-11)

# Equations -----------------------------------------------------------------------------------------------------


def contrastive_loss(feats: list[Tensor], tau: float) -> Tensor:
    """L_MM: InfoNCE in both directions on cosine similarities over the temperature τ, features [B, D] each -> 0-d.

    The positives are the modalities of one sample, the negatives the other samples of the batch; mean over all pairs
    of modalities. 0 for one sample, log B where all similarities are equal (a zero row has similarity 0 with all).
    Raises ValueError for tau <= 0 or fewer than two modalities."""
    if tau <= 0:
        raise ValueError(f"tau must be positive, got {tau}")
    pairs = _pairs(feats)
    target = torch.arange(len(feats[0]), device=feats[0].device)
    with torch.autocast(feats[0].device.type, enabled=False):
        # Not by F.normalize: its second derivative is NaN for a zero row.
        rows = [f.to(torch.promote_types(f.dtype, torch.float32)) for f in feats]
        units = [f / f.square().sum(-1, keepdim=True).clamp_min(1e-24).sqrt() for f in rows]
        losses = []
        for a, v in pairs:
            similarity = units[a] @ units[v].T / tau
            losses.append((F.cross_entropy(similarity, target) + F.cross_entropy(similarity.T, target)) / 2)
    return torch.stack(losses).mean()


def js_alignment(logits: list[Tensor]) -> Tensor:
    """The official code's alignment, logits [B, K] each -> 0-d: with p, q the two softmax outputs and m their mean,
    (KL(m || p) + KL(m || q)) / 2, mean over samples and pairs. 0 where the predictions are equal. Raises ValueError
    for fewer than two modalities."""
    log_p = [each.log_softmax(-1) for each in logits]
    losses = []
    for a, v in _pairs(logits):
        log_m = torch.logaddexp(log_p[a], log_p[v]) - math.log(2)
        # log m - (log p + log q) / 2 as log cosh of half their difference: exactly 0 where p = q.
        half = (log_p[a] - log_p[v]) / 2
        losses.append((log_m.exp() * (torch.logaddexp(half, -half) - math.log(2))).sum(-1).mean())
    return torch.stack(losses).mean()


def _pairs(modalities: list[Tensor]) -> list[tuple[int, int]]:
    if len(modalities) < 2:
        raise ValueError(f"alignment needs at least two modalities, got {len(modalities)}")
    return list(combinations(range(len(modalities)), 2))


def alpha_schedule(strategy: str, t: int, total: int | None = None, value: float | None = None) -> float:
    """Weight α of L_MM on a fixed course, at epoch t = 1, 2, ... of ``total``.

    constant: ``value``. stepwise: ``value`` in the first half of ``total``, then 1 - ``value``. exp_decay:
    exp(-value (t - 1)) clipped to [0.05, 0.95]. fitted: the code's polynomial at t - 1, stretched from 200 epochs to
    ``total`` if given. These hold in epoch t; the next two in epoch t + 1, as Algorithm 1 updates α at an epoch's end.
    heuristic: ω(t) = 1 - exp(-1/t). cubic: the paper's polynomial clipped to [0, 1], stretched from 30 epochs to
    ``total`` if given. Arguments that a strategy does not use are ignored. Raises ValueError for t < 1, an unknown
    strategy (or learned, which has no fixed course), or a missing value or total."""
    if strategy not in STRATEGIES:
        raise ValueError(f"no fixed course of alpha called {strategy!r}; there are: {', '.join(STRATEGIES)}")
    if t < 1:
        raise ValueError(f"epochs count from 1, got {t}")
    if strategy == "heuristic":
        return -math.expm1(-1 / t)
    if strategy == "cubic":
        return _clip(_polynomial(CUBIC, t if total is None else t * 30 / total))
    if strategy == "fitted":
        return _polynomial(FITTED, t - 1 if total is None else (t - 1) * 200 / total)
    if value is None:
        raise ValueError(f"strategy {strategy} needs a value of alpha")
    if strategy == "exp_decay":
        return _clip(math.exp(-value * (t - 1)), 0.05, 0.95)
    if strategy == "constant":
        return value
    if total is None:
        raise ValueError("strategy stepwise needs the total number of epochs")
    return value if t <= total // 2 else 1 - value


def _polynomial(coefficients: tuple[float, ...], x: float) -> float:
    return sum(c * x**power for power, c in enumerate(coefficients))


def _clip(value: float, low: float = 0.0, high: float = 1.0) -> float:
    return min(max(value, low), high)


def inverse_hvp(
    hess: Tensor | Callable[[Tensor], Tensor],
    vec: Tensor,
    method: str = "neumann",
    steps: int = 3,
    eta: float = 0.01,
    tol: float = 1e-10,
) -> Tensor:
    """About H^-1 ``vec`` [P], from products of H with vectors alone; ``hess``: H [P, P], or the product as a function.

    neumann: η sum over k = 0..``steps`` of (I - ηH)^k vec, which converges for η < 2 / λ_max (Ghadimi and Wang 2018,
    stocBiO). cg: at most ``steps`` conjugate gradients from 0, ended by a residual norm below ``tol`` or by a direction
    p with p·Hp <= 0; a copy of vec where no step was made. identity: a copy of vec. Raises ValueError for another
    method."""
    product = hess.mv if isinstance(hess, Tensor) else hess
    if method == "neumann":
        term = total = vec
        for _ in range(steps):
            term = term - eta * product(term)
            total = total + term
        return eta * total
    if method == "cg":
        return _conjugate_gradient(product, vec, steps, tol)
    if method == "identity":
        return vec.clone()
    raise ValueError(f"unknown inverse {method!r}; there are: neumann, cg, identity")


def _conjugate_gradient(product: Callable[[Tensor], Tensor], vec: Tensor, steps: int, tol: float) -> Tensor:
    solution, residual, direction, moved = torch.zeros_like(vec), vec, vec, False
    square = residual @ residual
    for _ in range(steps):
        image = product(direction)
        curvature = direction @ image
        if square.sqrt() < tol or curvature <= 0:
            break
        step = square / curvature
        solution, residual, moved = solution + step * direction, residual - step * image, True
        previous, square = square, residual @ residual
        direction = residual + square / previous * direction
    return solution if moved else vec.clone()


def alpha_hypergradient(grad_cls: Tensor, grad_mm: Tensor, ihvp: Tensor) -> float:
    """h = -(g_MM - g_CLS)·v, how the outer L_CLS changes with α (eq. 3; L_Total is linear in α): the gradients of L_CLS
    and L_MM [P] on the inner batch, v = H^-1 g_out [P] of the outer one."""
    return float((grad_cls - grad_mm) @ ihvp)


def update_alpha(alpha: float, hypergrad: float, lr_alpha: float, low: float = 0.0, high: float = 1.0) -> float:
    """α - η_α h, clipped to [low, high]; a hypergradient that is not finite moves nothing."""
    return _clip(alpha - lr_alpha * hypergrad if math.isfinite(hypergrad) else alpha, low, high)


# Method --------------------------------------------------------------------------------------------------------

_VALUES = {"learned": 1.0, "constant": 0.5, "stepwise": 0.95, "exp_decay": 0.3}


class LFAHyperparameters(FusionHyperparameters):
    strategy: Literal["learned", "heuristic", "constant", "stepwise", "cubic", "exp_decay", "fitted"] = hyper(
        "learned", search=Choice(("heuristic", "learned", "constant", "stepwise")),
        meaning="course of the weight of the alignment loss: learned (LFA-LB), 1 - exp(-1/t) (LFA-H), or another curve",
    )  # fmt: skip
    alpha: float | None = hyper(
        None, symbol="α", low=0.0, high=1.0, search=Uniform(0.05, 0.95),
        meaning="weight of the alignment loss: of constant; first of stepwise (then 1 - α) and of learned; rate of "
        "exp_decay; null: 0.5, 0.95, 1, 0.3; the other strategies do not use it",
    )  # fmt: skip
    tau: float = hyper(
        0.07, symbol="τ", above=0.0, search=LogUniform(0.02, 1.0), only_if=("alignment", "contrastive"),
        meaning="temperature of the contrastive loss",
    )  # fmt: skip
    lr_alpha: float = hyper(
        0.1, symbol="η_α", low=0.0, search=LogUniform(1e-3, 1.0), only_if=("strategy", "learned"),
        meaning="learning rate of the weight",
    )  # fmt: skip
    lr_alpha_halve_every: float = hyper(
        0.0, low=0.0, search=Choice((0, 10, 20, 50)), only_if=("strategy", "learned"), epochs=True,
        meaning="epochs after each of which that learning rate is halved; 0: never",
    )  # fmt: skip
    alpha_min: float = hyper(0.0, low=0.0, high=1.0, only_if=("strategy", "learned"), meaning="smallest learned weight")
    alpha_max: float = hyper(1.0, low=0.0, high=1.0, only_if=("strategy", "learned"), meaning="largest learned weight")
    inverse: Literal["neumann", "identity", "cg"] = hyper(
        "neumann", search=Choice(("neumann", "identity")), only_if=("strategy", "learned"),
        meaning="inverse Hessian of the hypergradient: truncated Neumann series, none, or conjugate gradients",
    )  # fmt: skip
    neumann_steps: int = hyper(
        3, symbol="Q", low=0, search=Integer(0, 10), only_if=("strategy", "learned"),
        meaning="Hessian-vector products a hypergradient (neumann and cg)",
    )  # fmt: skip
    neumann_eta: float = hyper(
        0.01, symbol="η", above=0.0, search=LogUniform(1e-4, 0.05), only_if=("inverse", "neumann"),
        meaning="step of the Neumann series; it diverges from 2 / (largest curvature) on",
    )  # fmt: skip
    hyper_batch: Literal["train", "holdout"] = hyper(
        "train", only_if=("strategy", "learned"),
        meaning="outer loss on the training batch of the inner one, or on samples kept out of training",
    )  # fmt: skip
    hyper_batch_size: int = hyper(
        16, low=1, search=Integer(8, 64, log=True), only_if=("strategy", "learned"), meaning="samples a hypergradient"
    )
    alignment: Literal["contrastive", "js"] = hyper(
        "contrastive", meaning="what is aligned: features (InfoNCE), or predictions of fusion late (official code)"
    )
    loss_scale: float = hyper(1.0, above=0.0, meaning="factor of the whole loss (official code: 2)")
    proj_dim: int | None = hyper(
        None, low=1, only_if=("alignment", "contrastive"),
        meaning="width to which features are mapped for the contrastive loss; null: 256 if widths differ, else none",
    )  # fmt: skip
    unimodal_source: Literal["native", "zero", "aux"] | None = hyper(
        None, meaning="where unimodal logits come from (null: own heads of sum and late, else the fused head with the "
        "other modalities zeroed)",
    )  # fmt: skip

    @field_validator("lr_alpha_halve_every")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        in_epochs(value, 1)
        return value


class LFA(FusedMethod):
    """Modalities differ in how hard the labels are to fit from them, and cross-entropy alone widens that gap. So the
    loss also aligns the features of a sample's modalities: it is (1 - α) L_CLS + α L_MM, where α starts high and falls,
    along a fixed curve in LFA-H (``strategy: heuristic``) or learned by bilevel optimisation in LFA-LB (``learned``).

    Source: Yang, Wan, Jiang, Xu, NeurIPS 2024: total loss (eq. 1), bilevel problem (2), hypergradient (3), Algorithm 1;
    its inverse Hessian is a truncated Neumann series, as in stocBiO. The other courses of α: section 4.4, and the code.

    Departures from the official code: features are aligned by InfoNCE on cosines (``alignment: js`` is the code's term
    on the predictions of ``fusion: late``); the hypergradient is the paper's (the code takes the mean of one tensor of
    a Hessian-vector product, with neither inverse nor sign); α starts at 1, lies in [0, 1] and moves after an epoch's
    batches (the code: 0.95, [0.05, 0.95], before them); its outer loss is that of the training batch (``hyper_batch:
    holdout`` is near the code's); ``strategy: fitted`` is the course that the code's command replays, and
    ``loss_scale: 2`` its factor. Three modalities are aligned by the mean over pairs. The paper states neither τ nor
    the learning rate of α: tune ``lr_alpha`` to the number of epochs, so that α falls to about 0.1.

    Cost: one forward and one backward a step, and similarities of all samples of the joint batch for each pair of
    modalities. ``learned`` adds one forward, three gradients and ``neumann_steps`` Hessian-vector products on
    ``hyper_batch_size`` samples once an epoch (``inverse: identity`` has no such products).

    At α = 1 the classifier has no gradient at all (``grad`` is None), so momentum and weight decay rest there too; at
    α = 0 this is naive joint training.

    State: the present α and its learning rate."""

    name = "lfa"
    title = "Label fitting and alignment (LFM)"
    paper = "Yang, Wan, Jiang, Xu: Dynamically Learning Modality Gap, NeurIPS 2024"
    stages = ("objective",)
    Hyperparameters = LFAHyperparameters
    hyperparameters: LFAHyperparameters

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: LFAHyperparameters, epochs: int
    ) -> None:
        super().__init__(encoders, num_classes, hyperparameters, epochs)
        hp = hyperparameters
        branches = list(self.encoders.values())
        self.fusion = build_fusion(hp, self.modalities, self.dims, num_classes, encoders=branches)
        self.source = hp.unimodal_source or ("native" if hp.fusion in ("sum", "late") else "zero")
        width = hp.proj_dim or (256 if len(set(self.dims)) > 1 else None)
        mapped = self.dims if width and hp.alignment == "contrastive" else []
        self.projections = nn.ModuleList(linear(d, width or d) for d in mapped)
        self.value = _VALUES.get(hp.strategy, 0.0) if hp.alpha is None else hp.alpha
        learned = hp.strategy == "learned"
        self.alpha = _clip(self.value, hp.alpha_min, hp.alpha_max) if learned else self.scheduled_alpha(1)
        self.lr_alpha = hp.lr_alpha
        self.halve_every = in_epochs(hp.lr_alpha_halve_every, epochs)
        self._sums = torch.zeros(3)
        self._diagnostics: dict[str, float] = {}

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities, side_by_side=True)
        hp = hyperparameters
        if hp.fusion == "late" and hp.late_train != "joint":
            raise MethodError("lfa: fusion late needs late_train: joint; separate heads have a loss of their own")
        if hp.unimodal_source == "aux" or hp.aux_detach:
            raise MethodError("lfa trains no auxiliary heads: use unimodal_source native or zero, aux_detach: false")
        if hp.alignment == "js" and hp.fusion != "late":
            raise MethodError(f"lfa: alignment js needs fusion late (one head a modality), not {hp.fusion}")
        low, high = hp.alpha_min, hp.alpha_max
        start = low if hp.alpha is None or hp.strategy != "learned" else hp.alpha
        if not low <= start <= high:
            raise MethodError(
                f"lfa: a learned alpha needs alpha_min <= alpha <= alpha_max, got {low}, {hp.alpha}, {high}"
            )

    def get_extra_state(self) -> dict[str, float]:
        return {"alpha": self.alpha, "lr_alpha": self.lr_alpha}

    def set_extra_state(self, state: Any) -> None:
        self.alpha, self.lr_alpha = state["alpha"], state["lr_alpha"]

    # The weight ------------------------------------------------------------------------------------------------

    def scheduled_alpha(self, epoch: int) -> float:
        """α of an epoch (from 1) on a fixed course; the fitted polynomial falls below 0 in one place."""
        strategy = self.hyperparameters.strategy
        if strategy not in ("heuristic", "cubic"):
            return _clip(alpha_schedule(strategy, epoch, self.epochs, self.value))
        return alpha_schedule(strategy, epoch - 1, self.epochs) if epoch > 1 else 1.0

    def on_epoch_start(self, context: Context) -> None:
        self._sums = torch.zeros(3, device=context.device)
        if self.hyperparameters.strategy != "learned":
            self.alpha = self.scheduled_alpha(context.epoch)

    def on_epoch_end(self, context: Context) -> None:
        """The learned step of α, after the epoch's batches (Algorithm 1)."""
        hp = self.hyperparameters
        cls_loss, alignment, samples = context.sum(self._sums).tolist()
        self._diagnostics = {"alpha": self.alpha, "classification_loss": cls_loss / samples}
        if self.alpha > 0:
            self._diagnostics["alignment_loss"] = alignment / samples
        if hp.strategy != "learned":
            return
        hypergradient = self.hypergradient(context)
        if math.isfinite(hypergradient):
            self._diagnostics["hypergradient"] = hypergradient
        else:
            context.warn("lfa: a hypergradient is not finite, alpha stays; try a smaller neumann_eta")
        self.alpha = update_alpha(self.alpha, hypergradient, self.lr_alpha, hp.alpha_min, hp.alpha_max)
        if self.halve_every and context.epoch % self.halve_every == 0:
            self.lr_alpha /= 2

    def hypergradient(self, context: Context) -> float:
        """h of eq. 3 at the present parameters, for loss_scale 1, alike on all workers: each computes it alone on the
        same samples, in evaluation mode and full precision. ``grad``, buffers and optimizer stay untouched."""
        # Neither fused attention nor cuDNN's recurrent layers can be differentiated twice.
        with evaluating(self), sdpa_kernel(SDPBackend.MATH), torch.backends.cudnn.flags(enabled=False):
            return self._hypergradient(context)

    def _hypergradient(self, context: Context) -> float:
        hp = self.hyperparameters
        second_order = hp.inverse != "identity"
        parameters = [p for p in self.parameters() if p.requires_grad]

        def gradient(loss: Tensor, weight: Tensor | None = None, graph: bool = False) -> Tensor:
            parts = torch.autograd.grad(
                loss, parameters, weight, retain_graph=True, create_graph=graph, materialize_grads=True
            )
            return torch.cat([part.reshape(-1) for part in parts])

        held_out, kept = self._holdout(context)
        drawn = torch.randperm(len(kept), generator=context.generator("lfa hyper-batch", context.epoch))
        inner = self._samples(kept[drawn[: hp.hyper_batch_size]], context)
        outputs = self(inner)
        cls_loss = F.cross_entropy(outputs.logits, inner.labels)
        grad_cls = gradient(cls_loss, graph=second_order)
        grad_mm = gradient(self.align(outputs.features), graph=second_order)
        grad_out = grad_cls.detach()
        if len(held_out):
            outer = self._samples(held_out, context)
            grad_out = gradient(F.cross_entropy(self(outer).logits, outer.labels))
        total = (1 - self.alpha) * grad_cls + self.alpha * grad_mm
        ihvp = inverse_hvp(lambda v: gradient(total, v), grad_out, hp.inverse, hp.neumann_steps, hp.neumann_eta)
        bound = hp.neumann_eta * (hp.neumann_steps + 1) * grad_out.norm()
        if hp.inverse == "neumann" and ihvp.norm() > 1.001 * bound:
            context.warn(
                "lfa: the Neumann series grows (negative curvature, or neumann_eta above 2 / largest curvature): the "
                "hypergradient is unreliable; try a smaller neumann_eta"
            )
        return alpha_hypergradient(grad_cls.detach(), grad_mm.detach(), ihvp)

    def _samples(self, index: Tensor, context: Context) -> Batch:
        return next(context.train_batches(len(index), index=index, shard=False))

    def _holdout(self, context: Context) -> tuple[Tensor, Tensor]:
        """Training samples that are kept out for the outer loss (none unless asked for), and the others; fixed by the
        run's seed. Raises MethodError where no others are left."""
        hp = self.hyperparameters
        asked = hp.strategy == "learned" and hp.hyper_batch == "holdout"
        size = hp.hyper_batch_size if asked else 0
        if size >= context.train_size:
            raise MethodError(f"lfa: hyper_batch_size {size} keeps all {context.train_size} training samples out")
        order = torch.randperm(context.train_size, generator=context.generator("lfa holdout"))
        return order[:size], order[size:]

    # The four stages -------------------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor:
        """Shuffled, without the samples kept out."""
        order, (held_out, _) = super().sampler(context), self._holdout(context)
        return order[~torch.isin(order, held_out)]

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        return Outputs(features, self.fusion.fuse(features).logits)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = self.fusion.unimodal_logits(features, self.source)
        return {MULTI: self.fusion.fuse(features).logits, **dict(zip(self.modalities, unimodal, strict=True))}

    def align(self, features: list[Tensor], gather: Callable[[Tensor], Tensor] = lambda rows: rows) -> Tensor:
        """The alignment loss (0-d) of encoder features [b, d_m]; ``gather`` brings in the other workers' negatives."""
        if self.hyperparameters.alignment == "js":
            return js_alignment(self.fusion.unimodal_logits(features, "native"))
        if self.projections:
            features = [p(f) for p, f in zip(self.projections, features, strict=True)]
        return contrastive_loss([gather(f) for f in features], self.hyperparameters.tau)

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        cls_loss = F.cross_entropy(outputs.logits, batch.labels)
        # A term of weight 0 is left out: a gradient of 0 would still let weight decay and momentum move parameters.
        alignment = self.align(outputs.features, context.gather) if self.alpha > 0 else torch.zeros_like(cls_loss)
        self._sums += torch.stack([cls_loss.detach(), alignment.detach(), torch.ones_like(cls_loss)]) * len(batch)
        terms = [weight * loss for weight, loss in ((1 - self.alpha, cls_loss), (self.alpha, alignment)) if weight > 0]
        return self.hyperparameters.loss_scale * torch.stack(terms).sum()

    def diagnostics(self) -> dict[str, float]:
        """Of the last epoch: the α it was trained with, mean L_CLS and (where α > 0) L_MM over its batches, and the
        hypergradient at its end."""
        return dict(self._diagnostics)
