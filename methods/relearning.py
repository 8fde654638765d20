"""Re-learning: encoders go back towards their initial weights, the farther the better their modality is learned.

Wei, Li, Feng, Hu, "Diagnosing and Re-learning for Balanced Multimodal Learning", ECCV 2024.
"""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor, nn

from methods.base import Context, Validation, features_of
from methods.base.fused import FusedMethod
from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import Integer, Uniform, hyper, in_epochs
from methods.base.modulation import trained_parameters

# Equations -----------------------------------------------------------------------------------------------------


def min_max_scale(features: Tensor) -> Tensor:
    """Scale each column of [N, D] to [-1, 1]; a column of equal values becomes -1."""
    low, high = features.aminmax(dim=0)
    span = torch.where(high > low, high - low, torch.ones_like(high))
    return 2 * (features - low) / span - 1


def clustering_purity(assignments: Tensor, labels: Tensor) -> float:
    """P = Σ_clusters (largest number of samples of one class) / N, in (0, 1], of int64 [N] and int64 [N].

    Neither clusters nor labels need to be numbered without gaps."""
    clusters, classes = (each.unique(return_inverse=True)[1] for each in (assignments, labels))
    counts = torch.zeros(int(clusters.max()) + 1, int(classes.max()) + 1, dtype=torch.int64, device=clusters.device)
    counts.index_put_((clusters, classes), torch.ones_like(clusters), accumulate=True)
    return float(counts.amax(1).sum()) / len(labels)


def separability_purity(features: Tensor, labels: Tensor, num_clusters: int, seed: int = 0, n_init: int = 10) -> float:
    """Scale features [N, D] by column, cluster them by k-means, and compute the purity by labels, int64 [N].

    Of ``n_init`` k-means++ starts the one of the smallest inertia counts; there are no more clusters than samples."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    scaled = min_max_scale(features.float()).cpu().numpy()
    with warnings.catch_warnings():
        # Fewer distinct samples than clusters: the purity is what it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        kmeans = KMeans(min(num_clusters, len(scaled)), n_init=n_init, random_state=seed).fit(scaled)
    return clustering_purity(torch.from_numpy(kmeans.labels_).long(), labels.cpu())


def reinit_strength(train_purity: float, val_purity: float, lam: float) -> float:
    """a = tanh(λ |P_train - P_val|), in [0, 1)."""
    return math.tanh(lam * abs(train_purity - val_purity))


def soft_reinit(current: Tensor, initial: Tensor, strength: float) -> Tensor:
    """(1 - a) θ + a θ_init, a new tensor."""
    return (1 - strength) * current + strength * initial


# Method --------------------------------------------------------------------------------------------------------


class RelearningHyperparameters(FusionHyperparameters):
    lam: float = hyper(3.0, symbol="λ", low=0.0, search=Uniform(1.0, 10.0))
    """how strongly the gap between the purities acts"""
    period: float = hyper(0.22, symbol="H", above=0.0, search=Uniform(0.1, 0.4), epochs=True)
    """epochs from one reset to the next (published: 20 of 90)"""
    max_resets: int | None = hyper(3, low=0, search=Integer(1, 5))
    """resets in all (null: as many as there are periods)"""
    n_init: int = hyper(10, low=1)
    """starts of k-means"""
    kmeans_seed: int = hyper(0, low=0)
    """seed of k-means"""
    reset_momentum: bool = hyper(False)
    """an encoder that is reset forgets its optimizer's state, too"""
    max_samples: int | None = hyper(None, low=1)
    """training samples that are clustered at most, drawn anew at each reset (null: all)"""


class Relearning(FusedMethod[RelearningHyperparameters]):
    """Joint training, interrupted every few epochs by an examination: how well do an encoder's features fall into
    clusters of one class, on training and on validation data? A wide gap says that its modality is learned well or too
    well, a narrow one that there is much or little left to learn. Each encoder is then moved a part of the way back to
    its initial weights, the farther the wider its gap. So the dominant modality has to learn again, which leaves the
    others room, and what a weak one has learned by heart is weakened. Fusion and heads stay.

    Source: Wei et al., ECCV 2024, Algorithm 1. Scaling of columns and at most three resets are its official code's.

    Departures from the official code: the period is a share of the budget; images are augmented as in every method.
    Validation data steer the resets, as in paper and code; an epoch is selected by the weights that were validated,
    before a reset. Statistics of batch norm stay, as there.

    Cost: as joint training; at each reset a forward pass over training and validation data, and 2 M k-means.

    State: the encoders' initial weights."""

    name = "relearning"
    title = "Diagnosing and re-learning"
    paper = "Wei, Li, Feng, Hu: Diagnosing and Re-learning, ECCV 2024"
    stages = ("optimization",)
    capturable = True
    computes_with_features = True
    helpers = ("initial",)
    replaces_fusion_loss = False

    def build(self) -> None:
        super().build()
        self.initial = nn.Module()
        for modality, encoder in self.encoders.items():
            for position, parameter in enumerate(trained_parameters(encoder)):
                self.initial.register_buffer(f"{modality}_{position}", torch.zeros_like(parameter))
        self.period = in_epochs(self.hyperparameters.period, self.epochs)
        self._examined: dict[str, float] = {}

    def weights(self, modality: str) -> list[tuple[nn.Parameter, Tensor]]:
        """Pair the trained parameters of an encoder with what they were at the start of the run."""
        trained = enumerate(trained_parameters(self.encoders[modality]))
        return [(parameter, self.initial.get_buffer(f"{modality}_{position}")) for position, parameter in trained]

    def objective_logits(self, features: list[Tensor]) -> list[Tensor]:
        """Give none: modalities are compared by their features."""
        return []

    # Resets ------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def on_fit_start(self, context: Context) -> None:
        for modality in self.modalities:
            for parameter, initial in self.weights(modality):
                initial.copy_(parameter)
        if self.period >= self.epochs and self.hyperparameters.max_resets != 0:
            context.warn(
                f"relearning: no encoder is reset, as the first reset comes after epoch {self.period + 1} and there "
                f"are {self.epochs}"
            )

    def resets_after(self, epoch: int) -> bool:
        """Tell whether encoders are reset after an epoch, counted from 1."""
        number, rest = divmod(epoch - 1, self.period)
        most = self.hyperparameters.max_resets
        return number > 0 and rest == 0 and (most is None or number <= most)

    def on_epoch_start(self, context: Context) -> None:
        self._examined = {}

    def on_validation(self, validation: Validation, context: Context) -> None:
        if not self.resets_after(context.epoch):
            return
        for modality, (train, val) in self.purities(context).items():
            strength = reinit_strength(train, val, self.hyperparameters.lam)
            self.reset(modality, strength, context)
            told = {"train_purity": train, "validation_purity": val, "strength": strength}
            self._examined |= {f"{name}_{modality}": value for name, value in told.items()}

    def purities(self, context: Context) -> dict[str, tuple[float, float]]:
        """Compute the purity of each modality's features on training and on validation data, alike on every worker."""
        hp, drawn = self.hyperparameters, None
        if hp.max_samples is not None and hp.max_samples < context.train_size:
            random = context.generator("relearning samples", context.epoch)
            drawn = torch.randperm(context.train_size, generator=random)[: hp.max_samples]
        train, labels = features_of(self, self.encode, context.train_batches(index=drawn), context)
        held, held_labels = features_of(self, self.encode, context.validation_batches(), context)
        found = torch.zeros(len(self.modalities), 2, dtype=torch.float64, device=context.device)
        if context.rank == 0:
            for k, parts in enumerate(zip(train, held, strict=True)):
                for part, (features, of) in enumerate(zip(parts, (labels, held_labels), strict=True)):
                    found[k, part] = separability_purity(features, of, self.num_classes, hp.kmeans_seed, hp.n_init)
        train_purities, val_purities = context.broadcast(found).T.tolist()
        return dict(zip(self.modalities, zip(train_purities, val_purities, strict=True), strict=True))

    @torch.no_grad()
    def reset(self, modality: str, strength: float, context: Context) -> None:
        """Move an encoder towards its initial weights."""
        for parameter, initial in self.weights(modality):
            parameter.copy_(soft_reinit(parameter, initial, strength))
        if self.hyperparameters.reset_momentum:
            context.forget_momentum(trained_parameters(self.encoders[modality]))

    def diagnostics(self) -> dict[str, float]:
        """Of the epochs after which encoders were reset, for each modality: purity of the clusters of training and of
        validation features, and the share of the way back to the initial weights (strength)."""
        return self._examined
