"""DI-MML: modalities that learn apart, and from each other only in the dimensions in which they are weak.

Fan, Xu, Wang, Liu, Guo, "Detached and Interactive Multimodal Learning", ACM Multimedia 2024.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import permutations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, MethodError, Outputs, Phase, features_of
from methods.base.hyperparameters import Choice, Hyperparameters, Integer, LogUniform, Uniform, hyper, in_epochs
from methods.equations import fuse_logits
from models import linear
from models.fusion.base import apply, heads

__all__ = ["DIMML", "certainty_weights", "dimension_scores", "duc_loss", "fuse_logits", "transfer_dims"]

# Equations -----------------------------------------------------------------------------------------------------


def dimension_scores(features: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Compute how well each dimension alone tells the classes apart: the share of samples whose value lies nearest to
    the centre of their own class, [N, D] and int64 [N] -> [D] in [0, 1].

    A centre is the mean of the given samples of a class; classes without samples have none. Ties go to the lowest
    class."""
    values = features.double()
    smallest = torch.full_like(values, torch.inf)
    hits = torch.zeros_like(values, dtype=torch.bool)
    for label in range(num_classes):
        members = labels == label
        if not members.any():
            continue
        distance = (values - values[members].mean(0)).abs()
        hits = torch.where(distance < smallest, members.unsqueeze(1), hits)
        smallest = torch.minimum(smallest, distance)
    return hits.to(torch.promote_types(features.dtype, torch.float32)).mean(0)


def transfer_dims(scores_src: Tensor, scores_dst: Tensor) -> Tensor:
    """Find the dimensions in which one modality can learn from another: effective in the source and not in the
    receiver, [D] each -> bool [D]. Effective are those whose score exceeds the mean over dimensions by more than
    1e-6."""
    effective_src, effective_dst = (scores - scores.mean() > 1e-6 for scores in (scores_src, scores_dst))
    return effective_src & ~effective_dst


def duc_loss(dst: Tensor, src: Tensor, dims: Tensor, tau: float, offset: int = 0) -> Tensor:
    """Compute the dimension-decoupled unidirectional contrastive loss of a receiver's features [b, D], 0-d: the
    source's features [B, D] of the same sample against those of the whole batch, by dot products over the dimensions
    ``dims`` (bool [D]) and the temperature τ.

    The positive of row i is row i + ``offset`` of the source, which receives no gradient. 0 without any dimension. In
    single precision at least. Raises ValueError for tau <= 0."""
    if tau <= 0:
        raise ValueError(f"tau must be positive, got {tau}")
    precision = torch.promote_types(dst.dtype, torch.float32)
    with torch.autocast(dst.device.type, enabled=False):
        received = dst.to(precision) * dims
        similarity = received @ src.detach().to(precision).T / tau
        positives = torch.arange(len(dst), device=dst.device) + offset
        return F.cross_entropy(similarity, positives) * dims.any()


def certainty_weights(logits: list[Tensor], tau: float) -> Tensor:
    """Weigh K heads sample by sample by their largest probability q: softmax over heads of q / τ, K of [B, C] ->
    [K, B], columns of sum 1. Raises ValueError for tau <= 0."""
    if tau <= 0:
        raise ValueError(f"tau must be positive, got {tau}")
    certainties = torch.stack([each.softmax(-1).amax(-1) for each in logits])
    return (certainties / tau).softmax(0)


# Method --------------------------------------------------------------------------------------------------------


class DIMMLHyperparameters(Hyperparameters):
    tau: float = hyper(10.0, symbol="τ", above=0.0, search=LogUniform(1.0, 200.0), only_if=("use_duc", True))
    """temperature of the contrastive loss (published: 10 or 50)"""
    tau_fuse: float = hyper(1.0, symbol="τ_f", above=0.0, search=LogUniform(0.1, 10.0), only_if=("use_certainty", True))
    """temperature of the heads' weights at inference (published: 1 or 3)"""
    align_weight: float = hyper(1.0, symbol="w", low=0.0, search=LogUniform(0.1, 5.0), only_if=("use_align", True))
    """weight of the loss of the classifier that all modalities share"""
    warmup_epochs: float = hyper(
        0.13, symbol="e₀", low=0.0, search=Uniform(0.02, 0.4), only_if=("use_duc", True), epochs=True
    )
    """epochs before the contrastive loss (published: 20 of 150)"""
    refresh_every: float = hyper(0, low=0.0, search=Integer(0, 20), only_if=("use_duc", True), epochs=True)
    """epochs after which dimensions are scored again (0: never)"""
    stage2_epochs: float = hyper(0.13, symbol="E₂", above=0.0, search=Uniform(0.05, 0.3), epochs=True)
    """epochs of the fusion classifier, after the budget (published: 20 beside 150)"""
    use_duc: bool = hyper(True, search=Choice((False, True)))
    """contrastive loss over the dimensions that transfer"""
    use_align: bool = hyper(True, search=Choice((False, True)))
    """classifier that all modalities share"""
    use_certainty: bool = hyper(True, search=Choice((False, True)))
    """heads weighted by their certainty at inference; false: their mean"""
    allow_multi: bool = hyper(True)
    """train three and more modalities, by our own extension; false: refuse them"""


class DIMML(Method[DIMMLHyperparameters]):
    """Every modality has an encoder, a head and a loss of its own, so none competes with another. They meet in two
    ways: a classifier that all share pulls the features into one space, and from some epoch on a modality learns from
    another in those feature dimensions that tell the classes apart in the other but not in itself, by a contrastive
    loss that never reaches the teacher. After the budget a classifier of the concatenated features is trained on frozen
    encoders; it votes beside the modalities' heads, each vote weighted by its certainty.

    Source: Fan et al., ACM Multimedia 2024, by its abstract and official code. For three and more modalities every
    ordered pair has dimensions of its own, and the losses of pairs are divided by M - 1 (our extension). Before the
    fusion classifier is there, the modalities' heads vote alone. An absent modality has no vote, and the fusion
    classifier reads zeros in its place.

    Departures from the official code: the contrastive loss is computed in logarithms, where the code overflows, and is
    0 without a dimension (there log B); centres are those of samples without augmentation; epochs are selected on
    validation data instead of test data.

    Cost: a step of the budget has one forward and one backward, as joint training, 2 M linear heads, and M (M - 1)
    matrices of B x B. Dimensions are scored by one forward pass over the training set, for which all features are held
    together. Beyond the budget, 0.13 of it in forward passes for the fusion classifier, whose epochs alone are
    selected.

    State: the dimensions that transfer, and whether the fusion classifier votes."""

    name = "di_mml"
    title = "Detached and interactive multimodal learning"
    paper = "Fan, Xu, Wang, Liu, Guo: Detached and Interactive Multimodal Learning, ACM MM 2024"
    stages = ("objective",)
    capturable = True
    helpers = ("shared_head", "transferred")
    transferred: Tensor
    """bool [M, M, D]: dimensions in which the second modality learns from the first."""
    fused: Tensor

    @classmethod
    def check(cls, hyperparameters: DIMMLHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        if len(modalities) > 2 and not hyperparameters.allow_multi:
            raise MethodError(
                f"di_mml is defined for two modalities, the dataset gives {len(modalities)}: {', '.join(modalities)}; "
                "allow_multi: true trains our own extension"
            )

    @classmethod
    def phases_of(cls, hyperparameters: DIMMLHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        after = in_epochs(hyperparameters.stage2_epochs, epochs)
        return [
            Phase("modalities", epochs, {"modalities": 1.0}, selectable="none"),
            Phase("fusion", after, {"fusion": 1.0}, budget=False),
        ]

    def build(self) -> None:
        hp, dims, count = self.hyperparameters, self.dims, len(self.dims)
        if len(set(dims)) > 1:
            widths = ", ".join(f"{m} {dim}" for m, dim in zip(self.modalities, dims, strict=True))
            raise MethodError(
                f"di_mml compares features dimension by dimension, so all encoders need one width; they have {widths}"
            )
        self.heads = heads(dims, self.num_classes)
        self.shared_head = linear(dims[0], self.num_classes)
        self.fusion_head = linear(sum(dims), self.num_classes)
        self.pairs = list(permutations(range(count), 2))
        self.warmup, self.refresh = (in_epochs(n, self.epochs) for n in (hp.warmup_epochs, hp.refresh_every))
        self.register_buffer("transferred", torch.zeros(count, count, dims[0], dtype=torch.bool))
        self.register_buffer("fused", torch.tensor(False))

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        return {"modalities": [self.encoders, self.heads, self.shared_head], "fusion": [self.fusion_head]}

    def on_phase_start(self, context: Context) -> None:
        self.fused.fill_(context.phase.name == "fusion")

    # What transfers ----------------------------------------------------------------------------------------------

    def interacting(self, context: Context) -> bool:
        """Tell whether modalities learn from each other in this epoch."""
        return self.hyperparameters.use_duc and context.phase.budget and context.epoch > self.warmup

    def on_epoch_start(self, context: Context) -> None:
        """Score the dimensions when interaction begins, and every ``refresh_every`` epochs."""
        if not self.interacting(context):
            return
        since = context.epoch - 1 - self.warmup
        if since == 0 or (self.refresh and since % self.refresh == 0):
            scores = self.scores(context)
            for source, receiver in self.pairs:
                self.transferred[source, receiver] = transfer_dims(scores[source], scores[receiver])

    def scores(self, context: Context) -> list[Tensor]:
        """Score the dimensions [D] of each modality over the training samples, without augmentation."""
        features, labels = features_of(self, self.encode, context.train_batches(), context)
        return [dimension_scores(each, labels, self.num_classes) for each in features]

    # Losses ------------------------------------------------------------------------------------------------------

    def forward(self, batch: Batch) -> Outputs:
        """Give the logits of the fusion classifier, and of each modality's head."""
        features = self.encode(batch)
        return Outputs(features, self.fusion_head(torch.cat(features, 1)), apply(self.heads, features))

    def loss(self, outputs: Outputs, batch: Batch, context: Context) -> Tensor:
        """Compute the losses of the modalities; after the budget that of the fusion classifier."""
        if not context.phase.budget:
            return super().loss(outputs, batch, context)
        total = torch.stack([F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits]).sum()
        if self.hyperparameters.use_align:
            shared = [F.cross_entropy(self.shared_head(f), batch.labels) for f in outputs.features]
            total = total + self.hyperparameters.align_weight * torch.stack(shared).sum()
        if self.interacting(context):
            total = total + self.interaction(outputs.features, context)
        return total

    def interaction(self, features: list[Tensor], context: Context) -> Tensor:
        """Compute the contrastive losses of all ordered pairs over the joint batch, in sum over M - 1."""
        sources = [context.gather(f.detach()) for f in features]
        found = []
        for source, receiver in self.pairs:
            dims = self.transferred[source, receiver]
            found.append(duc_loss(features[receiver], sources[source], dims, self.hyperparameters.tau, context.offset))
            context.log(f"duc_{self.modalities[source]}_to_{self.modalities[receiver]}", found[-1].detach())
        return torch.stack(found).sum() / (len(features) - 1)

    # Inference ---------------------------------------------------------------------------------------------------

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return self.present_logits(features, self.modalities)

    def predict(self, batch: Batch, present: Sequence[str] | None = None) -> dict[str, Tensor]:
        return self.present_logits(
            self.present_features(batch, present), self.modalities if present is None else present
        )

    def present_logits(self, features: list[Tensor], present: Sequence[str]) -> dict[str, Tensor]:
        """Give the logits of each modality's head, and the weighted sum of those that are ``present`` and, once it is
        trained, of the fusion classifier."""
        unimodal = dict(zip(self.modalities, apply(self.heads, features), strict=True))
        voting = [logits for modality, logits in unimodal.items() if modality in present]
        if self.fused:
            voting.append(self.fusion_head(torch.cat(features, 1)))
        # Without certainty the weights are those of an infinite temperature.
        tau = self.hyperparameters.tau_fuse if self.hyperparameters.use_certainty else torch.inf
        return {MULTI: fuse_logits(voting, certainty_weights(voting, tau)), **unimodal}

    def diagnostics(self) -> dict[str, float]:
        """For each ordered pair the share of dimensions in which the second modality learns from the first; while they
        learn, the contrastive loss of the pair."""
        shares = self.transferred.float().mean(-1).tolist()
        names = self.modalities
        return {f"transferred_{names[p]}_to_{names[m]}": shares[p][m] for p, m in self.pairs}
