"""The method BSS."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from data.base import Batch
from methods.base import MULTI, Context, DivergedError, MethodError, Outputs, evaluating
from methods.base.fused import FusedMethod
from methods.base.hyperparameters import in_epochs
from methods.bss.equations import (
    balance_score,
    curriculum_indices,
    gradient_magnitude,
    pace,
    prediction_similarity,
    sample_loss,
    sampling_probabilities,
    successive_draws,
)
from methods.bss.hyperparameters import BSSHyperparameters
from models.fusion import Source

COLUMNS = ("label", "similarity", "loss", "score", "remembered")
"""What a scoring pass leaves of each sample; see :meth:`BSS.score_table`."""


class BSS(FusedMethod[BSSHyperparameters]):
    """Multimodal training is sensitive to the order of its samples. Each training sample gets a balance score, high
    where its modalities agree and its losses are low, and balanced samples come first: BSS-H (``scheduler:
    heuristic``) shuffles a growing part of the ranking, BSS-L (``learning``) rescores as it goes, remembers, and draws
    samples in an order that the score shapes. Network and loss are those of joint training with unimodal heads.

    Source: Guan, Jiang, Yang, IJCAI 2025: score (eqs. 1 to 3), pace (4), remembered score (5), probability (6).

    Departures from the official code: scores are made in evaluation mode from samples as they are (``score_mode:
    train`` is the code's way); they are remembered, and their softmax is drawn from (``beta: 1`` with ``prob: linear``
    is the code's); balanced samples come first on every dataset (the code turns one sign round); a constant criterion
    counts 0 instead of NaN; three modalities agree by the mean over pairs, whichever the scheduler. The weight α is
    read as that of the fused loss, which the paper's plot supports but does not say.

    Cost: one forward and one backward a step, as joint training. BSS-L adds a forward over the training set every
    ``rescore_every`` epochs, BSS-H one in all and has fewer steps; ``information: gradmag`` adds a backward a sample.

    State: the scores of every pass (:meth:`score_table`), five numbers a sample and pass."""

    name = "bss"
    title = "Balance-aware sequence sampling"
    paper = "Guan, Jiang, Yang: Balance-aware Sequence Sampling, IJCAI 2025"
    stages = ("data",)
    capturable = True
    computes_with_features = True
    drop_last = True

    def build(self) -> None:
        hp = self.hyperparameters
        if hp.correlation == "featsim" and len(set(self.dims)) > 1:
            widths = ", ".join(f"{m} {d}" for m, d in zip(self.modalities, self.dims, strict=True))
            raise MethodError(f"bss: correlation: featsim needs encoders of one width, these have {widths}")
        super().build()
        self.warmup = in_epochs(hp.warmup_epochs, self.epochs)
        self.t_grow = in_epochs(hp.t_grow, self.epochs)
        self.rescore_every = int(hp.scheduler == "learning") if hp.rescore_every is None else hp.rescore_every
        self._scores = torch.empty(0, len(COLUMNS), 0)
        self._diagnostics: dict[str, float] = {}

    # The order of samples ----------------------------------------------------------------------------------------

    def sampler(self, context: Context) -> Tensor:
        """Order the samples. Warm-up: all, shuffled; heuristic: part of the ranking, shuffled; learning: n draws."""
        heuristic, t = self.hyperparameters.scheduler == "heuristic", context.epoch - self.warmup
        if t < 1 or (heuristic and self.hyperparameters.order == "shuffle"):
            self._diagnostics = {"proportion": 1.0}
            return self.shuffled(context)
        scores = self.sampling_scores(context)
        order = self.visible(t, scores, context) if heuristic else self.draw(scores, context)
        self._diagnostics["mean_score"] = float(scores.mean())
        return order

    def sampling_scores(self, context: Context) -> Tensor:
        """Give the numbers that the samples [n] are ordered by: remembered scores, or noise in [-1, 1] that the run's
        seed fixes, or nothing (zeros)."""
        if self.hyperparameters.order == "random":
            return 2 * torch.rand(context.train_size, generator=context.generator("random scores")) - 1
        if not self._by_score():
            return torch.zeros(context.train_size)
        return self._scores[-1, COLUMNS.index("remembered")]

    def visible(self, t: int, scores: Tensor, context: Context) -> Tensor:
        """Show the first floor(n λ(t)) samples of the ranking (BSS-H), at least one joint batch, shuffled."""
        hp, n = self.hyperparameters, len(scores)
        share = pace(t, hp.lambda0, self.t_grow, hp.pace, hp.power, hp.steps, hp.rate)
        order = "anti" if hp.order == "anti" else "curriculum"
        # Sorted before it is shuffled: with every sample visible this is the order of plain joint training.
        shown = curriculum_indices(scores, max(share, context.batch_size / n), order).sort().values
        self._diagnostics = {"proportion": len(shown) / n}
        return shown[torch.randperm(len(shown), generator=context.generator("order", context.epoch))]

    def draw(self, scores: Tensor, context: Context) -> Tensor:
        """Draw n samples (BSS-L), with or without replacement, in the order drawn."""
        anti, generator = self.hyperparameters.order == "anti", context.generator("order", context.epoch)
        probabilities = sampling_probabilities(-scores if anti else scores, self.hyperparameters.prob)
        self._diagnostics = {"sampling_entropy": float(torch.special.entr(probabilities.double()).sum())}
        if self.hyperparameters.replacement:
            return torch.multinomial(probabilities, len(scores), replacement=True, generator=generator)
        return successive_draws(probabilities, generator)

    # Their balance scores ----------------------------------------------------------------------------------------

    def on_epoch_start(self, context: Context) -> None:
        t, every = context.epoch - self.warmup, self.rescore_every
        due = t == 1 if every == 0 else t >= 1 and (t - 1) % every == 0
        if due and self._by_score():
            self.score(context)

    def _by_score(self) -> bool:
        """Tell whether the order of samples depends on their scores at all."""
        hp = self.hyperparameters
        return hp.order in ("curriculum", "anti") and (hp.correlation != "none" or hp.information != "none")

    def score(self, context: Context) -> None:
        """Score the balance of every training sample (eqs. 3 and 5): one more row of the table."""
        hp = self.hyperparameters
        label, similarity, loss = self._criteria_of_all(context)
        for criterion, values in (("similarity", similarity), ("loss", loss)):
            if not values.isfinite().all():
                raise DivergedError(f"bss: the {criterion} of a sample is not finite; try a smaller learning rate")
        use = hp.correlation != "none", hp.information != "none"
        score = balance_score(similarity, loss, *use)
        remembers = hp.scheduler == "learning" and len(self._scores) > 0
        previous = self._scores[-1, COLUMNS.index("remembered")] if remembers else None
        remembered = balance_score(similarity, loss, *use, previous, hp.beta)
        found_now = torch.stack([label.to(score.dtype), similarity, loss, score, remembered])
        self._scores = torch.cat([self._scores.view(-1, *found_now.shape), found_now[None]])

    def _criteria_of_all(self, context: Context) -> list[Tensor]:
        """Collect label, similarity and information [n] of every training sample in a scoring pass. Nothing is learned:
        parameters stay untouched, and in evaluation mode buffers too."""
        hp = self.hyperparameters
        as_trained, by_gradient = hp.score_mode == "train", hp.information == "gradmag"
        batches: Iterator[Batch] = context.train_batches(augment=as_trained)
        # Batch norm in training mode waits for every worker, so one with an empty share passes it on too.
        batches = batches if as_trained else filter(len, batches)
        found: list[tuple[Tensor, ...]] = []
        mode = nullcontext() if as_trained else evaluating(self)
        # cuDNN's recurrent layers refuse a backward in evaluation mode.
        kernels = torch.backends.cudnn.flags(enabled=False) if by_gradient else nullcontext()
        with mode, kernels, context.autocast(), torch.set_grad_enabled(by_gradient):
            for batch in batches:
                for part in _one_by_one(batch) if by_gradient else (batch,):
                    found.append((part.index, part.labels, *self.criteria(part, context)))
        columns = [context.gather_rows(torch.cat(parts)).cpu() for parts in zip(*found, strict=True)]
        by_position = columns[0].argsort()
        return [column[by_position] for column in columns[1:]]

    def criteria(self, batch: Batch, context: Context) -> tuple[Tensor, Tensor]:
        """Measure similarity and information [B] of samples; the gradient's size is that of a batch of one."""
        outputs = self.training_outputs(batch, context)
        loss = self.sample_loss(outputs, batch)
        if self.hyperparameters.information == "gradmag":
            loss = gradient_magnitude(loss.sum(), [p for p in self.parameters() if p.requires_grad])[None]
        return self.similarity(outputs).detach(), loss.detach()

    def similarity(self, outputs: Outputs) -> Tensor:
        if self.hyperparameters.correlation == "featsim":
            return prediction_similarity([f.float() for f in outputs.features], "logits")
        return prediction_similarity([logits.float() for logits in outputs.unimodal_logits])

    def sample_loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Compute eq. 2 for each sample of a batch, [B]."""
        hp, own = self.hyperparameters, [logits.float() for logits in outputs.unimodal_logits]
        return sample_loss(outputs.logits.float(), own, batch.labels, hp.alpha, hp.weighting)

    # Network and loss --------------------------------------------------------------------------------------------

    def usual_source(self) -> Source:
        return "aux"

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        return self.sample_loss(outputs, batch).mean()

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        unimodal = self.unimodal_logits(features)
        total = torch.stack(unimodal).sum(0)
        if self.hyperparameters.predict_heads == "all":
            total = total + self.fusion.fuse(features).logits
        return {MULTI: total, **dict(zip(self.modalities, unimodal, strict=True))}

    # Checks, warnings, state, diagnostics ------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: BSSHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if hyperparameters.weighting == "convex" and hyperparameters.alpha > 1:
            raise MethodError(f"bss: weighting: convex needs alpha in [0, 1], got {hyperparameters.alpha}")
        if hyperparameters.information == "gradmag" and hyperparameters.score_mode == "train":
            raise MethodError("bss: information: gradmag takes one sample at a time, so it needs score_mode: eval")
        unscored = hyperparameters.correlation == hyperparameters.information == "none"
        if unscored and hyperparameters.scheduler == "heuristic" and hyperparameters.order in ("curriculum", "anti"):
            raise MethodError(
                "bss: scheduler: heuristic has nothing to rank by with correlation and information none; choose one of "
                "them, or order: random or shuffle"
            )

    def on_fit_start(self, context: Context) -> None:
        rest = self.epochs - self.warmup
        if self.hyperparameters.scheduler == "heuristic" and self.t_grow > rest:
            context.warn(
                f"bss: t_grow is {self.t_grow} epochs, but only {rest} follow the warm-up: the hardest samples are "
                "never shown"
            )

    def score_table(self) -> dict[str, Tensor]:
        """Tabulate every scoring pass so far, one row a pass and one column a training sample, [passes, n] each.

        evaluation: number of the pass, from 1; index: position in the training split; label; similarity; loss (or
        gradient magnitude); score: of this pass; remembered: ŝ, what sampling uses. No rows before the first pass."""
        passes, _, n = self._scores.shape
        counted = {"evaluation": torch.arange(1, passes + 1)[:, None].expand(passes, n)}
        columns = dict(zip(COLUMNS, self._scores.unbind(1), strict=True))
        columns["label"] = columns["label"].long()
        return counted | {"index": torch.arange(n).expand(passes, n)} | columns

    def get_extra_state(self) -> Tensor:
        return self._scores

    def set_extra_state(self, state: Any) -> None:
        """Take the passes of a state; those made after it stay on record where it is that of the selected epoch."""
        state, known = state.cpu(), self._scores[: len(state)]
        if len(state) and not torch.equal(known, state):
            self._scores = state

    def diagnostics(self) -> dict[str, float]:
        """Share of the samples shown, or entropy of the draws (nats; log n where they are uniform), and the mean score.
        Of the latest scoring pass: the means of both criteria, and the scores of three samples, followed from pass to
        pass: those that the first one ranked highest, in the middle and lowest."""
        if not len(self._scores):
            return dict(self._diagnostics)
        row = COLUMNS.index("score")
        ranking = curriculum_indices(self._scores[0, row], 1.0)
        followed = {"highest": ranking[0], "middle": ranking[len(ranking) // 2], "lowest": ranking[-1]}
        latest = dict(zip(COLUMNS, self._scores[-1], strict=True))
        numbers = {f"mean_{name}": float(latest[name].mean()) for name in ("similarity", "loss")}
        numbers |= {f"score_{rank}": float(latest["score"][at]) for rank, at in followed.items()}
        return self._diagnostics | numbers


def _one_by_one(batch: Batch) -> Iterator[Batch]:
    """Cut a batch into batches of one sample."""
    for k in range(len(batch)):
        inputs = {modality: x[k : k + 1] for modality, x in batch.inputs.items()}
        yield Batch(inputs, batch.labels[k : k + 1], batch.index[k : k + 1])
