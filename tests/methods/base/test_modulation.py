"""Modulated gradients: which parameters, which factor, which noise."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from methods.base.modulation import modulate_encoders, modulate_gradient, parameters_in_scope, trained_parameters


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Conv3d(1, 1, 1, bias=False), nn.Linear(3, 2))


def test_frozen_parameters_are_not_trained() -> None:
    net = network()
    assert trained_parameters(net) == list(net.parameters())
    net[0].weight.requires_grad_(False)
    assert trained_parameters(net) == list(net.parameters())[1:]


def test_scopes_by_the_dimensions_of_a_parameter() -> None:
    net = network()
    names = {id(p): name for name, p in net.named_parameters()}

    def in_scope(scope: str) -> list[str]:
        return [names[id(p)] for p in parameters_in_scope(net, scope)]

    assert in_scope("all") == list(names.values())
    assert in_scope("conv") == ["0.weight"]
    assert in_scope("matrix") == ["0.weight", "2.weight", "3.weight"]
    with pytest.raises(ValueError, match="'matrx', nearest is 'matrix'"):
        parameters_in_scope(net, "matrx")


def test_a_modulated_gradient_by_hand() -> None:
    grad = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    before = grad.clone()
    assert modulate_gradient(grad, 0.5).tolist() == [[0.5, 1.0], [1.5, 3.0]]
    assert torch.equal(modulate_gradient(grad, torch.tensor(0.5)), 0.5 * grad)
    # deviations -2, -1, 0, 3 from the mean 3: sqrt(14 / 3)
    noise = torch.tensor([[1.0, 0.0], [-1.0, 2.0]])
    expected = 0.5 * grad + noise * (14 / 3) ** 0.5
    torch.testing.assert_close(modulate_gradient(grad, 0.5, noise), expected)
    assert torch.equal(grad, before)


@pytest.mark.parametrize("shape", [(), (1,), (1, 1, 1)])
def test_a_gradient_of_one_entry_gets_no_noise(shape: tuple[int, ...]) -> None:
    assert torch.equal(modulate_gradient(torch.full(shape, 2.0), 0.5, torch.ones(shape)), torch.ones(shape))


def test_a_constant_gradient_gets_the_smallest_noise() -> None:
    found = modulate_gradient(torch.full((4,), 2.0, dtype=torch.float64), 0.0, torch.ones(4, dtype=torch.float64))
    assert found.tolist() == pytest.approx([1e-8] * 4)


def gradients(net: nn.Module) -> list[Tensor]:
    return [p.grad.clone() for p in net.parameters() if p.grad is not None]


def encoders() -> list[nn.Module]:
    torch.manual_seed(0)
    pair: list[nn.Module] = [nn.Linear(4, 3), nn.Sequential(nn.Linear(5, 2), nn.Linear(2, 2))]
    for net in pair:
        for p in net.parameters():
            p.grad = torch.randn_like(p)
    return pair


def test_each_encoder_has_its_factor_and_frozen_parameters_stay() -> None:
    pair = encoders()
    pair[1][0].bias.grad = None
    before = [gradients(net) for net in pair]
    modulate_encoders(pair, torch.tensor([0.25, 1.0]))
    assert pair[1][0].bias.grad is None
    for found, grads, factor in zip([gradients(net) for net in pair], before, (0.25, 1.0), strict=True):
        for one, other in zip(found, grads, strict=True):
            assert torch.equal(one, factor * other)


def test_what_is_not_in_scope_has_neither_factor_nor_noise() -> None:
    pair = encoders()
    before = [gradients(net) for net in pair]
    modulate_encoders(pair, torch.tensor([0.25, 0.5]), "matrix", seeded())
    for net, grads in zip(pair, before, strict=True):
        for p, grad in zip(net.parameters(), grads, strict=True):
            assert p.grad is not None
            assert torch.equal(p.grad, grad) is (p.ndim == 1)


def test_noise_is_drawn_parameter_by_parameter_for_every_encoder() -> None:
    pair, random = encoders(), seeded(5)
    expected = []
    for net, factor in zip(pair, (0.25, 1.0), strict=True):
        for grad in gradients(net):
            expected.append(modulate_gradient(grad, factor, torch.randn(grad.shape, generator=random)))
    modulate_encoders(pair, torch.tensor([0.25, 1.0]), generator=seeded(5))
    for one, other in zip([g for net in pair for g in gradients(net)], expected, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)


def test_noise_has_mean_zero_and_the_gradient_s_deviation() -> None:
    net = nn.Linear(200, 200)
    grad = net.weight.grad = 3 * torch.randn(200, 200, generator=seeded(1))
    net.bias.grad = torch.zeros(200)
    modulate_encoders([net], torch.tensor([0.0]), generator=seeded(2))
    assert float(net.weight.grad.mean()) == pytest.approx(0, abs=0.06)
    assert float(net.weight.grad.std()) == pytest.approx(float(grad.std()), rel=0.02)
