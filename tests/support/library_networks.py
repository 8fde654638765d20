"""Tiny BERT and CLIP of the transformers library, and the folders that it writes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

BERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "vocab_size": 50,
    "max_position_embeddings": 12,
}
VISION = {**BERT, "image_size": 32, "patch_size": 16}


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A network with the heads of pretraining, and the folder that holds it."""
    from transformers import BertConfig, BertForPreTraining

    torch.manual_seed(5)
    model = BertForPreTraining(BertConfig(**BERT)).eval()
    folder = tmp_path_factory.mktemp("bert")
    model.save_pretrained(folder)
    return folder, model


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, nn.Module]:
    """A network of both branches with a shared space of 8, and the folder that holds it."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(5)
    text = {**BERT, "eos_token_id": 49, "bos_token_id": None, "pad_token_id": 0}
    vision = {key: value for key, value in VISION.items() if key not in ("vocab_size", "max_position_embeddings")}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).eval()
    folder = tmp_path_factory.mktemp("clip")
    model.save_pretrained(folder)
    return folder, model
