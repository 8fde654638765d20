"""CEN: the exchange of channels against naive loops, then the fusion between the stages of encoders."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models import encoders
from models.batchnorm import SynchronizedBatchNorm, synchronize
from models.fusion import CENFusion, channel_exchange, exchange_penalty

close = torch.testing.assert_close
IMAGES = (1, 8, 8)


def _parts(name: str, *shapes: tuple[int, ...]) -> list[nn.Module]:
    """Encoders with batch norm scales of all sizes."""
    torch.manual_seed(0)
    options = {"name": name, "width": 4} if name == "cnn" else name
    parts = [encoders.build(options, shape) for shape in shapes]
    for part in parts:
        for norm in part.modules():
            if isinstance(norm, SynchronizedBatchNorm):
                nn.init.uniform_(norm.weight, -1, 1)
    return parts


def _images(*shapes: tuple[int, ...], batch: int = 5) -> list[Tensor]:
    random = torch.Generator().manual_seed(2)
    return [torch.randn(batch, *shape, generator=random) for shape in shapes]


# Equations -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 2, 3), (4, 1, 2, 2)])
@pytest.mark.parametrize("count", [2, 3])
def test_exchange_by_naive_loops(shape: tuple[int, ...], count: int) -> None:
    features, threshold = _images(*[shape] * count, batch=2), 0.5
    scales = [torch.tensor([0.5, -0.5, 0.4, -0.1]), torch.tensor([0.1, 0.9, 0.2, -0.7]), torch.zeros(4)][:count]
    before = [x.clone() for x in features]
    found = channel_exchange(features, scales, threshold)
    for m in range(count):
        for c in range(4):
            others = [before[k][:, c] for k in range(count) if k != m]
            keeps = abs(scales[m][c].item()) >= threshold
            close(found[m][:, c], before[m][:, c] if keeps else sum(others) / len(others))
    assert all(torch.equal(x, y) for x, y in zip(features, before, strict=True))
    assert all(x.data_ptr() != y.data_ptr() for x, y in zip(features, found, strict=True))


def test_exchange_of_nothing_and_of_everything() -> None:
    features, scales = _images((4, 3), (4, 3)), [torch.zeros(4), torch.ones(4)]
    for found, own in zip(channel_exchange(features, scales, 0.0), features, strict=True):
        assert torch.equal(found, own)
    for found, other in zip(channel_exchange(features, scales, 1e9), features[::-1], strict=True):
        assert torch.equal(found, other)


def test_no_gradient_reaches_a_replaced_channel() -> None:
    features = [x.requires_grad_() for x in _images((2, 3), (2, 3))]
    scales = [torch.tensor([0.0, 1.0], requires_grad=True), torch.tensor([1.0, 1.0], requires_grad=True)]
    torch.stack(channel_exchange(features, scales, 0.5)).sum().backward()
    assert not features[0].grad[:, 0].any()
    assert (features[0].grad[:, 1] == 1).all()
    assert (features[1].grad[:, 0] == 2).all()
    assert scales[0].grad is None


@pytest.mark.parametrize(
    ("shapes", "message"), [([(4, 3), (4, 2)], r"\[5, 4, 3\], \[5, 4, 2\]"), ([(4, 3)], "two modalities or more")]
)
def test_what_cannot_be_exchanged(shapes: list[tuple[int, ...]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        channel_exchange(_images(*shapes), [torch.ones(4)] * len(shapes), 0.1)


def test_penalty_of_each_part_for_one_modality() -> None:
    first, second, third = torch.tensor([[1.0, -2, 3, -4, 5], [10, 20, 30, 40, 50], [100, 200, 300, 400, 500]])
    assert exchange_penalty([first, second]).item() == 1 + 2 + 3 + 40 + 50
    assert exchange_penalty([first, second, third]).item() == 1 + 2 + 30 + 40 + 500


# The fusion ----------------------------------------------------------------------------------------------------


def _exchange(norms: list[Any], maps: list[Tensor], threshold: float) -> list[Tensor]:
    return channel_exchange(
        [norm(x) for norm, x in zip(norms, maps, strict=True)], [n.weight for n in norms], threshold
    )


@pytest.mark.parametrize("count", [2, 3])
def test_small_networks_exchange_after_each_batch_norm(count: int) -> None:
    shapes = [IMAGES, (2, 8, 8), IMAGES][:count]
    module, maps = CENFusion(_parts("cnn", *shapes), 4, cen_threshold=0.4).eval(), _images(*shapes)
    inputs = maps
    layers = [encoder.layers for encoder in module.encoders]
    for start in (0, 4, 8):
        maps = _exchange(
            [own[start + 1] for own in layers], [own[start](x) for own, x in zip(layers, maps, strict=True)], 0.4
        )
        maps = [x.clamp_min(0) for x in maps]
        maps = maps if start == 8 else [F.max_pool2d(x, 2) for x in maps]
    close(module.encode(inputs), [x.mean((2, 3)) for x in maps])


def test_residual_networks_exchange_after_the_first_batch_norm_of_a_block() -> None:
    module, inputs = (
        CENFusion(_parts("resnet18", *[(3, 32, 32)] * 2), 4, cen_threshold=0.3).eval(),
        _images((3, 32, 32), (3, 32, 32), batch=2),
    )
    maps = [encoder.stem(x) for encoder, x in zip(module.encoders, inputs, strict=True)]
    nets = [encoder.backbone for encoder in module.encoders]
    for layer in ("layer1", "layer2", "layer3", "layer4"):
        for number in range(2):
            blocks = [getattr(net, layer)[number] for net in nets]
            inner = _exchange([b.bn1 for b in blocks], [b.conv1(x) for b, x in zip(blocks, maps, strict=True)], 0.3)
            inner = [b.bn2(b.conv2(x.clamp_min(0))) for b, x in zip(blocks, inner, strict=True)]
            skip = [x if b.downsample is None else b.downsample(x) for b, x in zip(blocks, maps, strict=True)]
            maps = [(x + y).clamp_min(0) for x, y in zip(inner, skip, strict=True)]
    close(module.encode(inputs), [x.mean((2, 3)) for x in maps])
    assert len(module.exchanges()) == 8
    names = [name for name, layer in nets[0].named_modules() if isinstance(layer, nn.Conv2d)]
    assert all(nets[0].get_submodule(n).weight is nets[1].get_submodule(n).weight for n in names)
    private = [p for p in nets[1].parameters() if all(p is not other for other in nets[0].parameters())]
    assert len(private) == 2 * 20  # scales and shifts


@pytest.mark.parametrize("name", ["cnn", "resnet18"])
def test_without_exchange_each_encoder_is_alone(name: str) -> None:
    shape = (3, 32, 32) if name == "resnet18" else IMAGES
    module, inputs = CENFusion(_parts(name, shape, shape), 4, cen_threshold=0.0).eval(), _images(shape, shape, batch=2)
    for encoder, x, pooled in zip(module.encoders, inputs, module.encode(inputs), strict=True):
        maps = encoder.stem(x)
        for stage in encoder.stages:
            maps = stage(maps)
        close(pooled, maps.mean((2, 3)))


def test_heads_average_detached_with_learned_weights() -> None:
    module = CENFusion(_parts("cnn", IMAGES, IMAGES), 4, cen_l1=0.01)
    assert module.shares.tolist() == [1.0, 1.0]
    nn.init.constant_(module.shares[:1], 2.0)
    output, target = module(_images(IMAGES, IMAGES)), torch.tensor([0, 1, 2, 3, 0])
    heads = module.unimodal_logits(output.features)
    weight = torch.sigmoid(torch.tensor(1.0))
    close(output.logits, weight * heads[0] + (1 - weight) * heads[1])
    every = sum(F.cross_entropy(logits, target) for logits in (*heads, output.logits))
    scales = [[part.layers[k].weight for k in (1, 5, 9)] for part in module.encoders]
    penalty = sum(a[: len(a) // 2].abs().sum() + b[len(b) // 2 :].abs().sum() for a, b in zip(*scales, strict=True))
    close(module.loss(output, target), every + 0.01 * penalty)
    graph = torch.autograd.grad(output.logits.sum(), [module.shares, *module.heads.parameters()], allow_unused=True)
    assert graph[0].abs().sum() > 0
    assert all(gradient is None for gradient in graph[1:])


def test_gradients_reach_every_encoder() -> None:
    parts = _parts("cnn", IMAGES, (3, 8, 8))
    module = CENFusion(parts, 4)
    first = parts[0].layers[0].weight, parts[1].layers[0].weight
    assert first[0].shape != first[1].shape
    module.loss(module(_images(IMAGES, (3, 8, 8))), torch.tensor([0, 1, 2, 3, 0])).backward()
    for part in parts:
        assert all(p.grad.abs().sum() > 0 for stage in part.stages for p in stage.parameters())
    assert module.shares.grad is not None


def test_private_norms_and_shared_convolutions_survive_copies_moves_and_synchronisation() -> None:
    module = CENFusion([encoders.SmallCNN(IMAGES), encoders.SmallCNN(IMAGES)], 4)
    before = [scale for place in module.exchanges() for scale in place]
    assert type(module.encoders[0].layers[1]) is nn.BatchNorm2d
    synchronize(module)
    assert type(module.encoders[0].layers[1]) is SynchronizedBatchNorm
    assert all(a is b for a, b in zip(before, [s for place in module.exchanges() for s in place], strict=True))
    for other in (copy.deepcopy(module), module.double()):
        first, second = other.encoders
        assert first.layers[4].weight is second.layers[4].weight
        assert first.layers[5].weight is not second.layers[5].weight
        assert other.exchanges()[1][0] is first.layers[5].weight
    loaded = CENFusion([encoders.SmallCNN(IMAGES), encoders.SmallCNN(IMAGES)], 4).double()
    loaded.load_state_dict(module.state_dict())
    inputs = [x.double() for x in _images(IMAGES, IMAGES)]
    assert torch.equal(loaded.eval()(inputs).logits, module.eval()(inputs).logits)


def test_absent_modalities_are_zeros_to_the_others() -> None:
    module, (first, second) = (
        CENFusion(_parts("cnn", IMAGES, IMAGES), 4, cen_threshold=0.5).eval(),
        _images(*[IMAGES] * 2),
    )
    features = module.encode([first, second], present=[True, False])
    assert not features[1].any()
    close(module.encode([first, second + 1], present=[True, False]), features)
    assert not torch.allclose(module.encode([first, second])[0], features[0])


class _Odd(nn.Module):
    """A stage that hides its batch norm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)


class _Staged(nn.Module):
    def __init__(self, *stages: nn.Module) -> None:
        super().__init__()
        self.stem, self.stages, self.out_dim = nn.Conv2d(1, 3, 3), nn.ModuleList(stages), 3


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (lambda: _parts("cnn", IMAGES), r"fusion channel \(cen\) is not defined for M = 1"),
        (lambda: [encoders.build({"name": "cnn", "width": w}, IMAGES) for w in (4, 8)], "encoder 2 differs"),
        (lambda: [_Staged(nn.BatchNorm2d(3)), _Staged(nn.ReLU())], "encoder 2 differs from the first"),
        (lambda: [_Staged(nn.ReLU()), _Staged(nn.ReLU())], "needs a batch norm with scales"),
        (lambda: [_Staged(nn.BatchNorm2d(3, affine=False)) for _ in range(2)], "needs a batch norm with scales"),
        (lambda: [_Staged(_Odd()), _Staged(_Odd())], "does not know where in a _Odd"),
    ],
)
def test_encoders_that_do_not_fit_are_refused(parts: Callable[[], list[nn.Module]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CENFusion(parts(), 4)


def test_maps_of_unequal_size_are_refused() -> None:
    module = CENFusion(_parts("cnn", IMAGES, (1, 8, 10)), 4)
    with pytest.raises(ValueError, match=r"maps of one shape, these have \[5, 4, 8, 8\], \[5, 4, 8, 10\]"):
        module(_images(IMAGES, (1, 8, 10)))
