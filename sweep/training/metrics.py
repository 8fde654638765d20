"""Metrics of a whole split, for the fused prediction and each modality, and the imbalance between modalities."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import factorial, prod

import torch
from torch import Tensor
from torch.nn import functional as F

from data.base import Batch, Split, sample_shape
from methods.base import MULTI, Method, evaluating
from sweep.training.workers import WorkerGroup, worker_slice

METRICS = ("accuracy", "map", "macro_f1")
MOST_EXACT = 4
"""Modalities up to which every subset of them is evaluated: 2^M passes over a split."""
ORDERS = 12
"""Orders of more modalities that are drawn, in pairs of one and its reverse: at most ORDERS (M - 1) + 2 passes."""
EVALUATION_BATCH = 512
"""Samples predicted at a time, at most."""
EVALUATION_BYTES = 64 * 2**20
"""Size of their inputs, at most: what an encoder keeps of one sample is several times as large."""


def metric_name(prefix: str, metric: str, prediction: str = MULTI) -> str:
    """Name a metric as records and tables do: ``validation_accuracy``, ``test_map_audio``."""
    return f"{prefix}_{metric}" if prediction == MULTI else f"{prefix}_{metric}_{prediction}"


@torch.no_grad()
def predict_split(
    method: Method, split: Split, device: torch.device, workers: WorkerGroup, present: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Predict logits [n, C] in float32 of every sample of a split, for "multi" and each modality, in evaluation mode;
    each worker predicts its share and all receive the whole. present: the modalities to use (default: all), of which
    a sample may lack some."""
    mine = worker_slice(len(split), workers.size, workers.rank)
    parts = torch.arange(mine.start, mine.stop).split(_at_a_time(split))
    with evaluating(method):
        batches = [predict_present(method, split.gather(part, device), present) for part in parts]
    local = {name: torch.cat([batch[name].float() for batch in batches]) for name in batches[0]}
    counts = [worker_slice(len(split), workers.size, rank) for rank in range(workers.size)]
    return {name: workers.gather(logits, [c.stop - c.start for c in counts]) for name, logits in local.items()}


def predict_present(method: Method, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
    """Predict logits [B, C] of a batch in which samples may lack modalities: those that have the same ones together, as
    the method predicts with these alone. A sample that has none gets equal logits."""
    if not batch.present:
        return method.predict(batch, present)
    names = [m for m in method.modalities if present is None or m in present]
    there = batch.presence(names)
    found = dict[str, Tensor]()
    for pattern in there.unique(dim=0):
        rows = (there == pattern).all(dim=1).nonzero().flatten()
        had = [m for m, has in zip(names, pattern.tolist(), strict=True) if has]
        alone = had if had and had != names else present
        logits = method.predict(replace(batch.at(rows), present={}), alone)
        for name, values in logits.items():
            values = values if had else torch.zeros_like(values)
            found.setdefault(name, values.new_zeros(len(batch), values.shape[1])).index_copy_(0, rows, values)
    return found


def _at_a_time(split: Split) -> int:
    numbers = sum(prod(sample_shape(values)) for values in split.inputs.values())
    return max(1, min(EVALUATION_BATCH, EVALUATION_BYTES // (4 * numbers)))


def score(predictions: Mapping[str, Tensor], labels: Tensor, num_classes: int, prefix: str) -> dict[str, float]:
    """Compute accuracy, MAP and macro-F1 in [0, 1] of logits [n, C] against labels [n], named by :func:`metric_name`.

    MAP: mean over classes of one-against-rest average precision on softmax scores; classes without positives are
    left out (see :func:`absent_classes`). macro-F1: plain mean over the classes present in labels or predictions."""
    # All predictions at once, read once: operations on few samples cost their number alone.
    scores = torch.stack(list(predictions.values())).softmax(-1)
    chosen = scores.argmax(-1)
    positives = labels == torch.arange(num_classes, device=labels.device).unsqueeze(1)
    present = positives.any(1)
    found = {
        "accuracy": (chosen == labels).double().mean(1),
        "map": average_precision(scores.mT[:, present], positives[present]).mean(1),
        "macro_f1": macro_f1(chosen, labels, num_classes),
    }
    rows = zip(predictions, torch.stack(list(found.values()), dim=1).tolist(), strict=True)
    return {metric_name(prefix, metric, name): x for name, row in rows for metric, x in zip(found, row, strict=True)}


def average_precision(scores: Tensor, positives: Tensor) -> Tensor:
    """Compute the average precision [P, K] in [0, 1], float64, of scores [P, K, n] against ``positives``, bool [K, n]
    (at least one in each row): the sum over thresholds k of (recall_k - recall_(k-1)) precision_k. Equal scores share a
    threshold."""
    order = descending_order(scores)
    ranked, hits = scores.gather(-1, order), positives.expand_as(scores).gather(-1, order).double()
    rank = torch.arange(scores.shape[-1], device=scores.device)
    precision = hits.cumsum(-1) / (rank + 1)
    # Each hit counts with the precision at the last sample of its score.
    last = F.pad(ranked[..., 1:] != ranked[..., :-1], (0, 1), value=True)
    ends = torch.where(last, rank, len(rank)).flip(-1).cummin(-1).values.flip(-1)
    return (hits * precision.gather(-1, ends)).sum(-1) / hits.sum(-1)


def descending_order(scores: Tensor) -> Tensor:
    """Sort along the last axis, the largest first: positions, int64. Equal scores come in any order."""
    if scores.device.type == "cpu":
        # numpy's sort takes a third of the time of torch's.
        return torch.from_numpy((-scores).numpy().argsort(-1))
    return scores.argsort(-1, descending=True)


def macro_f1(chosen: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Average over classes 2 TP / (2 TP + FP + FN) in [0, 1], float64 [P]: of ``chosen`` [P, n] against labels [n],
    over the classes that occur in either; one that is never chosen rightly counts 0."""
    rows = num_classes * torch.arange(len(chosen), device=labels.device).unsqueeze(1)
    hits, picked, real = (
        torch.bincount(found, minlength=rows.numel() * num_classes).view(-1, num_classes).double()
        for found in ((chosen + rows)[chosen == labels], (chosen + rows).flatten(), (labels + rows).flatten())
    )
    either = picked + real
    return (2 * hits / either.clamp_min(1)).sum(1) / (either > 0).sum(1)


def absent_classes(labels: Tensor, classes: Sequence[str]) -> list[str]:
    """List the classes without any sample: their average precision does not exist and is left out of MAP."""
    seen = set(labels.unique().tolist())
    return [name for number, name in enumerate(classes) if number not in seen]


def sampled_shapley_values(
    modalities: Sequence[str], accuracy: Callable[[tuple[str, ...]], float], orders: int = ORDERS
) -> dict[str, float]:
    """Estimate each modality's Shapley value from ``orders`` orders of the modalities, drawn alike at each call: the
    mean of what it adds to those before it (Castro et al., Computers & Operations Research 2009).

    accuracy: as in :func:`shapley_values`, asked once for each subset that is met. The values add up to acc(all) -
    acc(none)."""
    draw, known = torch.Generator().manual_seed(0), dict[tuple[str, ...], float]()

    def value(present: frozenset[str]) -> float:
        subset = tuple(m for m in modalities if m in present)
        if subset not in known:
            known[subset] = accuracy(subset)
        return known[subset]

    values = dict.fromkeys(modalities, 0.0)
    drawn = [torch.randperm(len(modalities), generator=draw).tolist() for _ in range(-(-orders // 2))]
    # Each order and its reverse: what one overrates, the other underrates.
    for order in [each for one in drawn for each in (one, one[::-1])]:
        before = frozenset[str]()
        for modality in (modalities[place] for place in order):
            values[modality] += (value(before | {modality}) - value(before)) / (2 * len(drawn))
            before |= {modality}
    return values


def shapley_values(modalities: Sequence[str], accuracy: Callable[[tuple[str, ...]], float]) -> dict[str, float]:
    """Compute each modality's Shapley value, phi_m = sum over S without m of |S|! (M - |S| - 1)! / M! (acc(S + m) -
    acc(S)).

    accuracy: subset of the modalities, in their order -> accuracy; asked once for each of the 2^M subsets. The values
    add up to acc(all) - acc(none)."""
    known = {s: accuracy(s) for size in range(len(modalities) + 1) for s in combinations(modalities, size)}
    total = factorial(len(modalities))
    values = dict.fromkeys(modalities, 0.0)
    for subset, without in known.items():
        weight = (
            factorial(len(subset)) * factorial(len(modalities) - len(subset) - 1) / total
            if (len(subset) < len(modalities))
            else 0.0
        )
        for modality in set(modalities) - set(subset):
            joined = tuple(m for m in modalities if m in subset or m == modality)
            values[modality] += weight * (known[joined] - without)
    return values


def imbalance(
    method: Method, split: Split, device: torch.device, workers: WorkerGroup, prefix: str
) -> dict[str, float]:
    """Compute the Shapley value of each modality's features for the fused accuracy (absent features zeroed, the empty
    subset scores the majority share) as ``PREFIX_shapley_MODALITY``, and max - min of them as ``PREFIX_imbalance``;
    beside them the accuracy of each subset that this takes, named by :func:`subset_metric`.

    Of up to MOST_EXACT modalities that is every subset; of more the values are estimated
    (:func:`sampled_shapley_values`), from the subsets that are met."""
    labels, subsets = split.labels.to(device), dict[str, float]()

    def accuracy(present: tuple[str, ...]) -> float:
        if not present:
            found = float(labels.bincount().max() / len(labels))
        else:
            logits = predict_split(method, split, device, workers, present)[MULTI]
            found = float((logits.argmax(-1) == labels).float().mean())
        subsets[subset_metric(prefix, present)] = found
        return found

    exact = len(method.modalities) <= MOST_EXACT
    values = (shapley_values if exact else sampled_shapley_values)(method.modalities, accuracy)
    named = {f"{prefix}_shapley_{modality}": value for modality, value in values.items()}
    return named | {f"{prefix}_imbalance": max(values.values()) - min(values.values())} | subsets


def subset_metric(prefix: str, present: Sequence[str]) -> str:
    """Name the fused accuracy with these modalities alone: ``test_subset_audio+video``; ``test_subset_none``."""
    return f"{prefix}_subset_{'+'.join(present) or 'none'}"
