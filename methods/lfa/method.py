"""The method LFA."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from data.base import Batch
from methods.base import Context, MethodError, Outputs, evaluating
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import check_fused_loss_alone
from methods.base.hyperparameters import in_epochs
from methods.lfa.equations import (
    alpha_hypergradient,
    alpha_schedule,
    clipped,
    contrastive_loss,
    inverse_hvp,
    js_alignment,
    update_alpha,
)
from methods.lfa.hyperparameters import LFAHyperparameters
from models import linear
from models.fusion import Source

_VALUES = {"learned": 1.0, "constant": 0.5, "stepwise": 0.95, "exp_decay": 0.3}
# Of α over a run, by hypergradients of mean size; late ones are smaller: 0.77 to 1 on the digits in 10, 30, 100 epochs.
_FALL = 1.2


class LFA(FusedMethod[LFAHyperparameters]):
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
    the learning rate of α: by default its moves are relative to the hypergradients so far and to the number of epochs,
    so that α falls to about 0.1 in any budget, as in the paper's Figure 3; a given ``lr_alpha`` is taken as it is.

    Cost: one forward and one backward a step, and similarities of all samples of the joint batch for each pair of
    modalities. ``learned`` adds one forward, three gradients and ``neumann_steps`` Hessian-vector products on
    ``hyper_batch_size`` samples once an epoch (``inverse: identity`` has no such products).

    At α = 1 the classifier has no gradient at all (``grad`` is None), so momentum and weight decay rest there too; at
    α = 0 this is naive joint training.

    State: the present α, its learning rate, and the sizes of the hypergradients that scale it."""

    name = "lfa"
    title = "Label fitting and alignment (LFM)"
    paper = "Yang, Wan, Jiang, Xu: Dynamically Learning Modality Gap, NeurIPS 2024"
    stages = ("objective",)
    capturable = True
    computes_with_features = True

    def build(self) -> None:
        super().build()
        hp = self.hyperparameters
        width = hp.proj_dim or (256 if len(set(self.dims)) > 1 else None)
        mapped = self.dims if width and hp.alignment == "contrastive" else []
        self.projections = nn.ModuleList(linear(d, width or d) for d in mapped)
        self.value = _VALUES.get(hp.strategy, 0.0) if hp.alpha is None else hp.alpha
        learned = hp.strategy == "learned"
        self.alpha = clipped(self.value, hp.alpha_min, hp.alpha_max) if learned else self.scheduled_alpha(1)
        self.lr_alpha = _FALL / self.epochs if hp.lr_alpha is None else hp.lr_alpha
        self.sizes: list[float] = []
        self.halve_every = in_epochs(hp.lr_alpha_halve_every, self.epochs)
        self._diagnostics: dict[str, float] = {}

    # The loss ----------------------------------------------------------------------------------------------------

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        return []

    def usual_source(self) -> Source:
        return "native" if self.hyperparameters.fusion in ("sum", "late") else "zero"

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        cls_loss = F.cross_entropy(outputs.logits, batch.labels)
        # A term of weight 0 is left out: a gradient of 0 would still let weight decay and momentum move parameters.
        alignment = self.align(outputs.features, context.gather) if self.alpha > 0 else torch.zeros_like(cls_loss)
        context.log("classification_loss", cls_loss)
        if self.alpha > 0:
            context.log("alignment_loss", alignment)
        terms = [weight * loss for weight, loss in ((1 - self.alpha, cls_loss), (self.alpha, alignment)) if weight > 0]
        return self.hyperparameters.loss_scale * torch.stack(terms).sum()

    def align(self, features: list[Tensor], gather: Callable[[Tensor], Tensor] = lambda rows: rows) -> Tensor:
        """Compute the alignment loss (0-d) of features [b, d_m]; ``gather`` brings in the other workers' negatives."""
        if self.hyperparameters.alignment == "js":
            return js_alignment(self.fusion.unimodal_logits(features, "native"))
        if self.projections:
            features = [p(f) for p, f in zip(self.projections, features, strict=True)]
        return contrastive_loss([gather(f) for f in features], self.hyperparameters.tau)

    # Its weight --------------------------------------------------------------------------------------------------

    def scheduled_alpha(self, epoch: int) -> float:
        """Give α of an epoch (from 1) on a fixed course; the fitted polynomial falls below 0 in one place."""
        strategy = self.hyperparameters.strategy
        if strategy not in ("heuristic", "cubic"):
            return clipped(alpha_schedule(strategy, epoch, self.epochs, self.value))
        return alpha_schedule(strategy, epoch - 1, self.epochs) if epoch > 1 else 1.0

    def on_epoch_start(self, context: Context) -> None:
        if self.hyperparameters.strategy != "learned":
            self.alpha = self.scheduled_alpha(context.epoch)

    def on_epoch_end(self, context: Context) -> None:
        """Move a learned α, after the epoch's batches (Algorithm 1)."""
        hp = self.hyperparameters
        self._diagnostics = {"alpha": self.alpha}
        if hp.strategy != "learned":
            return
        hypergradient = self.hypergradient(context)
        if math.isfinite(hypergradient):
            self._diagnostics["hypergradient"] = hypergradient
        else:
            context.warn("lfa: a hypergradient is not finite, alpha stays; try a smaller neumann_eta")
        self.alpha = update_alpha(self.alpha, self.scaled(hypergradient), self.lr_alpha, hp.alpha_min, hp.alpha_max)
        if self.halve_every and context.epoch % self.halve_every == 0:
            self.lr_alpha /= 2

    def scaled(self, hypergradient: float) -> float:
        """Divide a hypergradient by the mean size of all so far, unless a learning rate is given for it as it is."""
        if self.hyperparameters.lr_alpha is not None or hypergradient == 0 or not math.isfinite(hypergradient):
            return hypergradient
        self.sizes.append(abs(hypergradient))
        return hypergradient * len(self.sizes) / sum(self.sizes)

    def hypergradient(self, context: Context) -> float:
        """Compute h of eq. 3 at the present parameters, for loss_scale 1.

        Every worker does so alone on the same samples, in evaluation mode and full precision, so it is alike on all.
        ``grad``, buffers and optimizer stay untouched."""
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
        outputs = self.training_outputs(inner, context)
        cls_loss = F.cross_entropy(outputs.logits, inner.labels)
        grad_cls = gradient(cls_loss, graph=second_order)
        grad_mm = gradient(self.align(outputs.features), graph=second_order)
        grad_out = grad_cls.detach()
        if len(held_out):
            outer = self._samples(held_out, context)
            grad_out = gradient(F.cross_entropy(self.training_outputs(outer, context).logits, outer.labels))
        total = (1 - self.alpha) * grad_cls + self.alpha * grad_mm
        ihvp = inverse_hvp(lambda v: gradient(total, v), grad_out, hp.inverse, hp.neumann_steps, hp.neumann_eta)
        bound = hp.neumann_eta * (hp.neumann_steps + 1) * grad_out.norm()
        if hp.inverse == "neumann" and ihvp.norm() > 1.001 * bound:
            context.warn(
                "lfa: the Neumann series grows (negative curvature, or neumann_eta above 2 / largest curvature): the "
                "hypergradient is unreliable; try a smaller neumann_eta"
            )
        return alpha_hypergradient(grad_cls.detach(), grad_mm.detach(), ihvp)

    # Samples of the hypergradient --------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor:
        """Shuffle the samples, but for those kept out."""
        order, (held_out, _) = self.shuffled(context), self._holdout(context)
        return order[~torch.isin(order, held_out)]

    def _samples(self, index: Tensor, context: Context) -> Batch:
        return next(context.train_batches(len(index), index=index, shard=False))

    def _holdout(self, context: Context) -> tuple[Tensor, Tensor]:
        """Part the training samples into those kept out for the outer loss (none unless asked for) and the others, by
        the run's seed. Raises MethodError where no others are left."""
        hp = self.hyperparameters
        asked = hp.strategy == "learned" and hp.hyper_batch == "holdout"
        size = hp.hyper_batch_size if asked else 0
        if size >= context.train_size:
            raise MethodError(f"lfa: hyper_batch_size {size} keeps all {context.train_size} training samples out")
        order = torch.randperm(context.train_size, generator=context.generator("lfa holdout"))
        return order[:size], order[size:]

    # Checks, state, diagnostics ----------------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: LFAHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        hp = hyperparameters
        check_fused_loss_alone(cls.name, hp)
        if hp.alignment == "js" and hp.fusion != "late":
            raise MethodError(f"lfa: alignment js needs fusion late (one head a modality), not {hp.fusion}")
        low, high = hp.alpha_min, hp.alpha_max
        start = low if hp.alpha is None or hp.strategy != "learned" else hp.alpha
        if not low <= start <= high:
            raise MethodError(
                f"lfa: a learned alpha needs alpha_min <= alpha <= alpha_max, got {low}, {hp.alpha}, {high}"
            )

    def get_extra_state(self) -> dict[str, Any]:
        return {"alpha": self.alpha, "lr_alpha": self.lr_alpha, "sizes": list(self.sizes)}

    def set_extra_state(self, state: Any) -> None:
        self.alpha, self.lr_alpha, self.sizes = state["alpha"], state["lr_alpha"], list(state["sizes"])

    def diagnostics(self) -> dict[str, float]:
        """Of the last epoch: the α it was trained with and the hypergradient at its end. Logged: mean L_CLS and (where
        α > 0) L_MM."""
        return dict(self._diagnostics)
