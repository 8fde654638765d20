"""The Method itself: where its hyperparameters are declared, and when its parts are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_dataset, toy_method
from torch import Tensor, nn

from methods.base import FusedMethod, FusionHyperparameters, Hyperparameters, Method, MethodError, hyper


class Own(Hyperparameters):
    width: int = hyper(3, meaning="width")


class Wider(Own):
    width: int = hyper(5, meaning="width")


class Generic(Method[Own]):
    name = title = paper = "generic"
    stages = ()

    def build(self) -> None:
        self.head = nn.Linear(self.dims[0], self.hyperparameters.width)

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return {"multi": self.head(features[0])}


class Later(Generic):
    """Says its hyperparameters anew, and builds in a constructor of its own."""

    Hyperparameters = Wider

    def __init__(self, encoders: Mapping[str, nn.Module], num_classes: int, hyperparameters: Any, epochs: int) -> None:
        super().__init__(encoders, num_classes, hyperparameters, epochs)
        self.scale = nn.Parameter(torch.ones(num_classes))


class Plain(Method):
    """Names no argument, as methods did before there was one."""

    name = title = paper = "plain"
    stages = ()
    Hyperparameters = Own

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return {"multi": features[0]}


class Nested(Method):
    name = title = paper = "nested"
    stages = ()

    class Hyperparameters(Own):
        depth: int = hyper(1, meaning="depth")

    def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
        return {"multi": features[0]}


class Fused(FusedMethod[FusionHyperparameters]):
    name = title = paper = "fused"
    stages = ()


class Branch(nn.Module):
    out_dim = 4

    def forward(self, x: Tensor) -> Tensor:
        return x


def encoders(*modalities: str) -> dict[str, nn.Module]:
    return {modality: Branch() for modality in modalities}


def test_the_argument_of_the_base_declares_the_hyperparameters() -> None:
    assert Generic.Hyperparameters is Own
    assert Fused.Hyperparameters is FusionHyperparameters
    assert "Hyperparameters" not in vars(FusedMethod)


def test_a_class_that_declares_them_itself_has_the_last_word() -> None:
    assert Later.Hyperparameters is Wider
    assert Plain.Hyperparameters is Own
    assert list(Nested.Hyperparameters.model_fields) == ["width", "depth"]


def test_parts_are_built_when_everything_told_is_in_place() -> None:
    method = Later(encoders("a", "b"), 2, Wider(), 7)
    assert (method.head.out_features, method.num_classes, method.epochs) == (5, 2, 7)
    assert [name for name, _ in method.named_parameters()] == ["scale", "head.weight", "head.bias"]
    assert Plain(encoders("a", "b"), 2, Own(), 7).hyperparameters == Own()


def test_nothing_is_built_of_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Generic, "build", lambda self: pytest.fail("built"))
    with pytest.raises(MethodError, match="at least 2 modalities"):
        Generic(encoders("a"), 2, Own(), 7)


def test_fused_methods_refuse_a_fusion_whose_loss_they_replace() -> None:
    etmc = FusionHyperparameters(fusion="etmc")
    with pytest.raises(MethodError, match="trained by a loss of its own"):
        Fused.check(etmc, ("a", "b"))
    kind = type("Keeping", (Fused,), {"replaces_fusion_loss": False})
    kind.check(etmc, ("a", "b"))


@pytest.mark.parametrize(("source", "heads"), [(None, False), ("zero", False), ("aux", True)])
def test_fused_methods_have_auxiliary_heads_where_unimodal_logits_come_from_these(source: Any, heads: bool) -> None:
    method = Fused(encoders("a", "b"), 2, FusionHyperparameters(unimodal_source=source), 3)
    assert method.source == source
    assert (method.fusion.aux_heads is not None) == heads
    features = [torch.randn(6, 4), torch.randn(6, 4)]
    logits = method.classify(features)
    assert list(logits) == ["multi", "a", "b"]
    for found, expected in zip(method.unimodal_logits(features), (logits["a"], logits["b"]), strict=True):
        assert torch.equal(found, expected)


def test_a_sample_that_lacks_a_modality_has_a_zero_feature_and_trains_no_encoder() -> None:
    dataset = toy_dataset()
    method, batch = toy_method("joint", dataset), dataset.train.gather(torch.arange(6))
    there = torch.tensor([True, False, True, True, False, True])
    features = method.encode(replace(batch, present={"video": there}))
    assert (features[1][~there] == 0).all()
    torch.testing.assert_close(features[1][there], method.encode(batch)[1][there])
    torch.testing.assert_close(features[0], method.encode(batch)[0])
    found, expected = (
        torch.autograd.grad(each.sum(), list(method.encoders["video"].parameters()), allow_unused=True)
        for each in (features[1], method.encode(batch.at(there))[1])
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
