"""CEN, an option of ``channel``: channels of small batch norm scale are taken from the other modalities."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

from models.fusion.base import FusionOutput, zeroed
from models.fusion.stages import ChannelFusion, keep

# Equations -------------------------------------------------------------------------------------------------------


def channel_exchange(features: list[Tensor], bn_scales: list[Tensor], threshold: float) -> list[Tensor]:
    """Make new maps in which a channel with |scale| below ``threshold`` is replaced by the mean over the other
    modalities of that channel, as it was before any exchange.

    features: [B, C, ...] each, of one shape; bn_scales: [C] each. A replaced channel gets no gradient. Raises
    ValueError for unequal shapes and for fewer than two modalities. Wang et al., "CEN", NeurIPS 2020."""
    if len(features) < 2:
        raise ValueError("channels are exchanged between two modalities or more")
    if len({x.shape for x in features}) > 1:
        shapes = ", ".join(str(list(x.shape)) for x in features)
        raise ValueError(f"channels are exchanged between maps of one shape, these have {shapes}")
    exchanged = []
    for m, (own, scale) in enumerate(zip(features, bn_scales, strict=True)):
        keeps = (scale.abs() >= threshold).view(1, -1, *[1] * (own.dim() - 2))
        others = torch.stack([*features[:m], *features[m + 1 :]]).mean(0)
        exchanged.append(torch.where(keeps, own, others))
    return exchanged


def exchange_penalty(bn_scales: list[Tensor]) -> Tensor:
    """Sum |scale| (0-d) of modality m over part m of the channels, for every m: those of the scales [C] are split into
    M contiguous parts as equal as possible, so that a channel is pushed out of one modality only."""
    parts = [scale.tensor_split(len(bn_scales))[m] for m, scale in enumerate(bn_scales)]
    return torch.cat(parts).abs().sum()


# The fusion ------------------------------------------------------------------------------------------------------


class CENFusion(ChannelFusion):
    """The encoders share their convolutions (which changes those given) and keep their own batch norms; after the first
    batch norm of every residual block (in a plain sequence of layers, after each) channels of small scale are replaced
    by the other modalities'. The prediction is an average of the detached heads with learned weights. Native: the
    heads.

    cen_threshold: scale from which a channel is kept. cen_l1: weight of :func:`exchange_penalty` in the loss.
    A first convolution of another input width stays private. ``extra["heads"]`` of the output: the heads' logits,
    [M, B, C]. Raises ValueError for encoders of unequal architecture; ``forward`` does for maps of unequal size.

    Wang et al., "Deep Multimodal Fusion by Channel Exchanging", NeurIPS 2020. The place of the exchange in blocks of
    two convolutions is ours; the official code counts the penalty once an output."""

    name = "channel (cen)"
    title = "exchange of channels between encoders of one architecture"
    paper = "Wang et al., NeurIPS 2020"
    needs_own_loss = True
    options = frozenset({"cen_threshold", "cen_l1"})

    def __init__(
        self,
        encoders: Sequence[nn.Module],
        num_classes: int,
        *,
        cen_threshold: float = 0.02,
        cen_l1: float = 2e-4,
        **shared: Any,
    ) -> None:
        super().__init__(encoders, num_classes, **shared)
        self.threshold, self.l1 = cen_threshold, cen_l1
        self.shares = nn.Parameter(torch.ones(len(encoders)))
        _share_convolutions(encoders)
        places = self.exchanges()
        if not places or any(scale is None for scales in places for scale in scales):
            raise ValueError("fusion channel (cen) needs a batch norm with scales in the encoders' stages")

    def exchanges(self) -> list[list[Tensor]]:
        """List the scales of the batch norms after which channels are exchanged: for each place, those [C] of the
        modalities."""
        norms = ([norm for stage in encoder.stages for norm in _exchange_norms(stage)] for encoder in self.encoders)
        return [[norm.weight for norm in place] for place in zip(*norms, strict=True)]

    def _stage(
        self, number: int, stages: Sequence[nn.Module], maps: list[Tensor], batch: int, present: Sequence[bool]
    ) -> list[Tensor]:
        def exchange(norms: Sequence[Any], maps: list[Tensor]) -> list[Tensor]:
            return channel_exchange(keep(maps, present), [norm.weight for norm in norms], self.threshold)

        return _side_by_side(stages, maps, exchange)

    def fuse(self, features: list[Tensor], present: Tensor | None = None) -> FusionOutput:
        features = zeroed(features, present)
        logits = torch.stack(self.native_logits(features))
        average = (self.shares.softmax(0).view(-1, 1, 1) * logits.detach()).sum(0)
        return FusionOutput(average, features, {"heads": logits})

    def loss(self, output: FusionOutput, target: Tensor, epoch: int = 0) -> Tensor:
        """Sum the cross-entropies of the heads and of their average, and the penalty."""
        every = [*output.extra["heads"], output.logits]
        penalty = torch.stack([exchange_penalty(scales) for scales in self.exchanges()]).sum()
        return torch.stack([F.cross_entropy(logits, target) for logits in every]).sum() + self.l1 * penalty


def _side_by_side(
    modules: Sequence[Any], maps: list[Tensor], exchange: Callable[[Sequence[Any], list[Tensor]], list[Tensor]]
) -> list[Tensor]:
    """Apply the same part of every encoder, each to its own maps; ``exchange`` sees the batch norms and what they
    gave."""
    first = modules[0]
    if isinstance(first, nn.Sequential):
        for layers in zip(*modules, strict=True):
            maps = _side_by_side(layers, maps, exchange)
        return maps
    if _is_residual_block(first):
        norms = [block.bn1 for block in modules]
        inner = [block.bn1(block.conv1(x)) for block, x in zip(modules, maps, strict=True)]
        return [_rest(*part) for part in zip(modules, maps, exchange(norms, inner), strict=True)]
    maps = [module(x) for module, x in zip(modules, maps, strict=True)]
    return exchange(modules, maps) if isinstance(first, _BatchNorm) else maps


def _rest(block: Any, x: Tensor, inner: Tensor) -> Tensor:
    """Apply a residual block after its first batch norm."""
    skip = x if block.downsample is None else block.downsample(x)
    return block.relu(block.bn2(block.conv2(block.relu(inner))) + skip)


def _is_residual_block(module: nn.Module) -> bool:
    return all(
        hasattr(module, name) for name in ("conv1", "bn1", "relu", "conv2", "bn2", "downsample")
    ) and not hasattr(module, "bn3")


def _exchange_norms(module: Any) -> Iterator[_BatchNorm]:
    """List the batch norms after which :func:`_side_by_side` exchanges, in its order."""
    if isinstance(module, nn.Sequential):
        for layer in module:
            yield from _exchange_norms(layer)
    elif _is_residual_block(module):
        yield module.bn1
    elif isinstance(module, _BatchNorm):
        yield module
    elif any(isinstance(layer, _BatchNorm) for layer in module.modules()):
        raise ValueError(
            f"fusion channel (cen) does not know where in a {type(module).__name__} channels are exchanged; it takes "
            "sequences of layers and residual blocks of two convolutions"
        )


def _share_convolutions(encoders: Sequence[nn.Module]) -> None:
    """Let every encoder use the first one's convolutions, in place. Raises ValueError for unequal architectures."""
    first = _layers(encoders[0])
    for number, encoder in enumerate(encoders[1:], start=2):
        own = _layers(encoder)
        different = ValueError(
            f"fusion channel (cen) needs encoders of one architecture, encoder {number} differs from the first"
        )
        if [(name, type(layer)) for name, layer in own] != [(name, type(layer)) for name, layer in first]:
            raise different
        convolutions = [(a, b) for (_, a), (_, b) in zip(own, first, strict=True) if isinstance(a, _ConvNd)]
        for position, (mine, shared) in enumerate(convolutions):
            if mine.weight.shape == shared.weight.shape:
                mine.weight, mine.bias = shared.weight, shared.bias
            elif position > 0 or mine.weight.shape[0] != shared.weight.shape[0]:
                raise different


def _layers(encoder: nn.Module) -> list[tuple[str, Any]]:
    return list(encoder.named_modules())
