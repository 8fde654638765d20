"""Metrics of predicted probabilities: likelihood, calibration, ranking. Pure functions of tensors."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn import functional as F

from sweep.training.metrics import metric_name

PROBABILITY_METRICS = ("nll", "calibration_error", "auroc")
BINS = 15


def score_probabilities(predictions: Mapping[str, Tensor], labels: Tensor, prefix: str) -> dict[str, float]:
    """Score logits [n, C] against labels [n] by what they say of each sample's probability, named as by
    ``sweep.training.metrics.metric_name``.

    nll: mean negative log-likelihood of the true class, in nats. calibration_error: :func:`calibration_error`. auroc:
    :func:`auroc`; left out where only one class occurs."""
    values = dict[str, float]()
    for name, logits in predictions.items():
        logits = logits.double()
        probabilities = logits.softmax(-1)
        found = {
            "nll": F.cross_entropy(logits, labels),
            "calibration_error": calibration_error(probabilities, labels),
            "auroc": auroc(probabilities, labels),
        }
        known = {metric: float(value) for metric, value in found.items() if not value.isnan()}
        values |= {metric_name(prefix, metric, name): value for metric, value in known.items()}
    return values


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = BINS) -> Tensor:
    """Compute the expected calibration error in [0, 1] of probabilities [n, C]: how far, in equal bins of the largest
    probability, the accuracy lies from its mean, averaged over samples (Guo et al., ICML 2017)."""
    confidence, chosen = probabilities.max(-1)
    # A bin holds its upper end.
    place = ((confidence * bins).ceil().long() - 1).clamp(0, bins - 1)
    gaps = torch.zeros(bins, dtype=torch.float64, device=labels.device)
    gaps.index_add_(0, place, (chosen == labels).double() - confidence.double())
    return gaps.abs().sum() / len(labels)


def auroc(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Average over classes the area under the ROC curve in [0, 1] of a class against the others, float64.

    probabilities: [n, C]; equal ones count half. Left out are classes without a sample, and one that all have."""
    positives = F.one_hot(labels, probabilities.shape[1]).double()
    counts = positives.sum(0)
    kept = (counts > 0) & (counts < len(labels))
    scores, positives, counts = probabilities[:, kept].double(), positives[:, kept], counts[kept]
    ordered = scores.T.contiguous().sort(1).values
    columns = scores.T.contiguous()
    below = torch.searchsorted(ordered, columns).double()
    up_to = torch.searchsorted(ordered, columns, right=True).double()
    ranks = (below + up_to + 1).T / 2
    areas = ((ranks * positives).sum(0) - counts * (counts + 1) / 2) / (counts * (len(labels) - counts))
    return areas.mean()
