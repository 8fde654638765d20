"""Joint training: the fusion's own loss, with or without the modalities' own."""

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.base import MULTI, MethodError
from methods.base.hyperparameters import Choice, Integer, LogUniform, Uniform, declared
from methods.joint import Joint, JointHyperparameters
from models import fusion as fusions
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="fused loss"),
    Variant("sum", {"fusion": "sum"}, path="fused loss"),
    Variant("weight", {"fusion": "weight"}, path="fused loss"),
    Variant("affine", {"fusion": "affine"}, path="fused loss"),
    Variant("gated", {"fusion": "gated"}, path="fused loss"),
    Variant("scaled", {"gradient_scale": [0.4, 1.0]}, path="fused loss"),
    Variant("late", {"fusion": "late"}),
    Variant("late-averaged-of-three", {"fusion": "late", "late_train": "joint"}, modalities=3),
    Variant("lstm", {"fusion": "ml_lstm", "lstm_hidden": 64, "lstm_layers": 1}, path="lstm"),
    Variant("lstm-of-three", {"fusion": "ml_lstm", "lstm_hidden": 64}, modalities=3, path="lstm", epochs_to_learn=20),
    Variant(
        "transformer",
        {"fusion": "late_transformer", "norm": "pre", "token_width": 8, "transformer_depth": 1, "transformer_heads": 2},
        path="tokens",
        epochs_to_learn=14,
    ),
    Variant("attention-of-three", {"fusion": "attention", "tokens": "all"}, modalities=3, path="tokens"),
    Variant("evidence", {"fusion": "etmc", "unimodal_loss_weight": 0.5}),
    Variant("evidence-annealed", {"fusion": "etmc", "evidence": "exp", "annealing_epochs": 2}, modalities=3),
    Variant("own-losses", {"unimodal_loss_weight": 1.0}, path="own losses"),
    Variant("own-losses-of-three", {"unimodal_loss_weight": 1.0}, modalities=3, path="own losses"),
]


def _encoder(inputs: int, width: int) -> nn.Module:
    encoder = nn.Linear(inputs, width)
    encoder.out_dim = width
    return encoder


def _dataset() -> Dataset:
    random = torch.Generator().manual_seed(7)
    split = Split({m: torch.randn(8, 5, generator=random) for m in ("audio", "video")}, torch.arange(8) % 3)
    return Dataset("toy", ("audio", "video"), ("a", "b", "c"), split, split, split)


def _setup(warn=print, **hyperparameters) -> tuple[Joint, TrainingContext]:
    torch.manual_seed(3)
    encoders = {"audio": _encoder(5, 4), "video": _encoder(5, 6)}
    method = Joint(encoders, 3, JointHyperparameters(**hyperparameters), epochs=2)
    recipe = Recipe(lr=0.1, momentum=0.0, weight_decay=0.0, batch_size=8)
    return method, hand_driven_context(method, _dataset(), recipe, warn=warn)


def _loss(method: Joint, context: TrainingContext) -> tuple[Tensor, list[Tensor], Tensor]:
    """The loss on the whole toy set, with the features and labels it is made of."""
    batch = _dataset().train.gather(torch.arange(8))
    return method.loss(method(batch), batch, context), method.encode(batch), batch.labels


def test_concatenation_is_trained_by_the_fused_cross_entropy():
    method, context = _setup()
    loss, features, labels = _loss(method, context)
    torch.testing.assert_close(loss, F.cross_entropy(method.fusion(features).logits, labels))
    head = next(p for p in method.fusion.parameters() if p.shape == (3, 10))
    expected = head - 0.1 * torch.autograd.grad(loss, head)[0]
    reported = method.training_step(_dataset().train.gather(torch.arange(8)), context)
    torch.testing.assert_close(reported, loss.detach())
    torch.testing.assert_close(head, expected)


@pytest.mark.parametrize("source", [None, "native", "zero", "aux"])
def test_unimodal_losses_are_added_with_their_weight(source):
    method, context = _setup(unimodal_loss_weight=0.5, unimodal_source=source)
    loss, features, labels = _loss(method, context)
    own = method.fusion.unimodal_logits(features, source)
    expected = F.cross_entropy(method.fusion(features).logits, labels)
    torch.testing.assert_close(loss, expected + 0.5 * sum(F.cross_entropy(logits, labels) for logits in own))
    logits = method.predict(_dataset().train.gather(torch.arange(8)))
    torch.testing.assert_close(logits["audio"], own[0])
    torch.testing.assert_close(logits["video"], own[1])


def test_auxiliary_heads_are_there_where_they_are_asked_for():
    plain, heads = (
        sum(p.numel() for p in _setup(unimodal_loss_weight=1.0, **options)[0].parameters())
        for options in ({}, {"unimodal_source": "aux"})
    )
    assert heads - plain == (4 + 1) * 3 + (6 + 1) * 3


@pytest.mark.parametrize("detach", [True, False])
def test_detached_auxiliary_heads_do_not_reach_the_encoders(detach):
    method, context = _setup(unimodal_loss_weight=1.0, unimodal_source="aux", aux_detach=detach)
    loss, features, labels = _loss(method, context)
    weight = method.encoders["audio"].weight
    fused = torch.autograd.grad(F.cross_entropy(method.fusion(features).logits, labels), weight)[0]
    loss.backward()
    assert torch.allclose(weight.grad, fused) == detach


@pytest.mark.parametrize("weight", [0.0, 1.0])
@pytest.mark.parametrize("name", sorted(fusions.FUSIONS))
def test_every_fusion_trains_its_encoders_by_its_own_loss(name, weight):
    method, context = _setup(fusion=name, unimodal_loss_weight=weight)
    loss, features, labels = _loss(method, context)
    own = method.fusion.unimodal_logits(features)
    expected = method.fusion.loss(method.fusion(features), labels, 0)
    torch.testing.assert_close(loss, expected + weight * sum(F.cross_entropy(logits, labels) for logits in own))
    loss.backward()
    assert all(encoder.weight.grad.abs().sum() > 0 for encoder in method.encoders.values())
    logits = method.predict(_dataset().train.gather(torch.arange(8)))
    torch.testing.assert_close(logits[MULTI], method.fusion(features).logits)
    assert {key: value.shape for key, value in logits.items()} == dict.fromkeys((MULTI, "audio", "video"), (8, 3))


def test_the_fusion_counts_epochs_from_zero(monkeypatch):
    method, context = _setup()
    epochs, own = [], method.fusion.loss

    def loss(output, target, epoch=-1):
        epochs.append(epoch)
        return own(output, target, epoch)

    monkeypatch.setattr(method.fusion, "loss", loss)
    for context.epoch in (1, 2):
        method.training_step(_dataset().train.gather(torch.arange(8)), context)
    assert epochs == [0, 1]


def test_untrained_auxiliary_heads_are_warned_of():
    aux, weight = {"unimodal_source": "aux"}, {"unimodal_loss_weight": 1.0}
    for options, count in (
        (aux, 1),
        ({}, 0),
        (weight, 0),
        (aux | weight, 0),
        (aux | {"unimodal_loss_weight": 1e-3}, 0),
    ):
        lines = []
        method, context = _setup(lines.append, **options)
        method.on_fit_start(context)
        assert len(lines) == count
        assert all("auxiliary heads learn nothing" in line for line in lines)


def test_search_ranges_of_the_fusion():
    found = {name: each.search for name, each in declared(JointHyperparameters).items()}
    choices = {
        "fusion": (
            "concat",
            "sum",
            "weight",
            "affine",
            "gated",
            "channel",
            "ml_lstm",
            "etmc",
            "late",
            "late_transformer",
            "attention",
        ),
        "film_direction": ("first_conditions_second", "second_conditions_first"),
        "gate_direction": ("first_gates_second", "second_gates_first"),
        "weight_mode": ("softmax", "attention"),
        "channel_mode": ("mmtm", "cen"),
        "mmtm_ratio": (2, 4, 8, 16),
        "mmtm_scale": (1.0, 2.0),
        "lstm_hidden": (128, 256, 512),
        "evidence": ("softplus", "relu", "exp"),
        "late_train": ("separate", "joint"),
        "late_space": ("probs", "logits"),
        "token_width": (64, 128, 256, 512),
        "transformer_heads": (1, 2, 4, 8),
        "norm": ("post", "pre"),
        "positions": ("fixed", "learned"),
    }
    assert {name: found[name] for name in choices} == {name: Choice(values) for name, values in choices.items()}
    assert found["cen_threshold"] == LogUniform(1e-3, 1e-1)
    assert found["cen_l1"] == LogUniform(1e-5, 1e-2)
    assert found["lstm_layers"] == Integer(1, 3)
    assert found["annealing_epochs"] == Integer(1, 50, log=True)
    assert found["transformer_depth"] == Integer(1, 6)
    assert found["transformer_dropout"] == found["fusion_dropout"] == Uniform(0.0, 0.5)
    fixed = ("film_target", "gate_target", "gate_width", "additive", "mmtm_stages", "unimodal_source", "aux_detach")
    fixed += ("tokens", "feedforward_width", "activation", "heads")
    assert all(found[name] is None for name in fixed)


def test_what_is_refused():
    with pytest.raises(MethodError, match="at least 2"):
        Joint.check(JointHyperparameters(), ("audio",))
    with pytest.raises(MethodError, match="native"):
        Joint.check(JointHyperparameters(fusion="affine", unimodal_source="native"), ("audio", "video"))


def test_gradients_of_the_encoders_are_scaled_and_no_others():
    batch = _dataset().train.gather(torch.arange(8))
    (plain, first), (scaled, second) = _setup(), _setup(gradient_scale=[0.2, 1.0])
    plain.training_step(batch, first)
    scaled.training_step(batch, second)
    for (name, one), other in zip(scaled.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, (0.2 if name.startswith("encoders.audio") else 1.0) * other.grad)


def test_scales_of_one_change_nothing_and_one_is_needed_for_each_modality():
    batch = _dataset().train.gather(torch.arange(8))
    (plain, first), (scaled, second) = _setup(), _setup(gradient_scale=[1.0, 1.0])
    plain.training_step(batch, first)
    scaled.training_step(batch, second)
    assert all(torch.equal(one, other) for one, other in zip(scaled.parameters(), plain.parameters(), strict=True))
    with pytest.raises(MethodError, match="one entry for each of audio, video"):
        Joint.check(JointHyperparameters(gradient_scale=[1.0]), ("audio", "video"))
    shared = {"fusion": "channel", "channel_mode": "cen"}
    with pytest.raises(MethodError, match="share their convolutions"):
        Joint.check(JointHyperparameters(gradient_scale=[1.0, 0.5], **shared), ("audio", "video"))
    Joint.check(JointHyperparameters(**shared), ("audio", "video"))


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("joint")
