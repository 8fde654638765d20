"""conv1d and gru: what they compute, and how they start."""

from __future__ import annotations

import math

import pytest
import torch
from support.tiny_encoders import assert_shape_is_refused
from torch import nn

from models import fusion
from models.encoders import build, describe, downsampled_length, last_states

close = torch.testing.assert_close


def _maps_by_hand(encoder: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Compute the last maps from the weights alone; batch norms of a fresh encoder in evaluation divide by a little."""
    shrink = math.sqrt(1 + 1e-5)
    weights = [layer.weight for layer in encoder.modules() if isinstance(layer, nn.Conv1d)]
    maps = (nn.functional.conv1d(x, weights.pop(0), padding=1) / shrink).relu()
    for stride in (1, 2, 2):
        inner = (nn.functional.conv1d(maps, weights.pop(0), padding=1, stride=stride) / shrink).relu()
        added = nn.functional.conv1d(inner, weights.pop(0), padding=1) / shrink
        skip = maps if stride == 1 else nn.functional.conv1d(maps, weights.pop(0), stride=stride) / shrink
        maps = (added + skip).relu()
    assert not weights
    return maps


def test_conv1d_by_its_layers() -> None:
    torch.manual_seed(0)
    encoder, x = build({"name": "conv1d", "width": 6, "kernel": 3}, (2, 9)).eval(), torch.randn(3, 2, 9)
    maps = _maps_by_hand(encoder, x)
    close(encoder(x), maps.mean(2))
    close(encoder.tokens(x)[0], maps.transpose(1, 2))
    inner = encoder.stem(x)
    for stage in encoder.stages:
        inner = stage(inner)
    assert torch.equal(inner.mean(2), encoder(x))


@pytest.mark.parametrize(
    ("mode", "other", "shape"), [("mmtm", "cnn", (1, 8, 8)), ("mmtm", "conv1d", (2, 9)), ("cen", "conv1d", (3, 9))]
)
def test_channels_of_conv1d_are_mixed_with_those_of_others(mode: str, other: str, shape: tuple[int, ...]) -> None:
    pair = [build({"name": "conv1d", "width": 16}, (3, 9)), build({"name": other, "width": 16}, shape)]
    module = fusion.build("channel", pair, 4, channel_mode=mode)
    output = module([torch.randn(5, 3, 9), torch.randn(5, *shape)])
    module.loss(output, torch.tensor([0, 1, 2, 3, 0])).backward()
    assert all(next(encoder.parameters()).grad.any() for encoder in pair)


def test_conv1d_starts_kaiming_normal() -> None:
    torch.manual_seed(0)
    last = build("conv1d", (3, 8)).stages[2].conv2.weight
    assert last.std().item() == pytest.approx(math.sqrt(2 / (5 * 128)), rel=0.05)


@pytest.mark.parametrize(("length", "steps"), [(4, 1), (5, 2), (7, 2), (8, 2), (9, 3), (99, 25), (100, 25), (101, 26)])
def test_time_is_halved_twice_and_rounded_up(length: int, steps: int) -> None:
    assert downsampled_length(length, [1, 2, 2]) == steps
    encoder = build({"name": "conv1d", "width": 2}, (3, length))
    assert encoder.tokens(torch.randn(2, 3, length))[0].shape == (2, steps, 8)


def test_every_stride_counts() -> None:
    assert downsampled_length(7, []) == 7
    assert downsampled_length(7, [3]) == 3
    assert downsampled_length(7, [2, 3, 5]) == 1


def test_activations_of_conv1d() -> None:
    torch.manual_seed(0)
    encoder = build({"name": "conv1d", "width": 2, "activation": "gelu"}, (3, 8))
    assert sum(isinstance(layer, nn.GELU) for layer in encoder.modules()) == 4
    assert not any(isinstance(layer, nn.ReLU) for layer in encoder.modules())
    with pytest.raises(ValueError, match=r"encoder conv1d, kernel: it has to be odd, .* got 4"):
        build({"name": "conv1d", "kernel": 4}, (3, 8))


def test_gru_by_its_equations() -> None:
    torch.manual_seed(0)
    encoder = build({"name": "gru", "width": 4, "bidirectional": False}, (3, 5))
    x, weights = torch.randn(2, 3, 5), dict(encoder.layers.named_parameters())
    state, states = torch.zeros(2, 4), []
    for step in x.unbind(2):
        given = (step @ weights["weight_ih_l0"].T + weights["bias_ih_l0"]).chunk(3, dim=1)
        kept = (state @ weights["weight_hh_l0"].T + weights["bias_hh_l0"]).chunk(3, dim=1)
        reset, update = (given[0] + kept[0]).sigmoid(), (given[1] + kept[1]).sigmoid()
        state = (1 - update) * (given[2] + reset * kept[2]).tanh() + update * state
        states.append(state)
    close(encoder.tokens(x)[0], torch.stack(states, dim=1))
    close(encoder(x), torch.stack(states).mean(0))
    last = build({"name": "gru", "width": 4, "bidirectional": False, "pool": "last"}, (3, 5))
    last.load_state_dict(encoder.state_dict())
    close(last(x), state)
    assert last.out_dim == 4


@pytest.mark.parametrize("depth", [1, 2])
def test_the_last_states_are_torchs_final_ones(depth: int) -> None:
    encoder, x = build({"name": "gru", "width": 4, "depth": depth, "pool": "last"}, (3, 5)), torch.randn(2, 3, 5)
    final = encoder.layers(x.transpose(1, 2))[1]
    close(encoder(x), torch.cat([final[-2], final[-1]], dim=1))


def test_of_one_step_mean_and_last_agree() -> None:
    mean, last = (build({"name": "gru", "pool": pool}, (3, 1)) for pool in ("mean", "last"))
    last.load_state_dict(mean.state_dict())
    x = torch.randn(2, 3, 1)
    close(last(x), mean(x))


def test_last_states_of_two_directions() -> None:
    outputs = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 10, 11, 12]]])
    assert last_states(outputs).tolist() == [[9, 10, 3, 4]]
    with pytest.raises(ValueError, match="even width, got 3"):
        last_states(outputs[:, :, :3])


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "out_dim", "tokens", "stages"),
    [
        ("conv1d", (3, 100), 175_904, 128, [25, 128], [32, 64, 128]),
        ("conv1d", (6, 50), 176_384, 128, [13, 128], [32, 64, 128]),
        ("gru", (3, 100), 26_496, 128, [100, 128], None),
    ],
)
def test_sizes_of_the_defaults_are_told_without_computing(
    name: str, shape: tuple[int, ...], parameters: int, out_dim: int, tokens: list[int], stages: list[int] | None
) -> None:
    found = describe(name, shape)
    assert found == {"parameters": parameters, "out_dim": out_dim, "tokens": tokens, "stages": stages}


@pytest.mark.parametrize(
    ("name", "shape", "takes"),
    [
        ("conv1d", (3,), r"\[C, T\] with T of at least 4"),
        ("conv1d", (3, 3), r"\[C, T\] with T of at least 4"),
        ("conv1d", (3, 100, 2), r"\[C, T\]"),
        ("gru", (3,), r"\[C, T\]"),
        ("gru", (3, 0), r"\[C, T\]"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_with_those_that_do(name: str, shape: tuple[int, ...], takes: str) -> None:
    assert_shape_is_refused(name, shape, takes)
