"""The Method itself: where its hyperparameters are declared, and when its parts are made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.toy_dataset import toy_dataset, toy_method
from torch import Tensor, nn

from data.base import Batch
from methods.base import (
    FusedMethod,
    FusionHyperparameters,
    Hyperparameters,
    Method,
    MethodError,
    Phase,
    evaluating,
    hyper,
)
from sweep.training.recipe import Recipe


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


# Defaults of what may be overridden ------------------------------------------------------------------------------


def test_a_method_that_overrides_nothing_is_joint_training_of_everything() -> None:
    method = Generic(encoders("a", "b"), 2, Own(), 7)
    assert [vars(phase) for phase in method.phases] == [vars(Phase("training", 7))]
    assert method.groups() == {"all": [method]}
    assert (method.holdout, method.finished, method.clips, method.diagnostics()) == (0.0, None, False, {})
    assert (Method.drop_last, Method.reads_in_a_step, Method.clips_apart, Method.helpers) == (False, 0, False, ())
    assert not method.world_size_matters(Own())
    assert (method.modalities, method.dims) == (("a", "b"), [4, 4])
    predictions = {"multi": torch.zeros(1, 2)}
    assert method.amend(predictions, torch.zeros(1), cast(Any, None)) is predictions


@pytest.mark.parametrize(
    ("fewest", "most", "refused", "message"),
    [
        (2, None, [1], "counted needs at least 2 modalities, the dataset gives 1: m0"),
        (2, 3, [1, 4], "counted needs 2 to 3 modalities"),
        (2, 2, [1, 3, 4], "counted needs exactly 2 modalities"),
        (1, 2, [3, 4], "counted needs 1 to 2 modalities, the dataset gives .: m0, m1, m2"),
    ],
)
def test_the_number_of_modalities_lies_within_the_bounds(
    fewest: int, most: int | None, refused: list[int], message: str
) -> None:
    kind = type("Counted", (Generic,), {"name": "counted", "min_modalities": fewest, "max_modalities": most})
    for count in range(1, 5):
        modalities = tuple(f"m{number}" for number in range(count))
        if count in refused:
            with pytest.raises(MethodError, match=message):
                kind.check(Own(), modalities)
        else:
            kind.check(Own(), modalities)


def test_no_modality_is_called_as_the_fused_prediction() -> None:
    with pytest.raises(MethodError, match="no modality may be called 'multi'"):
        Generic.check(Own(), ("a", "multi"))


def test_the_order_of_an_epoch_shows_each_sample_once_and_none_that_is_held_out() -> None:
    dataset = toy_dataset()
    method = toy_method("joint", dataset)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    everything = list(range(45))
    order = method.shuffled(context)
    assert sorted(order.tolist()) == everything != order.tolist()
    assert torch.equal(cast(Tensor, method.sampler(context)), order)
    context.epoch = 2
    assert method.shuffled(context).tolist() != order.tolist()
    context.epoch, context.held_out = 1, torch.tensor([3, 7, 40])
    left = [place for place in order.tolist() if place not in (3, 7, 40)]
    assert method.shuffled(context).tolist() == left
    assert cast(Tensor, method.sampler(context)).tolist() == left
    assert torch.equal(method.shuffled(context, with_held_out=True), order)


def test_predictions_of_what_is_present_are_those_of_zeros_elsewhere() -> None:
    method = Nested(encoders("a", "b"), 2, Nested.Hyperparameters(), 7)
    inputs = {"a": torch.randn(3, 4), "b": torch.randn(3, 4)}
    batch = Batch(inputs, torch.zeros(3, dtype=torch.int64), torch.arange(3))
    assert torch.equal(method.predict(batch)["multi"], inputs["a"])
    assert torch.equal(method.predict(batch, ["a"])["multi"], inputs["a"])
    assert not method.predict(batch, ["b"])["multi"].any()
    zero, kept = method.present_features(batch, ["b"])
    assert not zero.any()
    assert torch.equal(kept, inputs["b"])


def test_a_forward_pass_gives_the_logits_of_those_modalities_that_have_some() -> None:
    class Partly(Plain):
        def classify(self, features: list[Tensor]) -> dict[str, Tensor]:
            return {"b": features[1], "multi": features[0]}

    batch = Batch({"a": torch.randn(3, 4), "b": torch.randn(3, 4)}, torch.tensor([0, 1, 3]), torch.arange(3))
    method = Partly(encoders("a", "b"), 4, Own(), 7)
    outputs = method.training_outputs(batch, cast(Any, None))
    assert torch.equal(outputs.logits, batch.inputs["a"])
    assert [id(logits) for logits in outputs.unimodal_logits] == [id(outputs.features[1])]
    expected = nn.functional.cross_entropy(batch.inputs["a"], batch.labels)
    assert torch.equal(method.loss(outputs, batch, cast(Any, None)), expected)


@pytest.mark.parametrize("clips", [False, True])
def test_a_step_is_forward_loss_backward_modulation_and_the_optimizer(clips: bool) -> None:
    told: list[str] = []
    whole = torch.ones((), requires_grad=True)

    class Stepping(Generic):
        def training_outputs(self, batch: Batch, context: Any) -> Any:
            told.append("forward")
            return "outputs"

        def loss(self, outputs: Any, batch: Batch, context: Any) -> Tensor:
            told.append(f"loss of {outputs}")
            return 3 * whole

        def modulate_gradients(self, outputs: Any, batch: Batch, context: Any) -> None:
            told.append(f"modulation by {outputs}")

        @property
        def clips(self) -> bool:
            return clips

    @contextmanager
    def autocast() -> Iterator[None]:
        told.append("autocast")
        yield
        told.append("end of autocast")

    context: Any = SimpleNamespace(
        zero_grad=lambda: told.append("zero"),
        autocast=autocast,
        backward=lambda loss: told.append(f"backward of {loss.item():g}"),
        optimizer_step=lambda clipped: told.append(f"step, clipped: {clipped}"),
    )
    loss = Stepping(encoders("a", "b"), 2, Own(), 7).training_step(cast(Any, None), context)
    assert loss.item() == 3
    assert not loss.requires_grad
    assert told == [
        "zero", "autocast", "forward", "loss of outputs", "end of autocast", "backward of 3", "modulation by outputs",
        f"step, clipped: {clips}",
    ]  # fmt: skip


def test_every_module_gets_back_the_mode_that_it_had() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
    module[0].eval()

    def run() -> None:
        with evaluating(module):
            assert not any(each.training for each in module.modules())
            raise KeyError

    with pytest.raises(KeyError):
        run()
    assert [each.training for each in module.modules()] == [True, False, True]


# Weights ---------------------------------------------------------------------------------------------------------


class Taught(Generic):
    """Has two helpers and a plain number; only one module's name begins as a helper's."""

    helpers = ("teacher", "copy")

    def build(self) -> None:
        super().build()
        self.teacher = nn.Linear(1, 1)
        self.teachers_head = nn.Linear(1, 1)
        self.register_buffer("copy", torch.zeros(1))

    def get_extra_state(self) -> dict[str, int]:
        return {"steps": 3}

    def set_extra_state(self, state: dict[str, int]) -> None:
        pass


def test_helpers_are_neither_kept_nor_missed() -> None:
    method = Taught(encoders("a", "b"), 2, Own(), 7)
    kept = method.inference_state()
    names = ["head.weight", "head.bias", "teachers_head.weight", "teachers_head.bias", "_extra_state"]
    assert sorted(kept) == sorted(names)
    other = Taught(encoders("a", "b"), 2, Own(), 7)
    other.load_inference_state({name: value for name, value in kept.items() if name != "_extra_state"})
    assert torch.equal(other.head.weight, method.head.weight)
    assert torch.equal(other.teachers_head.weight, method.teachers_head.weight)
    assert not torch.equal(other.teacher.weight, method.teacher.weight)


@pytest.mark.parametrize("name", ["head.bias", "unknown"])
def test_names_that_are_missing_or_unknown_are_refused(name: str) -> None:
    method = Taught(encoders("a", "b"), 2, Own(), 7)
    state = method.inference_state()
    if name in state:
        del state[name]
    else:
        state[name] = torch.zeros(1)
    with pytest.raises(ValueError, match=f"^{name}$"):
        method.load_inference_state(state)
