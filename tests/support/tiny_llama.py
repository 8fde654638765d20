"""A LLaMA of two layers with random weights, for tests of what is entered behind a pretrained model's table."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

ROWS, WIDTH = 50, 16


def saved_llama(folder: Path, seed: int = 5) -> nn.Module:
    """Save a causal language model as its library does, and return it without its head."""
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": WIDTH, "intermediate_size": 24, "num_attention_heads": 2, "vocab_size": ROWS}
    torch.manual_seed(seed)
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_hidden_layers=2, max_position_embeddings=64)).eval()
    model.save_pretrained(folder)
    network: nn.Module = model.model
    return network
