"""The method MokA."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from data.base import Batch
from methods.base import MULTI, Method, MethodError, Outputs, Phase
from methods.base.hyperparameters import in_epochs
from methods.moka.adapters import Adaptation, AdaptedLinear, SequenceRoles, adapt
from methods.moka.equations import PADDING
from methods.moka.hyperparameters import MokAHyperparameters
from models import linear, unknown
from models.backbones import Backbone, ClassTokenTransformer, PretrainedTransformer, keep_constant, magnitude
from models.fusion import marked_tokens
from models.fusion.base import one_at_a_time

PROJECTORS, ADAPTERS, BACKBONE, ENCODERS = "projectors", "adapters", "backbone", "encoders"


class MokA(Method[MokAHyperparameters]):
    """One transformer reads the tokens of all modalities, and is adapted by small matrices beside its linear layers:
    each projects a token down, and up again. Plain LoRA has one projection down, which the strongest modality shapes.
    Here every modality has its own; the projected tokens of the others then read those of the anchor, usually text, by
    an attention without weights; and one projection up, shared by all, adds the result to what the layer gives.

    The tokens are the encoders', brought to the transformer's width by a linear projector a modality; of a text that a
    pretrained transformer reads they are the rows of its own table, and of its encoder, which may be the smallest one,
    only the vocabulary counts: the data's tokenizer has to be the transformer's. The anchor's tokens come last. A
    linear head reads the class token, or the mean of all tokens. Logits of one modality are those with the tokens of
    the others as padding.

    Source: Wei et al., NeurIPS 2025, by its official code and the equations of its project page. Our own transformer,
    its class token, which belongs to no modality and is not adapted, unimodal logits, and an anchor that is no text
    are our extensions. No data here mark a question, so that all tokens of the anchor are attended to. Encoders train,
    unless ``freeze_encoders``; without ``freeze_backbone`` the transformer trains beside its adapters. ``adapter:
    lora`` and ``adapter: none``, with a backbone that trains, are the references.

    Departures from the official code: one projection up, no second one that nothing uses; α/r after it, which
    ``scale_before_attention`` changes to that of the audio-visual-text code; a first stage (``projector_epochs``) that
    trains projectors and head on the data's own labels.

    Cost: a step is one forward and backward of encoders and backbone, with M r D + r D' weights beside a layer of D
    inputs and D' outputs (LoRA: r D + r D'), and r of attention for each token of the anchor and each of the others.
    Predictions need 1 + M forwards of the backbone, each over the tokens of its modalities. ``projector_epochs`` come
    beside the budget.

    State: nothing beside weights; those of a frozen backbone are neither kept nor exported, but read again from
    ``pretrained``, with a sum by which another backbone is noticed."""

    name = "moka"
    title = "Multimodal low-rank adaptation"
    paper = "Wei, Miao, Zhou, Hu: MokA, NeurIPS 2025"
    stages = ("feed-forward",)
    backbone: Backbone
    frozen_sum: Tensor

    @classmethod
    def check(cls, hyperparameters: MokAHyperparameters, modalities: tuple[str, ...]) -> None:
        super().check(hyperparameters, modalities)
        hp = hyperparameters
        if hp.freeze_backbone and hp.pretrained is None:
            raise MethodError(
                "moka: freeze_backbone would keep random weights for ever; name a pretrained backbone, or use "
                "freeze_backbone: false"
            )
        if hp.pretrained is None and (hp.width % hp.heads or hp.width % 2):
            raise MethodError(f"moka: width {hp.width} has to be even, and a multiple of its {hp.heads} heads")
        if hp.anchor_modality not in (None, *modalities):
            raise MethodError(f"moka: anchor_modality: {unknown('modality', hp.anchor_modality, modalities)}")
        for named in hp.lambda_ if isinstance(hp.lambda_, dict) else ():
            if named not in modalities:
                raise MethodError(f"moka: lambda_: {unknown('modality', named, modalities)}")

    @classmethod
    def world_size_matters(cls, hyperparameters: MokAHyperparameters) -> bool:
        """Tell whether the adapters drop at random."""
        return hyperparameters.adapter != "none" and hyperparameters.lora_dropout > 0

    @classmethod
    def phases_of(cls, hyperparameters: MokAHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
        hp = hyperparameters
        learning = {
            PROJECTORS: True,
            ADAPTERS: hp.adapter != "none",
            BACKBONE: not hp.frozen,
            ENCODERS: not hp.freeze_encoders,
        }
        first = Phase(
            "projectors",
            in_epochs(hp.projector_epochs, epochs),
            {PROJECTORS: 1.0},
            selectable="none",
            budget=False,
            validate=False,
        )
        return [first, Phase("training", epochs, {group: 1.0 for group, learns in learning.items() if learns})]

    # What is built -----------------------------------------------------------------------------------------------

    def build(self) -> None:
        hp = self.hyperparameters
        for modality, encoder in self.encoders.items():
            if not hasattr(encoder, "tokens"):
                raise MethodError(f"moka reads the tokens of encoders, which that of {modality} does not give")
        self.anchor = self.modalities.index(hp.anchor_modality or self.usual_anchor())
        self.adaptation = self.built_adaptation()
        self.backbone = self.built_backbone()
        self.projectors = nn.ModuleDict(
            {m: linear(e.token_dim, self.backbone.width) for m, e in self.encoders.items() if not self.by_table(m)}  # type: ignore[arg-type]
        )
        self.head = linear(self.backbone.width, self.num_classes)

    def usual_anchor(self) -> str:
        """Name the first modality whose encoder reads a text; the first one, where none does."""
        texts = [m for m, encoder in self.encoders.items() if getattr(encoder, "reads_tokens", False)]
        return [*texts, *self.modalities][0]

    def built_backbone(self) -> Backbone:
        """Build the backbone with its adapters. Raises MethodError where it cannot be had, or does not fit."""
        hp = self.hyperparameters
        try:
            backbone = (
                ClassTokenTransformer(hp.width, hp.depth, hp.heads)
                if hp.pretrained is None
                else PretrainedTransformer(hp.pretrained)
            )
            if hp.frozen:
                self.register_buffer("frozen_sum", magnitude(backbone))
                keep_constant(backbone)
            if hp.adapter != "none":
                adapt(backbone.blocks, self.adaptation, hp.target_modules)
        except ValueError as error:
            raise MethodError(f"moka: {error}") from error
        return backbone

    def built_adaptation(self) -> Adaptation:
        """Make what the adapters share. Plain LoRA is MokA of a single modality."""
        hp = self.hyperparameters
        if hp.adapter != "moka":
            return Adaptation(1, hp.rank, hp.lora_alpha, hp.lora_dropout)
        given = hp.lambda_ if isinstance(hp.lambda_, dict) else dict.fromkeys(self.modalities, hp.lambda_)
        strengths = [given.get(m, 1.0) for m in self.modalities]
        return Adaptation(
            len(strengths), hp.rank, hp.lora_alpha, hp.lora_dropout, strengths, self.anchor, hp.scale_before_attention
        )

    def by_table(self, modality: str) -> bool:
        """Tell whether a modality is a text that enters by the backbone's own table. Raises MethodError where the table
        is for fewer ids."""
        encoder, backbone = self.encoders[modality], self.backbone
        if not isinstance(backbone, PretrainedTransformer) or not getattr(encoder, "reads_tokens", False):
            return False
        rows = backbone.table.num_embeddings
        if encoder.vocabulary > rows:  # type: ignore[operator]
            raise MethodError(
                f"moka: the encoder of {modality} has a vocabulary of {encoder.vocabulary}, the backbone of {rows}; "
                f"use the backbone's tokenizer, and an encoder with vocabulary: {rows}"
            )
        return True

    def groups(self) -> Mapping[str, Sequence[nn.Module | nn.Parameter]]:
        adapters = [
            parameter
            for layer in self.backbone.modules()
            if isinstance(layer, AdaptedLinear)
            for parameter in layer.own_parameters
        ]
        taken = {id(parameter) for parameter in adapters}
        return {
            PROJECTORS: [self.projectors, self.head],
            ADAPTERS: adapters,
            BACKBONE: [parameter for parameter in self.backbone.parameters() if id(parameter) not in taken],
            ENCODERS: [self.encoders],
        }

    def load_inference_state(self, state: Mapping[str, Any]) -> None:
        """Load what :meth:`inference_state` gave. Raises ValueError where ``pretrained`` holds another frozen backbone
        than it did then, beside the reasons of the default."""
        found, then = (self.frozen_sum, state.get("frozen_sum")) if self.hyperparameters.frozen else (None, None)
        if found is not None and then is not None and not torch.isclose(found, then.to(found), rtol=1e-9):
            raise ValueError(f"{self.hyperparameters.pretrained} holds another backbone than was trained with")
        super().load_inference_state(state)

    # Forward passes ----------------------------------------------------------------------------------------------

    def encode(self, batch: Batch) -> list[Tensor]:
        """Give the tokens of each modality, [B, L_m, D + 1], the last number of which is 0 where there is none."""
        return [self.tokens_of(modality, batch) for modality in self.modalities]

    def tokens_of(self, modality: str, batch: Batch) -> Tensor:
        """Give the tokens of one modality, as :meth:`encode`."""
        encoder, x = self.encoders[modality], batch.inputs[modality]
        if modality in self.projectors:
            tokens, counted = encoder.tokens(x)  # type: ignore[operator]
            tokens = self.projectors[modality](tokens)
        else:
            ids, counted = encoder.split(x)  # type: ignore[operator]
            tokens = self.backbone.table(ids)  # type: ignore[operator]
        there = batch.present.get(modality)
        return marked_tokens(tokens, counted if there is None else counted & there.unsqueeze(1))

    def forward(self, batch: Batch) -> Outputs:
        """Give tokens and fused logits, all that the objective needs."""
        features = self.encode(batch)
        return Outputs(features, self.logits_of(features))

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        alone = zip(self.modalities, one_at_a_time(features), strict=True)
        return {MULTI: self.logits_of(features), **{m: self.logits_of(each) for m, each in alone}}

    def logits_of(self, features: list[Tensor]) -> Tensor:
        """Compute the logits [B, C] of marked tokens, as :meth:`encode` gives them."""
        numbers = [m for m in range(len(features)) if m != self.anchor] + [self.anchor]
        sequence = torch.cat([features[m] for m in numbers], dim=1)
        ids = torch.cat([torch.full(features[m].shape[1:2], m, device=sequence.device) for m in numbers])
        count = len(sequence)
        if not count:
            # A share without samples; the library's models cannot run on nothing.
            sequence = sequence.new_zeros(1, *sequence.shape[1:])
        mask = sequence[..., -1] > 0
        places = self.places_in_use(mask)
        sequence, mask = sequence[:, places], mask[:, places]
        with self.adaptation.of(self.roles(ids[places], mask), training=self.training):
            feature = self.backbone(sequence[..., :-1], mask, places)
        logits: Tensor = self.head(feature[:count])
        return logits

    def places_in_use(self, mask: Tensor) -> Tensor:
        """Find the places of a sequence, of [B, L], that hold a token in any sample, at least one: [L']. In training on
        an accelerator, where a look at them holds up every step, those are all."""
        everywhere = torch.arange(mask.shape[1], device=mask.device)
        if self.training and mask.device.type != "cpu":
            return everywhere
        found = everywhere[mask.any(0)]
        return found if len(found) else everywhere[:1]

    def roles(self, modality_ids: Tensor, mask: Tensor) -> SequenceRoles:
        """Tell the adapters of ids [L] and the mask of tokens, bool [B, L], with what the backbone puts in front."""
        ids = modality_ids.where(mask, PADDING)
        ids = torch.cat([ids.new_full((len(ids), self.backbone.front), PADDING), ids], dim=1)
        keys = ids == self.anchor
        return SequenceRoles(ids if self.hyperparameters.adapter == "moka" else ids.clamp_max(0), keys)
