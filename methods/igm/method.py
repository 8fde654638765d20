"""The method IGM."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Batch
from methods.base import MULTI, Context, Method, Phase, evaluating
from methods.base.hyperparameters import in_epochs
from methods.equations.entropy import fuse_logits, fusion_weights
from methods.igm.equations import (
    accumulate_cov,
    convolution,
    layers_in_scope,
    modifiable,
    project_gradient,
    projection_matrix,
    resolves,
    sam_perturbation,
    source_modality,
)
from methods.igm.hyperparameters import IGMHyperparameters, check_names
from methods.igm.mixup import Mixed, mixed_batch
from methods.igm.turns import Turn, turns
from models import linear
from models.batchnorm import frozen_statistics
from models.fusion import late_average


class IGM(Method[IGMHyperparameters]):
    """Modalities take turns: each is trained alone for a phase, encoder and head, round and round. The gradient of a
    layer is multiplied by a matrix made of the inputs that the same layer had in the modality trained before: steps
    along that one's flat directions pass, steps along its sharp ones shrink, and none is blocked. Sharpness-aware steps
    make the flat directions mean something. Predictions are fused at inference, by each modality's entropy.

    Source: Jiang, Chi, Yang, IJCAI 2025: covariance (eq. 2), matrix T (4), modified step (9), Algorithm 1; the fusion
    is MLA's (``methods.mla``).

    Departures from the official code: a sharpness-aware step perturbs the whole branch by one norm and takes it back
    exactly (the code perturbs tensor by tensor, the head alone has an effect, and the noise stays); its loss is that at
    the perturbed weights (the code adds 0.7 of the plain one: ``flat_ratio: 0.3``), with mixed labels in both losses
    where ``mixup_alpha`` asks for mixing at all (the code mixes those of one); a phase goes on from the last weights,
    not from the best test epoch; convolutions are modified too where ``gm_scope`` reaches them; equal eigenvalues give
    the identity, not NaN; modalities are fused by entropy (``late_fusion: mean`` is the code's).

    Cost: two forwards and two backwards of one branch a step (one and one with ``use_sam: false``); after a phase one
    forward of that branch over the training set and an eigendecomposition, O(d^3), for each modified layer of d inputs.
    A published radius moves hardly any float32 weight, so that the second pass buys rounding alone: ``sam_pass: auto``
    then leaves it out (one and one). It is decided once for each branch, by the weights before training, and the log
    says so; ``sam_pass: always`` takes it as the paper has it.

    An epoch of the loop trains one branch for one pass over the data; metrics of the epochs whose diagnostic
    ``phase_end`` is 1 are the rows of the paper's interaction table.

    State: T for the next modality, and C with ``cov_accumulate``, by "modality.path" of a layer; the modalities whose
    second pass is left out."""

    name = "igm"
    title = "Interactive learning via flat gradient modification"
    paper = "Jiang, Chi, Yang: Flat Gradient Modification, IJCAI 2025"
    stages = ("optimization",)

    def build(self) -> None:
        hp = self.hyperparameters
        self.heads = nn.ModuleDict()
        for m, width in zip(self.modalities, self.dims, strict=True):
            self.heads[m] = nn.Sequential(linear(width, 256), nn.ReLU(), linear(256, 64), linear(64, self.num_classes))
        self.order = tuple(hp.modality_order or self.modalities)
        self.modified = {m: self._modified_layers(m) for m in self.order}
        self.matrices: dict[str, Tensor] = {}
        self.covariances: dict[str, Tensor] = {}
        self.unresolved: frozenset[str] = frozenset()
        """Modalities whose weights cannot resolve the radius, so that their steps are plain ones."""
        self._moved: Tensor | float | None = None
        self._diagnostics: dict[str, float] = {}

    # The step ----------------------------------------------------------------------------------------------------

    def training_step(self, batch: Batch, context: Context) -> Tensor:
        modality = self.turn(context).modality
        mixed = mixed_batch(batch, modality, self.hyperparameters.mixup_alpha, context)
        loss = self._backward(modality, mixed, context)
        if self.hyperparameters.use_sam and modality not in self.unresolved:
            self._sharpness_aware(modality, mixed, context)
        self.modify_gradients(modality)
        context.optimizer_step()
        return loss

    def _backward(self, modality: str, mixed: Mixed, context: Context) -> Tensor:
        context.zero_grad()
        with context.autocast():
            logits = self.branch_logits(modality, mixed.batch)
            loss = F.cross_entropy(logits, mixed.batch.labels)
            if mixed.share < 1:
                loss = mixed.share * loss + (1 - mixed.share) * F.cross_entropy(logits, mixed.partner_labels)
        context.backward(loss)
        return loss.detach()

    def _sharpness_aware(self, modality: str, mixed: Mixed, context: Context) -> None:
        """Replace the branch's gradients by those at ω + ε*; the weights come back bit by bit."""
        hp, branch = self.hyperparameters, self.branch(modality)
        trained = [(p, p.grad, p.detach().clone()) for p in branch.parameters() if p.grad is not None]
        shifts = sam_perturbation([gradient for _, gradient, _ in trained], hp.radius(modality), hp.sam_per_tensor)
        with torch.no_grad():
            for (parameter, _, _), shift in zip(trained, shifts, strict=True):
                parameter.add_(shift)
            if self._moved is None:
                moved = [(parameter != weight).sum() for parameter, _, weight in trained]
                self._moved = torch.stack(moved).sum() / sum(weight.numel() for _, _, weight in trained)
        with frozen_statistics(branch):
            self._backward(modality, mixed, context)
        with torch.no_grad():
            for parameter, gradient, weight in trained:
                parameter.copy_(weight)
                self._add_plain_gradient(parameter, gradient)

    def modify_gradients(self, modality: str) -> None:
        """Multiply the gradients of a modality's weights by its predecessor's matrices, where there are any yet."""
        source = self.predecessor(modality)
        for path in self.modified[modality]:
            weight, matrix = self.weight(modality, path), self.matrices.get(f"{source}.{path}")
            if weight.grad is not None and matrix is not None:
                weight.grad = project_gradient(weight.grad, matrix)

    # The matrices of a modality, after its phase -----------------------------------------------------------------

    def on_epoch_end(self, context: Context) -> None:
        """Make the matrices of a modality for the next one, after its phase."""
        modality = self.turn(context).modality
        if context.phase_epoch < context.phase.epochs:
            return
        for path, cov in self.covariance_pass(modality, context).items():
            key = f"{modality}.{path}"
            if self.hyperparameters.cov_accumulate:
                cov = self.covariances[key] = cov + self.covariances.get(key, 0)
            # From one worker: eigenvectors of equal matrices may differ between machines.
            self.matrices[key] = context.broadcast(projection_matrix(cov, self.hyperparameters.tau))
            if path.startswith("head."):
                # C has no negative eigenvalue, so its mean singular value is its mean diagonal.
                self._diagnostics[f"mean_singular_value_{path}"] = float(cov.diagonal().mean())

    @torch.no_grad()
    def covariance_pass(self, modality: str, context: Context) -> dict[str, Tensor]:
        """Sum C [d, d] by path for each layer of ``modality`` whose partner in the next modality is modified, over the
        joint batches of one shuffled pass, in evaluation mode."""
        hp = self.hyperparameters
        successor = next(m for m in self.order if self.predecessor(m) == modality)
        weights = {path: self.weight(modality, path) for path in self.modified[successor]}
        if not weights:
            return {}
        found = {path: weight.new_zeros(2 * [weight[0].numel()]) for path, weight in weights.items()}

        def watch(path: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            found[path] = accumulate_cov(found[path], inputs[0], convolution(layer), hp.cov_mode)

        layers = {path: self.branch(modality).get_submodule(path) for path in found}
        handles = [layer.register_forward_pre_hook(partial(watch, path)) for path, layer in layers.items()]
        order = torch.randperm(context.train_size, generator=context.generator("igm covariance", context.epoch))
        index = order[: hp.cov_batches and hp.cov_batches * hp.cov_batch_size]
        batches = context.train_batches(hp.cov_batch_size, index=index, shard=False, passes=1 / len(self.order))
        with evaluating(self):
            for number, batch in enumerate(batches):
                # Workers take whole joint batches in turn: a batch mean then never needs another worker.
                if number % context.world_size == context.rank:
                    self.branch_logits(modality, batch)
        for handle in handles:
            handle.remove()
        return {path: context.sum(cov) for path, cov in found.items()}

    # Whose turn it is --------------------------------------------------------------------------------------------

    @classmethod
    def phases_of(cls, hyperparameters: IGMHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        hp, order = hyperparameters, hyperparameters.modality_order or modalities
        share = max(1, epochs // hp.out_iters)
        lengths = [in_epochs(n, epochs) for n in hp.inner_epochs or [share] * len(order)]
        return turns(order, lengths, hp.out_iters, passes=(2.0 if hp.use_sam else 1.0) / len(order))

    def cannot_resolve(self, context: Context) -> list[str]:
        """List the modalities whose weights cannot resolve the radius."""
        weights = {m: list(self.branch(m).parameters()) for m in self.modalities}
        found = torch.stack([resolves(each, self.hyperparameters.radius(m)) for m, each in weights.items()])
        # As one worker finds it: processors differ in last digits.
        return [m for m, can in zip(weights, context.broadcast(found).tolist(), strict=True) if not can]

    def leave_out(self, modalities: Iterable[str]) -> None:
        """Take plain steps for modalities whose weights cannot resolve the radius."""
        self.unresolved, passes = frozenset(modalities), 2.0 if self.hyperparameters.use_sam else 1.0
        for place, phase in enumerate(self.phases):
            taken = 1.0 if phase.info.modality in self.unresolved else passes
            self.phases[place] = replace(phase, passes=taken / len(self.order))

    def groups(self) -> dict[str, list[nn.Module | nn.Parameter]]:
        return {m: [self.encoders[m], self.heads[m]] for m in self.modalities}

    @staticmethod
    def turn(context: Context) -> Turn:
        """Tell whose turn it is."""
        turn: Turn = context.phase.info
        return turn

    def predecessor(self, modality: str) -> str:
        """Tell the modality trained before, in the cycle."""
        return self.order[source_modality(self.order.index(modality) + 1, len(self.order)) - 1]

    def on_epoch_start(self, context: Context) -> None:
        turn = self.turn(context)
        self._diagnostics = {
            "cycle": turn.cycle,
            "phase": turn.number,
            "phase_end": int(context.phase_epoch == context.phase.epochs),
            "modality": self.modalities.index(turn.modality),
        }
        self._moved = 0.0 if turn.modality in self.unresolved else None

    # Branches and their layers -----------------------------------------------------------------------------------

    def branch(self, modality: str) -> nn.ModuleDict:
        """Join encoder and head of a modality; equal paths inside two branches are layers of the same role."""
        return nn.ModuleDict({"encoder": self.encoders[modality], "head": self.heads[modality]})

    def branch_logits(self, modality: str, batch: Batch) -> Tensor:
        """Give the logits [B, C] of one branch; the others are not touched."""
        return self.heads[modality](self.feature_of(modality, batch))

    def weight(self, modality: str, path: str) -> nn.Parameter:
        return self.branch(modality).get_parameter(f"{path}.weight")

    def layers_in_scope(self, modality: str) -> dict[str, nn.Module]:
        """List the layers within ``gm_scope`` by path, from input to output (in the order of declaration)."""
        scope = self.hyperparameters.gm_scope
        layers = dict(self.branch(modality).named_modules())
        counts = {path: sum(p.numel() for p in layer.parameters(recurse=False)) for path, layer in layers.items()}
        counts = {path: count for path, count in counts.items() if count > 0}
        in_head = [path.startswith("head.") for path in counts]
        marks = in_head if scope == "head" else layers_in_scope(list(counts.values()), scope)
        return {path: layers[path] for path, marked in zip(counts, marks, strict=True) if marked}

    def _modified_layers(self, modality: str) -> list[str]:
        """List the paths of the layers whose gradient the predecessor's matrices modify: in scope, of a kind that can
        be, with a partner of the same path and shape."""
        source, hp = self.predecessor(modality), self.hyperparameters
        if hp.tau == 0 or not hp.gm_from.get(source, True):
            return []
        partners = {path for path, layer in self.branch(source).named_modules() if modifiable(layer)}
        scope = self.layers_in_scope(modality)
        pairs = [path for path, layer in scope.items() if modifiable(layer) and path in partners]
        return [path for path in pairs if self.weight(modality, path).shape == self.weight(source, path).shape]

    # Inference ---------------------------------------------------------------------------------------------------

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        logits = [head(feature) for head, feature in zip(self.heads.values(), features, strict=True)]
        mla = self.hyperparameters.late_fusion == "mla"
        fused = fuse_logits(logits, fusion_weights(logits)) if mla else late_average(logits, "probs")
        return {MULTI: fused, **dict(zip(self.modalities, logits, strict=True))}

    # As the official code does -----------------------------------------------------------------------------------

    @property
    def capturable(self) -> bool:
        """Tell whether no step mixes samples, which draws anew in each."""
        return not self.hyperparameters.mixup_alpha

    def _add_plain_gradient(self, parameter: nn.Parameter, gradient: Tensor) -> None:
        """Leave ``flat_ratio`` of a parameter's gradient, and take the rest from the plain one."""
        share = self.hyperparameters.flat_ratio
        if share < 1 and parameter.grad is not None:
            parameter.grad.mul_(share).add_(gradient, alpha=1 - share)

    # Checks, warnings, state, diagnostics ------------------------------------------------------------------------

    @classmethod
    def check(cls, hyperparameters: IGMHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        check_names(hyperparameters, modalities)

    def on_fit_start(self, context: Context) -> None:
        hp = self.hyperparameters
        if hp.use_sam and hp.sam_pass == "auto":
            self.leave_out(self.cannot_resolve(context))
        smallest, plain = min(map(hp.radius, self.order)), ", ".join(sorted(self.unresolved))
        if plain or (hp.use_sam and smallest < 1e-5 and next(self.parameters()).dtype != torch.float64):
            left_out = f"steps of {plain} are plain ones (sam_pass: always takes their second pass)"
            context.warn(
                f"igm: rho {smallest:g} lies below the resolution of the weights, so "
                f"{left_out if plain else 'sharpness-aware steps change little but rounding'}; for an effect search "
                "rho in [1e-3, 0.5] (usual: 0.05)"
            )
        scope = [layer for m in self.order for layer in self.layers_in_scope(m).values() if not modifiable(layer)]
        # Parameters of one dimension are those of normalisation, which is never modified and needs no remark.
        if kinds := {type(x).__name__ for x in scope if any(p.ndim > 1 for p in x.parameters(recurse=False))}:
            context.warn(
                f"igm: gradients of {', '.join(sorted(kinds))} in scope stay unmodified; only Linear and Conv2d (one "
                "group, no dilation, equal zero padding on both sides) can be"
            )

    def get_extra_state(self) -> list[Any]:
        return [dict(self.matrices), dict(self.covariances), sorted(self.unresolved)]

    def set_extra_state(self, state: Any) -> None:
        device = next(self.parameters()).device
        self.matrices, self.covariances = ({key: x.to(device) for key, x in part.items()} for part in state[:2])
        # A state of two parts is from before passes were left out.
        self.leave_out(state[2] if len(state) > 2 else ())

    def diagnostics(self) -> dict[str, float]:
        """Number of the cycle and of the phase (from 1), whether the phase ends with this epoch (0 or 1), position of
        its modality in the dataset (from 0); with sharpness-aware steps the share of the branch's weights that the
        epoch's first perturbation moved (0 where its pass is left out); at a phase's end the mean singular value of C
        for each layer of the head that has a partner."""
        moved = {} if self._moved is None else {"weights_moved": float(self._moved)}
        return self._diagnostics | moved
