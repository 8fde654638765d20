"""BERT for texts: the network of the transformers library.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor

from models.encoders._hub import Architecture, HubOptions, apply, build
from models.encoders._text import TextEncoder, never_empty, pairs
from models.encoders.base import Shape


class BertOptions(HubOptions):
    text_feature: Literal["cls", "pooler"] = Field(
        "cls", description="last hidden state of the first token ([CLS]), or that through the pooler's layer and tanh"
    )
    width: int = Field(768, ge=1, le=16_384, description="numbers of a token, and of the feature")
    depth: int = Field(12, ge=1, le=1_000, description="layers")
    heads: int = Field(12, ge=1, le=1_000, description="attention heads; they divide the width")
    hidden: int = Field(3072, ge=1, le=65_536, description="units between the two linear layers of every layer")
    vocabulary: int = Field(30522, ge=2, le=2_000_000, description="number of token ids")
    positions: int = Field(512, ge=1, le=100_000, description="tokens that a text may have at most")
    dropout: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="on embeddings, attention and layers (0.1 in the papers); above 0 every worker draws its own, so "
        "that results depend on the number of workers",
    )

    architecture = Architecture(
        kinds=("bert",),
        sizes={
            "width": ("hidden_size", 768),
            "depth": ("num_hidden_layers", 12),
            "heads": ("num_attention_heads", 12),
            "hidden": ("intermediate_size", 3072),
            "vocabulary": ("vocab_size", 30522),
            "positions": ("max_position_embeddings", 512),
        },
        fixed={
            "hidden_act": "gelu",
            "layer_norm_eps": 1e-12,
            "type_vocab_size": 2,
            "position_embedding_type": "absolute",
            "is_decoder": False,
        },
        elsewhere=("cls.", "classifier.", "qa_outputs.", "bert.pooler.", "pooler.", "bert.embeddings.position_ids"),
    )


class Bert(TextEncoder):
    """Tokens of texts [2, L] (ids, attention mask), with [CLS] in front, through BERT; padding is not attended to."""

    name = "bert"
    Options = BertOptions

    def __init__(self, shape: Shape, options: BertOptions | None = None) -> None:
        options = options or BertOptions()
        super().__init__(shape, options)
        from transformers import BertModel

        self.pools = options.text_feature == "pooler"
        dropout = {"hidden_dropout_prob": options.dropout, "attention_probs_dropout_prob": options.dropout}
        self.backbone = build(BertModel, options, dropout, add_pooling_layer=self.pools)
        self.out_dim = options.width

    def tokens(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 2, L] -> [B, L, D]: the last hidden states; padding does not count."""
        return self._run(x, "last_hidden_state")

    def forward(self, x: Tensor) -> Tensor:
        """[B, 2, L] -> [B, D]."""
        return self._run(x, "pooler_output")[0] if self.pools else self.tokens(x)[0][:, 0]

    def _run(self, x: Tensor, output: str) -> tuple[Tensor, Tensor]:
        """Compute an output of the library's model, and which tokens are attended to, bool [B, L]."""
        ids, mask = self.split(x)
        seen = never_empty(mask)
        return apply(self.backbone, output, input_ids=ids, attention_mask=pairs(seen)), seen
