"""MMTM: gates against values by hand and naive loops, then the fusion between the stages of encoders."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import encoders
from models.fusion import MMTMFusion, build, mmtm_gates, mmtm_squeeze_width

close = torch.testing.assert_close
IMAGES, FRAMES = (1, 8, 8), (3, 2, 32, 32)


def _cnns(*shapes: tuple[int, ...]) -> list[nn.Module]:
    torch.manual_seed(0)
    return [encoders.build({"name": "cnn", "width": 4}, shape) for shape in shapes]


def _images(*shapes: tuple[int, ...], batch: int = 5) -> list[Tensor]:
    random = torch.Generator().manual_seed(2)
    return [torch.randn(batch, *shape, generator=random) for shape in shapes]


def _closed(module: nn.Module) -> None:
    """No excitation: every gate is half the scale."""
    for name, parameter in module.named_parameters():
        if "excite" in name:
            nn.init.zeros_(parameter)


# Equations -----------------------------------------------------------------------------------------------------


def test_squeeze_width() -> None:
    assert mmtm_squeeze_width([128, 128], 4) == 128
    assert mmtm_squeeze_width([3, 4], 4) == 3
    assert mmtm_squeeze_width([1, 1, 1], 4) == 1
    assert mmtm_squeeze_width([1], 4) == 0


def _parameters(channels: list[int], width: int) -> tuple[Any, ...]:
    random = torch.Generator().manual_seed(3)
    squeeze = torch.randn(width, sum(channels), generator=random), torch.randn(width, generator=random)
    weights = [torch.randn(count, width, generator=random) for count in channels]
    return *squeeze, weights, [torch.randn(count, generator=random) for count in channels]


@pytest.mark.parametrize("scale", [1.0, 2.0])
def test_gates_by_naive_loops(scale: float) -> None:
    features = _images((2, 3, 4), (3, 2, 2, 5), (1,), batch=2)
    s, s0, weights, biases = _parameters([2, 3, 1], 4)
    found = mmtm_gates(features, s, s0, weights, biases, scale)
    for row in range(2):
        squeezed = [channel.reshape(-1).tolist() for x in features for channel in x[row]]
        means = [sum(values) / len(values) for values in squeezed]
        sums = [sum(w * v for w, v in zip(weights_of_unit, means, strict=True)) for weights_of_unit in s.tolist()]
        joint = [max(0.0, b + total) for b, total in zip(s0.tolist(), sums, strict=True)]
        for gates, weight, bias in zip(found, weights, biases, strict=True):
            for c in range(len(bias)):
                z = bias[c].item() + sum(w * e for w, e in zip(weight[c].tolist(), joint, strict=True))
                assert gates[row, c].item() == pytest.approx(scale / (1 + math.exp(-z)), rel=1e-4)
    assert [gates.shape for gates in found] == [(2, 2), (2, 3), (2, 1)]
    assert all(((gates > 0) & (gates < scale)).all() for gates in found)


def test_gates_without_excitation() -> None:
    features = _images((2, 3, 4), (3, 6))
    weights, biases = [torch.zeros(2, 4), torch.zeros(3, 4)], [torch.zeros(2), torch.zeros(3)]
    s, s0, _, _ = _parameters([2, 3], 4)
    for scale, factor in ((2.0, 1.0), (1.0, 0.5)):
        for gates in mmtm_gates(features, s, s0, weights, biases, scale):
            assert torch.equal(gates, torch.full_like(gates, factor))


# The fusion ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shapes", [[IMAGES, (3, 6, 10)], [IMAGES, (3, 6, 10), (2, 5, 5)]])
def test_fusion_by_its_equations(shapes: list[tuple[int, ...]]) -> None:
    module, inputs = MMTMFusion(_cnns(*shapes), 4).eval(), _images(*shapes)
    maps = inputs
    for number in range(3):
        maps = [encoder.stages[number](x) for encoder, x in zip(module.encoders, maps, strict=True)]
        if number > 0:
            gates = module.gates[str(number)](maps)
            maps = [g[:, :, None, None] * x for g, x in zip(gates, maps, strict=True)]
    pooled = [x.mean((2, 3)) for x in maps]
    heads = [head(x) for head, x in zip(module.heads, pooled, strict=True)]
    output = module(inputs)
    close(output.features, pooled)
    close(output.logits, sum(heads) / len(heads))
    close(module.unimodal_logits(output.features), heads)
    assert list(module.gates) == ["1", "2"]
    assert torch.equal(module(inputs).logits, output.logits)


def test_scale_two_without_excitation_is_the_encoder_alone() -> None:
    module, inputs = MMTMFusion(_cnns(IMAGES, IMAGES), 4, mmtm_scale=2.0).eval(), _images(IMAGES, IMAGES)
    _closed(module)
    for encoder, x, pooled in zip(module.encoders, inputs, module.encode(inputs), strict=True):
        close(pooled, encoder.layers[:11](x).mean((2, 3)))
    halved = MMTMFusion(module.encoders, 4, mmtm_stages=[3]).eval()
    _closed(halved)
    close(halved.encode(inputs), [x / 2 for x in module.encode(inputs)])


def test_frames_of_a_clip_share_a_gate() -> None:
    torch.manual_seed(0)
    parts = [encoders.build("resnet18", shape) for shape in (FRAMES, (1, 32, 40))]
    module, inputs = MMTMFusion(parts, 4, mmtm_scale=2.0).eval(), _images(FRAMES, (1, 32, 40), batch=3)
    shifted = [inputs[0].flip(2), inputs[1]]
    close(module(shifted).logits, module(inputs).logits)
    close(module([inputs[0][1:2], inputs[1][1:2]]).logits, module(inputs).logits[1:2])
    _closed(module)
    close(module.encode(inputs), [encoder(x) for encoder, x in zip(parts, inputs, strict=True)], atol=1e-4, rtol=1e-4)
    assert module([x[:0] for x in inputs]).logits.shape == (0, 4)
    gates = sum(p.numel() for p in module.gates.parameters())
    assert gates == sum(4 * c * c + 3 * c for c in (128, 256, 512))
    assert gates == pytest.approx(1.4e6, rel=0.02)


@pytest.mark.parametrize("owns", [True, False])
def test_gradients_reach_every_encoder(owns: bool) -> None:
    parts = _cnns(IMAGES, (3, 6, 10))
    module = MMTMFusion(parts, 4, owns_encoders=owns)
    output = module(_images(IMAGES, (3, 6, 10)))
    target = torch.tensor([0, 1, 2, 3, 0])
    loss = module.loss(output, target)
    close(loss, F.cross_entropy(output.logits, target))
    loss.backward()
    for encoder in parts:
        assert all(p.grad.abs().sum() > 0 for stage in encoder.stages for p in stage.parameters())
    assert all(p.grad is not None for p in [*module.gates.parameters(), *module.heads.parameters()])
    assert any(name.startswith("encoders") for name in module.state_dict()) == owns


def test_absent_modalities_are_zeros_to_the_others() -> None:
    module, (first, second) = MMTMFusion(_cnns(IMAGES, IMAGES), 4).eval(), _images(IMAGES, IMAGES)
    features = module.encode([first, second], present=[True, False])
    assert not features[1].any()
    close(module.encode([first, second + 1], present=[True, False]), features)
    assert not torch.allclose(module.encode([first, second])[0], features[0])
    close(module.encode([first, second], present=[True, True]), module.encode([first, second]))


def test_unimodal_logits_of_every_source() -> None:
    module, inputs = MMTMFusion(_cnns(IMAGES, IMAGES), 4, aux_heads=True).eval(), _images(IMAGES, IMAGES)
    features = module.encode(inputs)
    first, second = (head(x) for head, x in zip(module.heads, features, strict=True))
    zeros = [head(torch.zeros_like(x)) for head, x in zip(module.heads, features, strict=True)]
    close(module.unimodal_logits(features), [first, second])
    close(module.unimodal_logits(features, "zero"), [(first + zeros[1]) / 2, (zeros[0] + second) / 2])
    own = [head(x) for head, x in zip(module.aux_heads, features, strict=True)]
    close(module.unimodal_logits(features, "aux"), own)


def test_stages_are_chosen_by_number() -> None:
    for numbers, chosen in (([1], ["0"]), ([3, 1], ["0", "2"]), ([2, 3, 4], ["1", "2"]), ([9], ["2"])):
        module = build("channel", _cnns(IMAGES, IMAGES), 4, mmtm_stages=numbers, mmtm_ratio=8)
        assert list(module.gates) == chosen
    assert module.gates["2"].squeeze.out_features == 8


class _Stages(nn.Module):
    """An encoder of one's own: a stem that is a layer, stages of which one leaves the channels alone."""

    def __init__(self, channels: int = 3, stages: int = 2) -> None:
        super().__init__()
        self.stem, self.out_dim = nn.Conv1d(2, channels, 3), channels
        self.stages = [nn.ReLU() for _ in range(stages)]


def test_encoders_of_ones_own() -> None:
    module = MMTMFusion([_Stages(3), _Stages(5)], 4, mmtm_stages=[1])
    assert module(_images((2, 7), (2, 9))).logits.shape == (5, 4)
    assert module.gates["0"].squeeze.in_features == 8


# Encoders without stages ---------------------------------------------------------------------------------------


def _mlps(*widths: int) -> list[nn.Module]:
    torch.manual_seed(0)
    return [encoders.build({"name": "mlp", "width": width}, (8,)) for width in widths or (6, 6)]


@pytest.mark.parametrize(
    ("parts", "shapes"),
    [
        (lambda: _mlps(6, 4), [(8,), (8,)]),
        (lambda: _mlps(6, 4, 3), [(8,), (8,), (8,)]),
        (lambda: [*_cnns(IMAGES), *_mlps(4)], [IMAGES, (8,)]),
    ],
)
def test_features_of_encoders_without_stages_are_gated(parts: Any, shapes: list[tuple[int, ...]]) -> None:
    module, inputs = MMTMFusion(parts(), 4, mmtm_scale=1.5).eval(), _images(*shapes)
    features = [encoder(x) for encoder, x in zip(module.encoders, inputs, strict=True)]
    assert list(module.gates) == ["0"]
    gated = [g * x for g, x in zip(module.gates["0"](features), features, strict=True)]
    output = module(inputs)
    close(output.features, gated)
    heads = [head(x) for head, x in zip(module.heads, gated, strict=True)]
    close(output.logits, sum(heads) / len(heads))
    close(module.unimodal_logits(output.features), heads)
    output.logits.square().sum().backward()
    assert [name for name, p in module.named_parameters() if p.grad is None or not p.grad.any()] == []
    alone = module([x[1:2] for x in inputs]).logits
    close(alone, output.logits[1:2])
    assert module([x[:0] for x in inputs]).logits.shape == (0, 4)


def test_absent_features_are_zeros_to_the_others() -> None:
    module, (first, second) = MMTMFusion(_mlps(), 4).eval(), _images((8,), (8,))
    features = module.encode([first, second], present=[True, False])
    assert not features[1].any()
    close(module.encode([first, second + 1], present=[True, False]), features)
    own = module.encoders[0](first)
    close(features[0], own * module.gates["0"]([own, torch.zeros(5, 6)])[0])
    assert not torch.allclose(module.encode([first, second])[0], features[0])


# Gates that are read and set -----------------------------------------------------------------------------------


def _staged() -> tuple[MMTMFusion, list[Tensor]]:
    return MMTMFusion(_cnns(IMAGES, (3, 6, 10)), 4).eval(), _images(IMAGES, (3, 6, 10))


def test_records_are_those_of_the_last_pass() -> None:
    module, inputs = _staged()
    with module.recorded() as records:
        assert records == {}
        module([x + 1 for x in inputs])
        logits = module(inputs).logits
    maps = [encoder.stages[0](encoder.stem(x)) for encoder, x in zip(module.encoders, inputs, strict=True)]
    maps = [encoder.stages[1](x) for encoder, x in zip(module.encoders, maps, strict=True)]
    assert list(records) == ["1", "2"]
    close(records["1"].squeezes, [x.mean((2, 3)) for x in maps])
    close(records["1"].gates, module.gates["1"](maps))
    assert not any(x.requires_grad for record in records.values() for x in (*record.squeezes, *record.gates))
    kept = dict(records)
    assert torch.equal(module([x + 1 for x in inputs]).logits, module([x + 1 for x in inputs]).logits)
    assert records == kept
    assert torch.equal(module(inputs).logits, logits)


def _means(module: MMTMFusion, inputs: list[Tensor], part: str, modality: int) -> dict[str, dict[int, Tensor]]:
    with module.recorded() as records:
        module(inputs)
    return {name: {modality: getattr(record, part)[modality].mean(0)} for name, record in records.items()}


@pytest.mark.parametrize("staged", [True, False])
def test_a_branch_whose_gates_are_set_learns_from_its_own_modality_alone(staged: bool) -> None:
    module, inputs = _staged() if staged else (MMTMFusion(_mlps(), 4).eval(), _images((8,), (8,)))
    ordinary, means = module.encode(inputs), _means(module, inputs, "gates", 0)
    with module.replaced(gates=means), module.recorded() as records:
        features = module.encode(inputs)
        first, second = module.native_logits(features)
        other = module.native_logits(module.encode([inputs[0], inputs[1] + 1]))
        # Records tell what the gates would have been.
        module.encode(inputs)
    assert torch.equal(first, other[0])
    assert not torch.allclose(second, other[1])
    assert not torch.allclose(records[next(iter(records))].gates[0].mean(0), records[next(iter(records))].gates[0][0])
    assert not torch.allclose(features[0], ordinary[0])
    (first.square().sum() + second.square().sum()).backward()
    for gates in module.gates.values():
        assert all(p.grad is None for p in gates.excite[0].parameters())
        assert all(p.grad is not None for p in (*gates.excite[1].parameters(), *gates.squeeze.parameters()))
    close(module.encode(inputs), ordinary)


def test_set_gates_multiply_the_maps() -> None:
    module, inputs = MMTMFusion(_mlps(), 4).eval(), _images((8,), (8,))
    alone = module.encoders[1](inputs[1])
    factors = torch.linspace(0.1, 0.6, 6)
    each = torch.rand(5, 6, dtype=torch.float64)
    with module.replaced(gates={"0": {1: factors}}):
        close(module.encode(inputs)[1], factors * alone)
        with module.replaced(gates={"0": {1: each}}):
            close(module.encode(inputs)[1], each.float() * alone)
            with module.replaced(squeezes={"0": {0: torch.zeros(6)}}):
                close(module.encode(inputs)[1], each.float() * alone)
        close(module.encode(inputs)[1], factors * alone)


def test_set_squeezes_stand_for_what_the_gates_see() -> None:
    module, inputs = _staged()
    means = _means(module, inputs, "squeezes", 1)
    with module.recorded() as ordinary:
        module(inputs)
    with module.replaced(squeezes=means), module.replaced(gates={}), module.recorded() as records:
        cut = module.native_logits(module.encode(inputs))
        # Records tell what the squeezed maps would have been.
        close(records["1"].squeezes, ordinary["1"].squeezes)
        other = module.native_logits(module.encode([inputs[0], 3 * inputs[1]]))
    assert torch.equal(cut[0], other[0])
    assert not torch.allclose(cut[1], other[1])
    maps = inputs[0]
    for number, stage in enumerate(module.encoders[0].stages):
        maps = stage(maps)
        if number:
            mean = means[str(number)][1].expand(5, -1)
            maps = maps * module.gates[str(number)]([maps, mean])[0][:, :, None, None]
    close(cut[0], module.heads[0](maps.mean((2, 3))))


def test_set_parts_end_with_an_error_and_change_no_state() -> None:
    module, inputs = _staged()
    names = list(module.state_dict())
    expected = module(inputs).logits
    with pytest.raises(RuntimeError), module.replaced(gates={"1": {0: torch.ones(7)}}), module.recorded():
        module(inputs)
    assert torch.equal(module(inputs).logits, expected)
    assert list(module.state_dict()) == names
    assert all(gates.keep is None for gates in module.gates.values())


def test_stages_and_modalities_that_are_not_there_are_named() -> None:
    module, _ = _staged()
    with pytest.raises(ValueError, match="no stage with gates called '3'; there are: 1, 2"):
        module.replaced(gates={"3": {0: torch.ones(4)}}).__enter__()
    with pytest.raises(ValueError, match="there are 2 modalities, from 0; none has position 2"):
        module.replaced(squeezes={"1": {2: torch.ones(4)}}).__enter__()


# Mistakes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "options", "message"),
    [
        (lambda: _cnns(IMAGES), {}, r"fusion channel \(mmtm\) is not defined for M = 1"),
        (list, {}, "M = 0"),
        (
            _mlps,
            {"channel_mode": "cen"},
            r"encoder 1 \(MLP\) has no stem and stages: use cnn or conv1d",
        ),
        (lambda: [_Stages(), _Stages(stages=1)], {}, r"equally many stages, these have \[2, 1\]"),
        (lambda: _cnns(IMAGES, IMAGES), {"mmtm_stages": []}, "from 1, got"),
        (lambda: _cnns(IMAGES, IMAGES), {"mmtm_stages": [0, 2]}, r"from 1, got \[0, 2\]"),
        (lambda: _cnns(IMAGES, IMAGES), {"mmtm_ratio": 0}, "must be positive, got 0 and 1.0"),
        (lambda: _cnns(IMAGES, IMAGES), {"mmtm_ratio": 100}, "mmtm_ratio 100 leaves no unit for 16 channels"),
        (lambda: _cnns(IMAGES, IMAGES), {"cen_l1": 0.1}, "no option of fusion channel called 'cen_l1'"),
    ],
)
def test_mistakes_are_named(parts: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build("channel", parts(), 4, **options)
