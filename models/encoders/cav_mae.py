"""CAV-MAE for log-mel filter banks: the audio branch of a masked autoencoder of sound and picture.

Gong et al., "Contrastive Audio-Visual Masked Autoencoder", ICLR 2023. Its checkpoints load as they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from pydantic import Field
from torch import Tensor, nn

from models import small
from models.encoders._vit import Block, TransformerOptions
from models.encoders.base import Encoder, Shape, all_count
from models.encoders.checkpoints import Renaming, load_weights, local_weights, rename
from models.positions import grid_sines


class CAVMAEOptions(TransformerOptions):
    depth: int = Field(
        12, ge=1, le=1_000, description="blocks; in checkpoints the last one is shared with the picture branch"
    )
    mean: float = Field(-5.081, description="taken from every number of the filter bank")
    deviation: float = Field(4.4849, gt=0, description="which every number is then divided by")
    positions: Literal["trainable", "frozen"] = Field(
        "trainable", description="table of positions: trained from sines and cosines on, as in fine-tuning, or fixed"
    )
    patch: int = Field(16, ge=1, le=4_096, description="bands, and frames, of a patch")


class CAVMAE(Encoder):
    """Patches of filter banks [1, frames, bands] (10 s: 1024 x 128) through the blocks; the feature is the mean of all
    tokens, for the published size 8 x 64 = 512 of them."""

    name = "cav_mae"
    Options = CAVMAEOptions
    positions: Tensor

    def __init__(self, shape: Shape, options: CAVMAEOptions | None = None) -> None:
        super().__init__()
        options = options or CAVMAEOptions()
        patch, width = options.patch, options.width
        self.require(shape, options)
        self.mean, self.deviation = options.mean, options.deviation
        self.patch_embed = nn.Conv2d(1, width, patch, stride=patch)
        nn.init.xavier_uniform_(self.patch_embed.weight.view(width, -1))
        self.modality = small(1, 1, width)
        table = grid_sines(shape[2] // patch, shape[1] // patch, width).unsqueeze(0)
        if options.positions == "trainable":
            self.positions = nn.Parameter(table)
        else:
            self.register_buffer("positions", table)
        self.blocks = nn.ModuleList(Block(width, options.heads) for _ in range(options.depth))
        self.final_norm = nn.LayerNorm(width)
        self.out_dim = width
        if options.pretrained is not None:
            weights = local_weights(options.pretrained)
            load_weights(self, rename(weights, _names(weights))).tell(options.pretrained)

    @classmethod
    def fits(cls, shape: Shape, options: CAVMAEOptions) -> bool:
        return len(shape) == 3 and shape[0] == 1 and min(shape) >= 1 and not any(n % options.patch for n in shape[1:])

    @classmethod
    def takes(cls, options: CAVMAEOptions) -> str:
        return f"filter banks [1, frames, bands], frames and bands multiples of {options.patch}"

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 1, frames, bands] -> [B, L, D], the lowest bands' patches first."""
        return all_count(self._encode(x))

    def _encode(self, x: Tensor) -> Tensor:
        maps = self.patch_embed(((x - self.mean) / self.deviation).transpose(2, 3))
        x = maps.flatten(2).transpose(1, 2) + self.positions + self.modality
        for block in self.blocks:
            x = block(x)
        return self.final_norm(x)

    def forward(self, x: Tensor) -> Tensor:
        """[B, 1, frames, bands] -> [B, D]."""
        return self._encode(x).mean(1)


def _names(weights: Iterable[str]) -> list[Renaming]:
    """Map the names of a published checkpoint: its audio blocks, then its shared ones with their norms for audio."""
    own = len({name.split(".")[1] for name in weights if name.startswith("blocks_a.")})

    def shared(found: re.Match[str]) -> str:
        return f"blocks.{own + int(found[1])}.{found[2].removesuffix('_a')}."

    return [
        (r"patch_embed_a\.proj\.", "patch_embed."),
        (r"modality_a$", "modality"),
        (r"pos_embed_a$", "positions"),
        (r"norm_a\.", "final_norm."),
        (r"blocks_a\.(\d+)\.(norm1|norm2|attn|mlp)\.", r"blocks.\1.\2."),
        (r"blocks_u\.(\d+)\.(norm1_a|norm2_a|attn|mlp)\.", shared),
        (r"blocks_|decoder|mask_token|mlp_head|norm\.|(patch_embed|modality|pos_embed|norm)_v", None),
    ]
