"""One modality alone."""

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from torch import nn
from torch.nn import functional as F

from data.base import Batch, Dataset, Split
from methods.base import MULTI, MethodError
from methods.unimodal import Unimodal, UnimodalHyperparameters
from sweep.training.recipe import Recipe

VARIANTS = [Variant("defaults", {"modality": "video"})]


def _encoder(inputs: int, width: int) -> nn.Module:
    encoder = nn.Linear(inputs, width)
    encoder.out_dim = width
    return encoder


def _method(modality: str = "video") -> Unimodal:
    torch.manual_seed(0)
    encoders = {"audio": _encoder(3, 4), "video": _encoder(5, 6)}
    return Unimodal(encoders, 3, UnimodalHyperparameters(modality=modality), epochs=2)


def _dataset() -> Dataset:
    random = torch.Generator().manual_seed(1)
    inputs = {"audio": torch.randn(8, 3, generator=random), "video": torch.randn(8, 5, generator=random)}
    split = Split(inputs, torch.arange(8) % 3)
    return Dataset("toy", ("audio", "video"), ("a", "b", "c"), split, split, split)


def test_keeps_one_encoder_and_predicts_with_it():
    method, batch = _method(), _dataset().train.gather(torch.arange(8))
    assert method.modalities == ("video",)
    assert [(phase.epochs, phase.passes) for phase in method.phases] == [(2, 0.5)]
    assert sum(p.numel() for p in method.parameters()) == (5 * 6 + 6) + (6 * 3 + 3)
    logits = method.predict(batch)
    assert set(logits) == {MULTI, "video"}
    torch.testing.assert_close(logits[MULTI], method.head(method.encoders["video"](batch.inputs["video"])))
    torch.testing.assert_close(logits[MULTI], logits["video"])


def test_an_absent_modality_leaves_the_bias():
    method, batch = _method(), _dataset().train.gather(torch.arange(8))
    torch.testing.assert_close(method.predict(batch, ["audio"])[MULTI], method.head.bias.expand(8, 3))


def test_a_step_is_one_of_sgd_on_the_cross_entropy():
    method, dataset = _method(), _dataset()
    recipe = Recipe(lr=0.1, momentum=0.0, weight_decay=0.0, batch_size=8)
    context = hand_driven_context(method, dataset, recipe)
    batch = dataset.train.gather(torch.arange(8))
    loss = F.cross_entropy(method.head(method.encoders["video"](batch.inputs["video"])), batch.labels)
    expected = method.head.weight - 0.1 * torch.autograd.grad(loss, method.head.weight)[0]
    torch.testing.assert_close(method.training_step(batch, context), loss.detach())
    torch.testing.assert_close(method.head.weight, expected)


def test_reads_no_other_input():
    batch = _dataset().train.gather(torch.arange(8))
    alone = Batch({"video": batch.inputs["video"]}, batch.labels, batch.index)
    assert _method().predict(alone)[MULTI].shape == (8, 3)


@pytest.mark.parametrize("modality", [None, "text"])
def test_refuses_a_missing_or_unknown_modality_naming_those_there_are(modality):
    with pytest.raises(MethodError, match="audio, video"):
        Unimodal.check(UnimodalHyperparameters(modality=modality), ("audio", "video"))


def test_refuses_what_every_method_does():
    with pytest.raises(MethodError, match="no modality may be called 'multi'"):
        Unimodal.check(UnimodalHyperparameters(modality="video"), (MULTI, "video"))
    with pytest.raises(MethodError, match="at least 1 modalities"):
        Unimodal.check(UnimodalHyperparameters(modality="video"), ())


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("unimodal")
