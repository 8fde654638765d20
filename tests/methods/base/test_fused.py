"""Methods with a fusion module: what they refuse, and joint training with every kind of ``channel`` on small images."""

from __future__ import annotations

import functools
import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.tiny_encoders import samples, tiny
from support.toy_dataset import toy_dataset, toy_method
from support.worker_processes import Workers

import methods
from data.base import Batch, Dataset, Split
from methods.base import MethodError
from methods.base.fused import FusedMethod, build_fusion, linear_head
from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.joint import Joint, JointHyperparameters
from models import encoders
from models.batchnorm import SynchronizedBatchNorm
from models.fusion import CENFusion, MMTMFusion
from sweep.training import seeds
from sweep.training.loop import Training
from sweep.training.recipe import Recipe
from sweep.training.workers import WorkerGroup

CLASSES, NAMES = 3, ("audio", "video", "text")
CASES: list[tuple[dict[str, Any], int]] = [
    ({}, 2),
    ({"mmtm_stages": [1, 3], "mmtm_scale": 2.0, "unimodal_loss_weight": 0.5}, 3),
    ({"unimodal_source": "aux", "unimodal_loss_weight": 1.0, "aux_detach": True}, 2),
    ({"channel_mode": "cen", "cen_threshold": 0.9, "cen_l1": 0.01}, 2),
    ({"channel_mode": "cen", "cen_threshold": 0.9, "cen_l1": 0.01, "unimodal_loss_weight": 0.5}, 3),
]
IDS = [f"{options.get('channel_mode', 'mmtm')}-{m}-{k}" for k, (options, m) in enumerate(CASES)]
same = functools.partial(torch.testing.assert_close, atol=0, rtol=0)
every_case = pytest.mark.parametrize(("options", "modalities"), CASES, ids=IDS)


def _dataset(modalities: int) -> Dataset:
    """A bright corner a class in images of a different number of channels; 21 training samples in batches of 8."""
    draw = torch.Generator().manual_seed(7)

    def images(labels: torch.Tensor, channels: int) -> torch.Tensor:
        x = torch.randn(len(labels), channels, 6, 6, generator=draw)
        for row, label in enumerate(labels.tolist()):
            x[row, :, 3 * (label // 2) :, 3 * (label % 2) :] += 1.5
        return x

    def split(size: int) -> Split:
        labels = torch.arange(size) % CLASSES
        return Split({m: images(labels, 1 + k % 2) for k, m in enumerate(NAMES[:modalities])}, labels)

    return Dataset("images", NAMES[:modalities], ("a", "b", "c"), split(21), split(9), split(10))


def _method(dataset: Dataset, options: dict[str, Any], epochs: int = 2) -> Joint:
    torch.manual_seed(seeds.derive(3, "initialisation"))
    built = {m: encoders.build({"name": "cnn", "width": 4}, shape) for m, shape in dataset.shapes().items()}
    hyperparameters = JointHyperparameters.model_validate({"fusion": "channel", **options})
    method = Joint(built, dataset.num_classes, hyperparameters, epochs)
    # Scales on both sides of the threshold from the first step.
    for encoder in method.encoders.values():
        for norm in encoder.modules():
            if isinstance(norm, SynchronizedBatchNorm):
                torch.nn.init.uniform_(norm.weight, 0.6, 1.2)
    return method


def _training(
    options: dict[str, Any],
    modalities: int,
    state: dict[str, Any] | None = None,
    epochs: int = 2,
    precision: str = "fp32",
) -> Training:
    dataset = _dataset(modalities)
    settings = Recipe(batch_size=8, lr=0.05, precision=precision)
    return Training(_method(dataset, options, epochs), dataset, settings, seed=3, state=state, workers=WorkerGroup())


def _trained(options: dict[str, Any], modalities: int) -> dict[str, Any]:
    training = _training(options, modalities)
    records = list(training.epochs())
    state = training.state_dict()["method"]
    return {"loss": [r.loss for r in records], "metrics": [r.metrics for r in records], "state": state}


# Joint training with channel fusion ----------------------------------------------------------------------------


@every_case
def test_two_workers_follow_one(options: dict[str, Any], modalities: int, two_workers: Workers) -> None:
    alone, (first, second) = _trained(options, modalities), two_workers.run(_trained, options, modalities)
    for key in ("loss", "state"):
        torch.testing.assert_close(first[key], alone[key], atol=2e-4, rtol=2e-3)
    same(second, first)


@every_case
def test_resumed_run_equals_an_uninterrupted_one(options: dict[str, Any], modalities: int) -> None:
    whole, interrupted = _training(options, modalities), _training(options, modalities)
    expected = list(whole.epochs())
    next(interrupted.epochs())
    buffer = io.BytesIO()
    torch.save(interrupted.state_dict(), buffer)
    buffer.seek(0)
    resumed = _training(options, modalities, state=torch.load(buffer, weights_only=True))
    assert [record.loss for record in resumed.epochs()] == [record.loss for record in expected[1:]]
    same(resumed.state_dict()["method"], whole.state_dict()["method"])
    same(resumed.result().test, whole.result().test)


@every_case
def test_trains_in_half_precision(options: dict[str, Any], modalities: int) -> None:
    training = _training(options, modalities, precision="bf16")
    assert all(math.isfinite(record.loss) for record in training.epochs())
    assert all(parameter.isfinite().all() for parameter in training.method.parameters())


@every_case
def test_predictions(options: dict[str, Any], modalities: int) -> None:
    dataset = _dataset(modalities)
    method = _method(dataset, options).eval()
    batch = dataset.test.gather(torch.arange(5))
    predicted = method.predict(batch)
    inputs = list(batch.inputs.values())
    output = method.fusion(inputs)
    own = method.fusion.unimodal_logits(output.features, options.get("unimodal_source"))
    same(predicted, dict(zip(("multi", *dataset.modalities), [output.logits, *own], strict=True)))
    same(method.predict(batch, present=dataset.modalities), predicted)
    alone = method.predict(dataset.test.gather(torch.tensor([2])))
    torch.testing.assert_close(alone["multi"][0], predicted["multi"][2])


@every_case
def test_absent_modalities_do_not_count(options: dict[str, Any], modalities: int) -> None:
    dataset = _dataset(modalities)
    method = _method(dataset, options).eval()
    batch = dataset.test.gather(torch.arange(5))
    changed = {m: x if m == "video" else x + 1 for m, x in batch.inputs.items()}
    before = method.predict(batch, present=["video"])
    after = method.predict(Batch(changed, batch.labels, batch.index), present=["video"])
    same(after, before)
    assert not torch.equal(method.predict(batch)["multi"], before["multi"])


@every_case
def test_the_state_holds_every_encoder_once(options: dict[str, Any], modalities: int) -> None:
    method = _method(_dataset(modalities), options)
    assert isinstance(method.fusion, CENFusion if options.get("channel_mode") == "cen" else MMTMFusion)
    assert not any(name.startswith("fusion.encoders") for name in method.state_dict())
    assert all(a is b for a, b in zip(method.fusion.encoders, method.encoders.values(), strict=True))


def test_channel_fusion_learns() -> None:
    for options in ({}, {"channel_mode": "cen", "cen_threshold": 0.9}):
        losses = [record.loss for record in _training(options, 2, epochs=4).epochs()]
        assert losses[-1] < 0.8 * losses[0]


# Fusions of tokens ---------------------------------------------------------------------------------------------

OF_TOKENS: list[dict[str, Any]] = [
    {"fusion": "late_transformer"},
    {"fusion": "attention"},
    {"fusion": "attention", "tokens": "all"},
]
NEED_LINEAR_HEADS = {"amco", "mmcosine"}
NEED_A_QUERY = {"rollingq"}
NEED_VECTORS = {"agm", "amss", "bss", "cggm", "gblend", "lfa", "opm", "pmr", "relearning", "umt"}
FUSED = [name for name in methods.names() if issubclass(methods.get(name), FusedMethod)]


@pytest.mark.parametrize("name", [name for name in FUSED if name not in NEED_LINEAR_HEADS])
@pytest.mark.parametrize("options", OF_TOKENS, ids=lambda options: "-".join(options.values()))
def test_fused_methods_train_fusions_of_tokens(name: str, options: dict[str, Any]) -> None:
    dataset = toy_dataset()
    if name in NEED_A_QUERY and options["fusion"] != "attention":
        with pytest.raises(MethodError, match="turns the query of fusion attention"):
            toy_method(name, dataset, options)
        return
    if name in NEED_VECTORS and options.get("tokens") == "all":
        with pytest.raises(MethodError, match=f"{name} computes with each modality's feature, .*; use tokens: one"):
            toy_method(name, dataset, options)
        return
    method = toy_method(name, dataset, options)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    batch = next(context.training_batches(torch.arange(16), drop_last=False))
    before = [parameter.clone() for parameter in method.parameters()]
    assert method.training_step(batch, context).isfinite()
    assert any(not torch.equal(old, new) for old, new in zip(before, method.parameters(), strict=True))
    method.eval()
    alone = method.predict(batch, present=["audio"])
    changed = Batch({"audio": batch.inputs["audio"], "video": batch.inputs["video"] + 1}, batch.labels, batch.index)
    same(method.predict(changed, present=["audio"]), alone)
    assert not torch.equal(method.predict(batch)["multi"], alone["multi"])


def test_absent_modalities_are_masked_and_not_zeroed() -> None:
    dataset = toy_dataset(modalities=3)
    for options in OF_TOKENS:
        method: Any = toy_method("joint", dataset, options).eval()
        batch = dataset.test.gather(torch.arange(5))
        features = method.encode(batch)
        found = method.predict(batch, present=["video"])
        torch.testing.assert_close(found["multi"], method.fusion.native_logits(features)[1])
        torch.testing.assert_close(found["video"], found["multi"])


def test_all_tokens_of_a_text_but_its_padding_are_read() -> None:
    built = {m: tiny("bert", seed=seed) for seed, m in enumerate(("text", "speech"))}
    hyperparameters = JointHyperparameters(fusion="attention", tokens="all", unimodal_source="aux")
    method: Any = Joint(built, 3, hyperparameters, epochs=2).eval()
    x = samples("bert", 4)
    other = x.clone()
    other[:, 0][x[:, 1] == 0] = 7
    label = torch.zeros(4, dtype=torch.int64)
    batch, changed = (Batch({"text": each, "speech": each}, label, label) for each in (x, other))
    same(method.predict(changed), method.predict(batch))
    tokens, mask = built["text"].tokens(x)
    mean = (tokens * mask.unsqueeze(2)).sum(1) / mask.sum(1, keepdim=True)
    torch.testing.assert_close(method.predict(batch)["text"], method.fusion.aux_heads[0](mean))


def test_dropout_of_a_fusion_depends_on_the_number_of_workers() -> None:
    for options, expected in (
        ({"fusion": "attention"}, False),
        ({"fusion": "attention", "fusion_dropout": 0.2}, True),
        ({"fusion": "late_transformer", "transformer_dropout": 0.2}, True),
        ({"fusion": "concat", "transformer_dropout": 0.2, "fusion_dropout": 0.2}, False),
    ):
        assert Joint.world_size_matters(JointHyperparameters(**options)) is expected


# What is refused -----------------------------------------------------------------------------------------------


def test_all_tokens_need_encoders_that_have_them() -> None:
    class Plain(torch.nn.Linear):
        out_dim = 3

    with pytest.raises(MethodError, match="tokens: all needs encoders with tokens, which video does not have"):
        Joint({"video": Plain(2, 3), "text": Plain(2, 3)}, 3, JointHyperparameters(fusion="attention", tokens="all"), 2)


def test_encoders_without_stages_are_refused_by_name() -> None:
    built = {"video": encoders.build("cnn", (1, 8, 8)), "text": encoders.build("mlp", (8,))}
    with pytest.raises(MethodError, match="convolutional encoders, which text does not have; give it encoder cnn"):
        Joint(built, 3, JointHyperparameters(fusion="channel", channel_mode="cen"), epochs=2)
    Joint(built, 3, JointHyperparameters(fusion="channel"), epochs=2)


@pytest.mark.parametrize("name", [name for name in FUSED if name not in NEED_LINEAR_HEADS])
def test_no_method_reads_the_token_of_a_modality_that_a_sample_lacks(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither in a step nor in a pass over samples beside it: here no sample has a video."""
    dataset = toy_dataset()
    whole = Split._batch

    def without_video(self: Split, inputs: Any, index: torch.Tensor, placed: torch.Tensor) -> Batch:
        return replace(whole(self, inputs, index, placed), present={"video": torch.zeros(len(index), dtype=torch.bool)})

    monkeypatch.setattr(Split, "_batch", without_video)
    few_steps = {"neumann_steps": 1} if name == "lfa" else {}
    method: Any = toy_method(name, dataset, {"fusion": "attention", **few_steps})
    read, masks = method.fusion.read, list[torch.Tensor]()
    monkeypatch.setattr(method.fusion, "read", lambda tokens, mask: masks.append(mask) or read(tokens, mask))
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    method.on_fit_start(context)
    epoch = 1
    for phase in method.phases:
        context.begin_epoch(epoch)
        method.training_step(next(context.training_batches(torch.arange(16), drop_last=False)), context)
        method.on_epoch_end(context)
        epoch += phase.epochs
    assert masks
    for mask in masks:
        assert mask[:, :2].any()
        assert not mask[:, 2].any()


@pytest.mark.parametrize("tokens", ["one", "all"])
def test_tokens_of_samples_that_lack_a_modality_are_masked_in_training_too(tokens: str) -> None:
    dataset = toy_dataset()
    method = toy_method("joint", dataset, {"fusion": "attention", "tokens": tokens})
    batch = dataset.train.gather(torch.arange(4))
    there = torch.tensor([True, False, True, False])
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    found = method.training_outputs(replace(batch, present={"video": there}), context).logits
    alone, both = method.predict(batch, ["audio"])["multi"], method.predict(batch)["multi"]
    torch.testing.assert_close(found, torch.where(there.unsqueeze(1), both, alone))


# How it is wired -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["concat", "sum"])
def test_a_linear_head_gives_the_fused_logits_of_the_joined_features(name: str) -> None:
    fusion = build_fusion(FusionHyperparameters.model_validate({"fusion": name}), ("audio", "video"), [2, 3], CLASSES)
    for number, layer in enumerate(fusion.head_layers):
        assert layer.bias is not None
        torch.nn.init.constant_(layer.bias, 1.0 + number)
    weight, bias = linear_head(fusion)
    assert weight.shape == (CLASSES, 5)
    assert bias is not None
    assert bias.tolist() == [float(sum(1 + number for number in range(len(fusion.head_layers))))] * CLASSES
    features = [torch.randn(4, 2), torch.randn(4, 3)]
    torch.testing.assert_close(fusion.fuse(features).logits, torch.cat(features, 1) @ weight.T + bias)
    for layer in fusion.head_layers:
        layer.bias = None
    assert linear_head(fusion)[1] is None


@pytest.mark.parametrize(("name", "option"), [("affine", "film_target"), ("gated", "gate_target")])
def test_the_target_is_counted_among_the_modalities(name: str, option: str) -> None:
    for target, position in (("audio", 0), ("video", 1), (None, 2)):
        hyperparameters = FusionHyperparameters.model_validate({"fusion": name, option: target})
        built: Any = build_fusion(hyperparameters, NAMES, [2, 3, 2], CLASSES)
        assert built.target == position


def test_auxiliary_heads_are_built_where_they_are_asked_for() -> None:
    for source, asked, built in (
        (None, False, False),
        (None, True, True),
        ("aux", False, True),
        ("zero", False, False),
    ):
        hyperparameters = FusionHyperparameters(unimodal_source=source)
        fusion = build_fusion(hyperparameters, ("audio", "video"), [2, 3], CLASSES, asked)
        assert (fusion.aux_heads is not None) is built
    assert build_fusion(FusionHyperparameters(), ("audio", "video"), [2, 3], CLASSES).aux_heads is None


def test_the_loss_of_a_fusion_is_told_the_epochs_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """The divergence of etmc grows with them, from 0 in the first."""
    dataset = toy_dataset()
    method: Any = toy_method("joint", dataset, {"fusion": "etmc"})
    context = hand_driven_context(method, dataset, Recipe(batch_size=16), epoch=3)
    batch = dataset.train.gather(torch.arange(16))
    outputs, seen = method(batch), list[tuple[Any, Any, int]]()
    loss = method.fusion.loss
    monkeypatch.setattr(method.fusion, "loss", lambda *given: seen.append(given) or loss(*given))
    torch.testing.assert_close(method.loss(outputs, batch, context), loss(*seen[0]))
    output, labels, epochs = seen[0]
    assert (output.logits, output.features, output.extra) == (outputs.logits, outputs.features, outputs.extra)
    assert labels is batch.labels
    assert epochs == 2
