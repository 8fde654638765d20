"""BSS: show the balanced samples first.

Guan, Jiang, Yang, "Balance-aware Sequence Sampling Makes Multimodal Learning Better", IJCAI 2025.

A sample's balance score is high where the modalities agree and the losses are low. BSS-H (heuristic) grows the visible
part of the ranking along a pacing function; BSS-L (learning) rescores, remembers, and draws in an order shaped by the
score. Departures from the official code: scoring in evaluation mode without gradients, on unaugmented samples;
softmax probabilities of a remembered score (``prob: linear`` with ``beta: 1`` gives the code's)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import field_validator
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs, evaluating
from methods.fused import FusionHyperparameters, build_fusion, check_fusion
from methods.hyperparameters import Choice, Integer, LogUniform, Uniform, hyper, in_epochs
from models import unknown

PACES = ("sqrt", "linear", "root", "geometric", "exponential", "step")

# Equations -----------------------------------------------------------------------------------------------------


def prediction_similarity(logits: list[Tensor], space: str = "softmax") -> Tensor:
    """How far M >= 2 modalities agree on each sample: [n, K] each -> [n], mean cosine over all pairs (eq. 1).

    space: softmax (of the predicted probabilities) or logits (of the rows as they are). Raises ValueError for one
    modality or another space."""
    if space not in ("softmax", "logits"):
        raise unknown("space", space, ("softmax", "logits"))
    if len(logits) < 2:
        raise ValueError(f"similarity needs at least two modalities, got {len(logits)}")
    rows = [each.softmax(-1) for each in logits] if space == "softmax" else logits
    norms = [row.norm(dim=-1) for row in rows]
    pairs = [(i, j) for j in range(len(rows)) for i in range(j)]
    cosines = [(rows[i] * rows[j]).sum(-1) / (norms[i] * norms[j]).clamp_min(1e-8) for i, j in pairs]
    return torch.stack(cosines).mean(0)


def sample_loss(
    multi_logits: Tensor, uni_logits: list[Tensor], targets: Tensor, alpha: float = 1.0, weighting: str = "additive"
) -> Tensor:
    """Loss of each sample (eq. 2), logits [n, K] and labels int64 [n] -> [n].

    additive: α CE(multi) + sum of CE(modality); convex: α CE(multi) + (1 - α) that sum. Raises ValueError for
    another weighting."""
    if weighting not in ("additive", "convex"):
        raise unknown("weighting", weighting, ("additive", "convex"))
    own = torch.stack([F.cross_entropy(logits, targets, reduction="none") for logits in uni_logits]).sum(0)
    multi = F.cross_entropy(multi_logits, targets, reduction="none")
    return alpha * multi + (own if weighting == "additive" else (1 - alpha) * own)


def balance_score(
    similarity: Tensor,
    loss: Tensor,
    use_similarity: bool = True,
    use_loss: bool = True,
    previous: Tensor | None = None,
    beta: float = 1.0,
) -> Tensor:
    """Balance score of each sample, all [n]: minmax(similarity) - minmax(loss) in [-1, 1] (eq. 3), then, where a
    ``previous`` score is given, (1 - β) previous + β score (eq. 5).

    A term that is switched off or constant counts 0. Raises ValueError for an entry that is not finite."""
    for name, values in (("similarity", similarity), ("loss", loss), ("previous score", previous)):
        if values is not None and not values.isfinite().all():
            raise ValueError(
                f"the {name} of a sample is not finite: training has diverged; try a smaller learning rate"
            )
    score = use_similarity * _minmax(similarity) - use_loss * _minmax(loss)
    return score if previous is None else (1 - beta) * previous + beta * score


def _minmax(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high - low > 1e-12 else torch.zeros_like(values)


def pace(
    t: int,
    lambda0: float = 0.1,
    t_grow: int = 40,
    kind: str = "sqrt",
    power: float = 2.0,
    steps: int = 5,
    rate: float = 10.0,
) -> float:
    """Share λ(t) in (0, 1] of the training set that epoch t = 1, 2, ... shows (eq. 4 and its kin): it grows from
    ``lambda0`` and is 1 from ``t_grow`` on.

    kind: sqrt, linear, root (of ``power``), geometric, exponential (of ``rate``), step (``steps`` of them). Raises
    ValueError for another kind or lambda0 outside (0, 1]."""
    if not 0 < lambda0 <= 1:
        raise ValueError(f"lambda0 must lie in (0, 1], got {lambda0}")
    if kind not in PACES:
        raise unknown("pace", kind, PACES)
    if t >= t_grow:
        return 1.0
    u = t / t_grow
    if kind == "geometric":
        return min(1.0, lambda0 ** (1 - u))
    if kind in ("sqrt", "root"):
        p = 2.0 if kind == "sqrt" else power
        return min(1.0, ((1 - lambda0**p) * u + lambda0**p) ** (1 / p))
    if kind == "exponential":
        u = math.expm1(rate * u) / math.expm1(rate)
    elif kind == "step":
        u = math.floor(steps * u + 1e-9) / steps
    return min(1.0, lambda0 + (1 - lambda0) * u)


def curriculum_indices(scores: Tensor, proportion: float, order: str = "curriculum") -> Tensor:
    """Positions, int64 [k], of the first floor(n * proportion) of n samples, at least one, by score [n]: highest first
    (curriculum) or lowest first (anti); of equals the lower position first. Raises ValueError for another order."""
    if order not in ("curriculum", "anti"):
        raise unknown("order", order, ("curriculum", "anti"))
    count = max(1, min(len(scores), math.floor(len(scores) * proportion + 1e-9)))
    return torch.sort(scores, descending=order == "curriculum", stable=True).indices[:count]


def sampling_probabilities(scores: Tensor, kind: str = "softmax", floor: float = 0.01) -> Tensor:
    """Probability of each sample by its score, [n] -> [n], summing to 1 (eq. 6).

    softmax; or linear: 1 + score + floor, clipped at 0 and normalised (uniform where all are 0). Raises ValueError
    for another kind."""
    if kind == "softmax":
        return scores.softmax(0)
    if kind != "linear":
        raise unknown("kind of probability", kind, ("softmax", "linear"))
    weights = (1 + scores + floor).clamp_min(0)
    total = weights.sum()
    return weights / total if total > 0 else torch.full_like(scores, 1 / len(scores))


def successive_draws(probabilities: Tensor, generator: torch.Generator) -> Tensor:
    """All n positions, int64, drawn one after the other without replacement in proportion to ``probabilities`` [n]:
    by log p plus Gumbel noise, descending. Positions of probability 0 come last, in random order."""
    noise = -torch.empty(len(probabilities), dtype=torch.float64).exponential_(generator=generator).log()
    log_p = probabilities.double().clamp_min(torch.finfo(torch.float64).tiny).log()
    return (log_p + noise).argsort(descending=True, stable=True)


# Method --------------------------------------------------------------------------------------------------------


class BSSHyperparameters(FusionHyperparameters):
    scheduler: Literal["heuristic", "learning"] = hyper(
        "learning", search=Choice(("heuristic", "learning")),
        meaning="heuristic: a growing part of the ranking (BSS-H); learning: draws by the remembered score (BSS-L)",
    )  # fmt: skip
    lambda0: float = hyper(
        0.1, symbol="λ₀", above=0.0, high=1.0, search=Uniform(0.05, 0.5), only_if=("scheduler", "heuristic"),
        meaning="share of the training set at the start",
    )  # fmt: skip
    t_grow: float = hyper(
        1 / 3, symbol="T_grow", low=0.0, search=Uniform(0.1, 0.6), only_if=("scheduler", "heuristic"), epochs=True,
        meaning="epochs until the whole training set is shown",
    )  # fmt: skip
    pace: Literal["sqrt", "linear", "root", "geometric", "exponential", "step"] = hyper(
        "sqrt", search=Choice(PACES),
        only_if=("scheduler", "heuristic"), meaning="how the share grows",
    )  # fmt: skip
    power: float = hyper(
        2.0, symbol="p", above=0.0, search=Uniform(1.0, 5.0), only_if=("pace", "root"), meaning="degree of the root"
    )
    steps: int = hyper(5, symbol="J", low=1, search=Integer(2, 10), only_if=("pace", "step"), meaning="number of steps")
    rate: float = hyper(
        10.0, symbol="c", above=0.0, high=100.0, search=Uniform(2.0, 12.0), only_if=("pace", "exponential"),
        meaning="rate of the exponential",
    )  # fmt: skip
    rescore_every: int | None = hyper(
        None, symbol="E", low=0, search=Integer(1, 10),
        meaning="epochs between two scoring passes; 0: one pass in all; null: 1 for learning, 0 for heuristic",
    )  # fmt: skip
    beta: float = hyper(
        0.6, symbol="β", low=0.0, high=1.0, search=Uniform(0.1, 1.0), only_if=("scheduler", "learning"),
        meaning="weight of the new score in the remembered one",
    )  # fmt: skip
    alpha: float = hyper(
        1.0, symbol="α", low=0.0, search=LogUniform(0.1, 1.0), meaning="weight of the fused head's loss"
    )
    weighting: Literal["additive", "convex"] = hyper(
        "additive", search=Choice(("additive", "convex")),
        meaning="α multi + unimodal losses, or α multi + (1 - α) unimodal losses",
    )  # fmt: skip
    correlation: Literal["presim", "featsim", "none"] = hyper(
        "presim", search=Choice(("presim", "featsim", "none")),
        meaning="agreement in the score: cosine of predictions, cosine of features, or none",
    )  # fmt: skip
    information: Literal["loss", "none"] = hyper(
        "loss", search=Choice(("loss", "none")), meaning="difficulty in the score: the sample's loss, or none"
    )
    order: Literal["curriculum", "anti", "random", "shuffle"] = hyper(
        "curriculum", meaning="balanced samples first, last, by fixed noise instead of scores, or plain shuffling"
    )
    prob: Literal["softmax", "linear"] = hyper(
        "softmax", search=Choice(("softmax", "linear")), only_if=("scheduler", "learning"),
        meaning="probability of a draw by score",
    )  # fmt: skip
    replacement: bool = hyper(
        False, search=Choice((False, True)), only_if=("scheduler", "learning"), meaning="draw with replacement"
    )
    warmup_epochs: float = hyper(
        0.0, low=0.0, search=Integer(0, 10), epochs=True, meaning="shuffled epochs before the first scoring pass"
    )
    predict_heads: Literal["all", "uni"] = hyper(
        "all", meaning="inference: sum of the logits of all heads, or of the unimodal ones"
    )

    @field_validator("t_grow", "warmup_epochs")
    @classmethod
    def _whole_or_share(cls, value: float) -> float:
        in_epochs(value, 1)
        return value


class BSS(Method):
    """Joint training with unimodal heads on a sequence of samples ordered by balance.

    State: the table of the latest scoring pass (see :meth:`score_table`)."""

    name = "bss"
    title = "Balance-aware sequence sampling"
    paper = "Guan, Jiang, Yang: Balance-aware Sequence Sampling, IJCAI 2025"
    stages = ("data",)
    drop_last = True
    Hyperparameters = BSSHyperparameters
    hyperparameters: BSSHyperparameters

    def __init__(
        self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: BSSHyperparameters, epochs: int
    ) -> None:
        super().__init__(encoders, num_classes, hyperparameters, epochs)
        if hyperparameters.correlation == "featsim" and len(set(self.dims)) > 1:
            widths = ", ".join(f"{m} {d}" for m, d in zip(self.modalities, self.dims, strict=True))
            raise MethodError(f"bss: correlation: featsim needs encoders of one width, these have {widths}")
        self.source = hyperparameters.unimodal_source or "aux"
        self.fusion = build_fusion(hyperparameters, self.modalities, self.dims, num_classes, self.source == "aux")
        self.warmup = in_epochs(hyperparameters.warmup_epochs, epochs)
        self.t_grow = in_epochs(hyperparameters.t_grow, epochs)
        every = hyperparameters.rescore_every
        self.rescore_every = int(hyperparameters.scheduler == "learning") if every is None else every
        self._table: dict[str, Tensor] = {}
        self._diagnostics: dict[str, float] = {}

    @classmethod
    def check(cls, hyperparameters: Any, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_fusion(hyperparameters, modalities)
        if hyperparameters.weighting == "convex" and hyperparameters.alpha > 1:
            raise MethodError(f"bss: weighting: convex needs alpha in [0, 1], got {hyperparameters.alpha}")

    # Scores ----------------------------------------------------------------------------------------------------

    def score_table(self) -> dict[str, Tensor]:
        """The latest scoring pass, one column [n] each by position in the training split: index, label, similarity,
        loss, score (of this pass), remembered (ŝ, what sampling uses), evaluation (number of the pass, from 1). Empty
        before the first pass."""
        return dict(self._table)

    def get_extra_state(self) -> dict[str, Tensor]:
        return self._table

    def set_extra_state(self, state: Any) -> None:
        self._table = {name: column.cpu() for name, column in state.items()}

    def on_fit_start(self, context: Context) -> None:
        rest = self.total_epochs() - self.warmup
        if self.hyperparameters.scheduler == "heuristic" and self.t_grow > rest:
            context.warn(
                f"bss: t_grow is {self.t_grow} epochs, but only {rest} follow the warm-up: the hardest samples are "
                "never shown"
            )

    def on_epoch_start(self, context: Context) -> None:
        t, every = context.epoch - self.warmup, self.rescore_every
        due = t == 1 if every == 0 else t >= 1 and (t - 1) % every == 0
        if due and self.hyperparameters.order in ("curriculum", "anti"):
            self.score(context)

    @torch.no_grad()
    def score(self, context: Context) -> None:
        """The scoring pass: every training sample once, nothing learned, parameters and buffers untouched."""
        found: list[tuple[Tensor, ...]] = []
        with evaluating(self), context.autocast():
            for batch in filter(len, context.train_batches()):
                outputs = self(batch)
                criteria = self.similarity(outputs), self.sample_loss(outputs, batch)
                found.append((batch.index, batch.labels, *criteria))
        columns = [context.gather_rows(torch.cat(parts)).cpu() for parts in zip(*found, strict=True)]
        by_position = columns[0].argsort()
        index, label, similarity, loss = (column[by_position] for column in columns)
        use = self.hyperparameters.correlation != "none", self.hyperparameters.information != "none"
        score = balance_score(similarity, loss, *use)
        previous = self._table.get("remembered") if self.hyperparameters.scheduler == "learning" else None
        remembered = balance_score(similarity, loss, *use, previous, self.hyperparameters.beta)
        self._table = {
            "index": index,
            "label": label,
            "similarity": similarity,
            "loss": loss,
            "score": score,
            "remembered": remembered,
            "evaluation": self._table["evaluation"] + 1 if self._table else torch.ones_like(index),
        }

    def similarity(self, outputs: Outputs) -> Tensor:
        if self.hyperparameters.correlation == "featsim":
            return prediction_similarity([f.float() for f in outputs.features], "logits")
        return prediction_similarity([logits.float() for logits in outputs.unimodal_logits])

    def sample_loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Eq. 2 for each sample of a batch, [B]."""
        hp, own = self.hyperparameters, [logits.float() for logits in outputs.unimodal_logits]
        return sample_loss(outputs.logits.float(), own, batch.labels, hp.alpha, hp.weighting)

    # Stage 1: data ---------------------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor:
        """Warm-up: shuffled. Heuristic: the epoch's part of the ranking, shuffled. Learning: n draws in drawn order."""
        heuristic, t = self.hyperparameters.scheduler == "heuristic", context.epoch - self.warmup
        if t < 1 or (heuristic and self.hyperparameters.order == "shuffle"):
            self._diagnostics = {"proportion": 1.0}
            return super().sampler(context)
        scores = self.sampling_scores(context)
        order = self.visible(t, scores, context) if heuristic else self.draw(scores, context)
        self._diagnostics["mean_score"] = float(scores.mean())
        return order

    def sampling_scores(self, context: Context) -> Tensor:
        """What the samples [n] are ordered by: remembered scores, or noise in [-1, 1] that the run's seed fixes, or
        nothing (zeros)."""
        if self.hyperparameters.order == "shuffle":
            return torch.zeros(context.train_size)
        if self.hyperparameters.order == "random":
            return 2 * torch.rand(context.train_size, generator=context.generator("random scores")) - 1
        return self._table["remembered"]

    def visible(self, t: int, scores: Tensor, context: Context) -> Tensor:
        """BSS-H: the first floor(n λ(t)) samples of the ranking, at least one joint batch, shuffled."""
        hp, n = self.hyperparameters, len(scores)
        share = pace(t, hp.lambda0, self.t_grow, hp.pace, hp.power, hp.steps, hp.rate)
        order = "anti" if hp.order == "anti" else "curriculum"
        # Sorted before it is shuffled: with every sample visible this is the order of plain joint training.
        shown = curriculum_indices(scores, max(share, context.batch_size / n), order).sort().values
        self._diagnostics = {"proportion": len(shown) / n}
        return shown[torch.randperm(len(shown), generator=context.generator("order", context.epoch))]

    def draw(self, scores: Tensor, context: Context) -> Tensor:
        """BSS-L: n draws, with or without replacement, in the order drawn."""
        anti, generator = self.hyperparameters.order == "anti", context.generator("order", context.epoch)
        probabilities = sampling_probabilities(-scores if anti else scores, self.hyperparameters.prob)
        self._diagnostics = {"sampling_entropy": float(torch.special.entr(probabilities.double()).sum())}
        if self.hyperparameters.replacement:
            return torch.multinomial(probabilities, len(scores), replacement=True, generator=generator)
        return successive_draws(probabilities, generator)

    # Stages 2 and 3, inference ---------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        features = self.encode(batch)
        return Outputs(features, self.fusion(features).logits, self.fusion.unimodal_logits(features, self.source))

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = self.fusion.unimodal_logits(features, self.source)
        total = torch.stack(unimodal).sum(0)
        if self.hyperparameters.predict_heads == "all":
            total = total + self.fusion(features).logits
        return {MULTI: total, **dict(zip(self.modalities, unimodal, strict=True))}

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        return self.sample_loss(outputs, batch).mean()

    def diagnostics(self) -> dict[str, float]:
        """Share of the samples shown, or entropy of the draws (nats; log n where they are uniform); mean score."""
        return dict(self._diagnostics)
