"""Encoders: one modality's input -> one feature vector. Found by name, with typed options::

    encoder = build({"name": "cnn", "width": 16}, shape=(1, 28, 28))
    encoder(torch.randn(5, 1, 28, 28))  # [5, encoder.out_dim]

A module a family; torchvision, transformers and timm are imported when one of their networks is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from pydantic import ValidationError

from models import unknown
from models.batchnorm import synchronize
from models.encoders.base import Encoder, EncoderOptions, Shape, ShapeError
from models.encoders.basic import MLP, MLPOptions, SmallCNN, SmallCNNOptions
from models.encoders.bert import Bert, BertOptions
from models.encoders.cav_mae import CAVMAE, CAVMAEOptions
from models.encoders.checkpoints import LoadReport, absence, load_weights
from models.encoders.clip import CLIPImage, CLIPImageOptions, CLIPText, CLIPTextOptions
from models.encoders.i3d import I3D, I3DOptions
from models.encoders.m3ae import M3AEImage, M3AEImageOptions, M3AEText, M3AETextOptions
from models.encoders.patches import (
    PatchTransformer,
    PatchTransformerOptions,
    ViT,
    ViTOptions,
    pad_to_multiple,
    patchify,
)
from models.encoders.resnet import ResNet18, ResNet18Options, ResNet50, ResNet50Options
from models.encoders.sequences import GRU, Conv1d, Conv1dOptions, GRUOptions, downsampled_length, last_states
from models.encoders.timm_networks import Timm, TimmOptions

__all__ = [
    "CAVMAE",
    "ENCODERS",
    "GRU",
    "I3D",
    "MLP",
    "Bert",
    "BertOptions",
    "CAVMAEOptions",
    "CLIPImage",
    "CLIPImageOptions",
    "CLIPText",
    "CLIPTextOptions",
    "Conv1d",
    "Conv1dOptions",
    "Encoder",
    "EncoderOptions",
    "GRUOptions",
    "I3DOptions",
    "LoadReport",
    "M3AEImage",
    "M3AEImageOptions",
    "M3AEText",
    "M3AETextOptions",
    "MLPOptions",
    "PatchTransformer",
    "PatchTransformerOptions",
    "ResNet18",
    "ResNet18Options",
    "ResNet50",
    "ResNet50Options",
    "Shape",
    "ShapeError",
    "SmallCNN",
    "SmallCNNOptions",
    "Timm",
    "TimmOptions",
    "ViT",
    "ViTOptions",
    "absent_weights",
    "build",
    "describe",
    "downsampled_length",
    "fitting",
    "last_states",
    "load_weights",
    "names",
    "pad_to_multiple",
    "patchify",
    "refusal",
    "resolve",
    "stage_count",
    "staged",
]

_KINDS: tuple[type[Encoder], ...] = (
    MLP,
    SmallCNN,
    Conv1d,
    GRU,
    PatchTransformer,
    ViT,
    ResNet18,
    ResNet50,
    Timm,
    Bert,
    I3D,
    CLIPImage,
    CLIPText,
    M3AEImage,
    M3AEText,
    CAVMAE,
)
ENCODERS: dict[str, type[Encoder]] = {kind.name: kind for kind in _KINDS}


def names() -> list[str]:
    """List the names of every encoder."""
    return sorted(ENCODERS)


def resolve(spec: str | Mapping[str, Any]) -> dict[str, Any]:
    """Write ``spec``, a name or {"name": name, option: value, ...}, as {"name": name} with every option filled in.

    Raises ValueError naming the wrong encoder or option, and the nearest valid one."""
    kind, options = _parse(spec)
    return {"name": kind.name, **options.model_dump()}


def build(spec: str | Mapping[str, Any], shape: Shape) -> Encoder:
    """Build the encoder that ``spec`` (as for :func:`resolve`) describes, for samples of ``shape`` (no batch axis). Its
    batch norms are those of :mod:`models.batchnorm`. Raises ValueError as ``resolve``, ShapeError for a wrong shape."""
    kind, options = _parse(spec)
    return synchronize(kind(tuple(shape), options))


def refusal(spec: str | Mapping[str, Any], shape: Shape, tokens: bool = False) -> str | None:
    """Say why the encoder that ``spec`` describes cannot take samples of ``shape``, and which encoders can; None where
    it can. Nothing is built. tokens: samples are token ids and attention masks, whole numbers. Raises ValueError as
    ``resolve``."""
    kind, options = _parse(spec)
    shape = tuple(shape)
    if not kind.fits(shape, options):
        reason = kind.refusal(shape, options)
    elif tokens and not kind.reads_tokens:
        reason = f"encoder {kind.name} cannot take token ids, whole numbers {list(shape)}; it takes measured numbers"
    elif (misfit := kind.misfit(shape, options)) is not None:
        reason = misfit
    else:
        return None
    others = [name for name in fitting(shape, tokens) if name != kind.name]
    return reason + (f"; encoders that take it: {', '.join(others)}" if others else "")


def absent_weights(spec: str | Mapping[str, Any]) -> str | None:
    """Say that the weights to start from, of the encoder that ``spec`` describes, are not on this machine; None where
    they are, where there are none, and where only trying can tell. Raises ValueError as ``resolve``."""
    kind, options = _parse(spec)
    pretrained = getattr(options, "pretrained", None)
    reason = None if pretrained is None else absence(pretrained, options.weights_may_be_elsewhere())
    return reason and f"encoder {kind.name}, {reason}"


def fitting(shape: Shape, tokens: bool = False) -> list[str]:
    """List the encoders that take samples of ``shape`` by their default options. tokens: as for :func:`refusal`."""
    kinds = (ENCODERS[name] for name in names())
    return [k.name for k in kinds if k.reads_tokens == tokens and k.fits(tuple(shape), k.described_by())]


def stage_count(spec: str | Mapping[str, Any]) -> int:
    """Count the parts in which the encoder that ``spec`` describes can be run, for fusion between them; 0 where it has
    none. Raises ValueError as ``resolve``."""
    kind, options = _parse(spec)
    return kind.stage_count(options)


def staged() -> list[str]:
    """List the encoders that can be run in parts, by their default options."""
    return [name for name in names() if ENCODERS[name].stage_count(ENCODERS[name].described_by())]


def describe(spec: str | Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    """Tell the sizes of the encoder that ``spec`` describes, for samples of ``shape``, without computing anything:
    ``parameters``, ``out_dim``, ``tokens`` [L, D] and the channels of its ``stages``, None where it has none. Raises
    ValueError as :func:`build`."""
    with torch.device("meta"):
        encoder: Any = build(spec, shape).eval()
        sample = torch.zeros(1, *shape)
        tokens, _ = encoder.tokens(sample)
        stages = None
        if stage_count(spec):
            maps, stages = encoder.stem(sample), []
            for stage in encoder.stages:
                maps = stage(maps)
                stages.append(maps.shape[1])
    parameters = sum(parameter.numel() for parameter in encoder.parameters())
    return {
        "parameters": parameters, "out_dim": encoder.out_dim, "tokens": list(tokens.shape[1:]), "stages": stages
    }  # fmt: skip


def _parse(spec: str | Mapping[str, Any]) -> tuple[type[Encoder], EncoderOptions]:
    values = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "name" not in values:
        raise ValueError(f"an encoder needs a name; there are: {', '.join(names())}")
    name = values.pop("name")
    if not isinstance(name, str) or name not in ENCODERS:
        raise unknown("encoder", name, names())
    kind = ENCODERS[name]
    for option in values:
        if option not in kind.Options.model_fields:
            raise unknown(f"option of encoder {name}", option, kind.Options.model_fields)
    try:
        return kind, kind.Options(**values)
    except ValidationError as error:
        first = error.errors()[0]
        message = first["msg"].removeprefix("Value error, ")
        if not first["loc"]:
            raise ValueError(f"encoder {name}: {message}") from None
        where = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise ValueError(
                f"encoder {name} needs its option {where}: {kind.Options.model_fields[where].description}"
            ) from None
        raise ValueError(f"encoder {name}, {where}: {message}, got {first['input']!r}") from None
