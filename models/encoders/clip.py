"""CLIP for images and texts: the two branches of the transformers library's network, each on its own.

Radford et al., "Learning Transferable Visual Models from Natural Language Supervision", ICML 2021; ViT-B/16."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from models.encoders._hub import Architecture, HubOptions, apply, build
from models.encoders._text import TextEncoder, never_empty, pairs
from models.encoders.base import Encoder, Shape, all_count

Feature = Literal["projected", "hidden"]
_FEATURE = "projected into the space that both branches share, or the hidden state before that"
_SIZES = {
    "depth": ("num_hidden_layers", 12),
    "hidden": ("intermediate_size", 3072),
    "projection": ("projection_dim", 512),
    "activation": ("hidden_act", "quick_gelu"),
}
_FIXED = {"layer_norm_eps": 1e-5, "attention_dropout": 0.0}


class CLIPImageOptions(HubOptions):
    feature: Feature = Field("projected", description=_FEATURE)
    width: int = Field(768, ge=1, le=16_384, description="numbers of a token, and of the hidden feature")
    depth: int = Field(12, ge=1, le=1_000, description="layers")
    heads: int = Field(12, ge=1, le=1_000, description="attention heads; they divide the width")
    hidden: int = Field(3072, ge=1, le=65_536, description="units between the two linear layers of every layer")
    projection: int = Field(512, ge=1, le=16_384, description="numbers of the projected feature")
    size: int = Field(224, ge=1, le=4_096, description="pixels of a side of the images")
    patch: int = Field(16, ge=1, le=4_096, description="pixels of a side of a patch")
    activation: Literal["quick_gelu", "gelu"] = Field("quick_gelu", description="between two linear layers")

    architecture = Architecture(
        kinds=("clip", "clip_vision_model"),
        sizes={
            **_SIZES,
            "width": ("hidden_size", 768),
            "heads": ("num_attention_heads", 12),
            "size": ("image_size", 224),
            "patch": ("patch_size", 32),
        },
        fixed={**_FIXED, "num_channels": 3},
        section="vision_config",
        above=("projection_dim",),
        elsewhere=(
            "text_model.",
            "text_projection.",
            "visual_projection.",
            "logit_scale",
            "vision_model.embeddings.position_ids",
        ),
    )


class CLIPTextOptions(HubOptions):
    feature: Feature = Field("projected", description=_FEATURE)
    width: int = Field(512, ge=1, le=16_384, description="numbers of a token, and of the hidden feature")
    depth: int = Field(12, ge=1, le=1_000, description="layers")
    heads: int = Field(8, ge=1, le=1_000, description="attention heads; they divide the width")
    hidden: int = Field(2048, ge=1, le=65_536, description="units between the two linear layers of every layer")
    projection: int = Field(512, ge=1, le=16_384, description="numbers of the projected feature")
    vocabulary: int = Field(49408, ge=2, le=2_000_000, description="number of token ids; the highest one ends a text")
    positions: int = Field(77, ge=1, le=100_000, description="tokens that a text may have at most")
    activation: Literal["quick_gelu", "gelu"] = Field("quick_gelu", description="between two linear layers")

    architecture = Architecture(
        kinds=("clip", "clip_text_model"),
        sizes={
            **_SIZES,
            "hidden": ("intermediate_size", 2048),
            "width": ("hidden_size", 512),
            "heads": ("num_attention_heads", 8),
            "vocabulary": ("vocab_size", 49408),
            "positions": ("max_position_embeddings", 77),
        },
        fixed=_FIXED,
        section="text_config",
        above=("projection_dim",),
        elsewhere=(
            "vision_model.",
            "visual_projection.",
            "text_projection.",
            "logit_scale",
            "text_model.embeddings.position_ids",
        ),
    )


class CLIPImage(Encoder):
    """Images [3, size, size] through CLIP's Vision Transformer; the feature is that of the class token."""

    name = "clip_image"
    Options = CLIPImageOptions

    def __init__(self, shape: Shape, options: CLIPImageOptions | None = None) -> None:
        super().__init__()
        options = options or CLIPImageOptions()
        self.require(shape, options)
        from transformers import CLIPVisionModel, CLIPVisionModelWithProjection

        kind = CLIPVisionModelWithProjection if options.feature == "projected" else CLIPVisionModel
        self.backbone = build(kind, options, {})
        self.output, self.out_dim = _feature(options, "image_embeds")
        self.width = options.width

    @classmethod
    def fits(cls, shape: Shape, options: CLIPImageOptions) -> bool:
        return shape == (3, options.size, options.size)

    @classmethod
    def takes(cls, options: CLIPImageOptions) -> str:
        return f"[3, {options.size}, {options.size}]"

    @property
    def token_dim(self) -> int:
        return self.width

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, H, W] -> [B, 1 + L, width]: the last hidden states of class token and patches."""
        return all_count(apply(self.backbone, "last_hidden_state", pixel_values=x))

    def forward(self, x: Tensor) -> Tensor:
        """[B, 3, H, W] -> [B, out_dim]."""
        return apply(self.backbone, self.output, pixel_values=x)


class CLIPText(TextEncoder):
    """Tokens of texts [2, L] (ids, attention mask) through CLIP's text branch; the feature is that of the token that
    ends the text, which has the highest id."""

    name = "clip_text"
    Options = CLIPTextOptions

    def __init__(self, shape: Shape, options: CLIPTextOptions | None = None) -> None:
        options = options or CLIPTextOptions()
        super().__init__(shape, options)
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        kind = CLIPTextModelWithProjection if options.feature == "projected" else CLIPTextModel
        # 2 is the library's word for "the token of the highest id", which the published network was trained with.
        self.backbone = build(kind, options, {"eos_token_id": 2})
        self.output, self.out_dim = _feature(options, "text_embeds")
        self.width = options.width

    @property
    def token_dim(self) -> int:
        return self.width

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 2, L] -> [B, L, width]: the last hidden states; padding does not count."""
        return self._run(x, "last_hidden_state")

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2, L] -> [B, out_dim]."""
        return self._run(x, self.output)[0]

    def _run(self, x: Tensor, output: str) -> tuple[Tensor, Tensor]:
        """Compute an output of the library's model, and which tokens are attended to, bool [B, L]."""
        ids, mask = self.split(x)
        seen = never_empty(mask)
        return apply(self.backbone, output, input_ids=ids, attention_mask=pairs(seen, causal=True)), seen


def _feature(options: CLIPImageOptions | CLIPTextOptions, projected: str) -> tuple[str, int]:
    """Name the feature as the library does, with its width."""
    return (projected, options.projection) if options.feature == "projected" else ("pooler_output", options.width)
