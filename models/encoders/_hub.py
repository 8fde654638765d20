"""Encoders of the transformers library: their sizes and weights from its hub, a folder or a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from models.encoders.base import AttentionOptions
from models.encoders.checkpoints import (
    UNREADABLE,
    LoadReport,
    absence,
    another_network,
    first_line,
    may_be_of_hub,
    nothing_fits,
    read_weights,
)

CONFIGURATION = "config.json"


@dataclass(frozen=True)
class Architecture:
    """How the library's configuration says what the options say."""

    kinds: tuple[str, ...]
    """Values of ``model_type``."""
    sizes: Mapping[str, tuple[str, Any]]
    """Option -> its key there, and the value where the key is not written."""
    fixed: Mapping[str, Any]
    """Key -> the only value that the encoder computes with, which is also that of a key that is not written."""
    section: str | None = None
    """Where the keys are in the configuration of a network of two branches."""
    above: tuple[str, ...] = ()
    """Keys that such a configuration has outside the section."""
    elsewhere: tuple[str, ...] = ()
    """Beginnings of names in a checkpoint that belong to other branches and heads, and are not missed."""

    def read(self, configuration: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Read the options off a configuration. Raises ValueError for one of another kind of network."""
        kind = configuration.get("model_type")
        if kind not in self.kinds:
            raise ValueError(f"{where} is of a network of type {kind!r}, wanted is {' or '.join(self.kinds)}")
        part = configuration
        if self.section is not None and self.section in configuration:
            part = {**configuration[self.section], **{k: configuration[k] for k in self.above if k in configuration}}
        for key, value in self.fixed.items():
            if part.get(key, value) != value:
                raise ValueError(f"{where} has {key} {part[key]!r}; this encoder computes with {value!r} only")
        return {option: part.get(key, default) for option, (key, default) in self.sizes.items()}


class HubOptions(AttentionOptions):
    """Options of an encoder of the library. Where ``pretrained`` is a local folder its configuration sets the sizes."""

    architecture: ClassVar[Architecture]
    pretrained: str | None = Field(
        None,
        min_length=1,
        description="null: random weights; a name of the Hugging Face hub; a local folder as save_pretrained writes "
        "it, which sets the sizes; or a local file of weights",
    )

    def weights_may_be_elsewhere(self) -> bool:
        return self.pretrained is not None and may_be_of_hub(self.pretrained)

    @model_validator(mode="before")
    @classmethod
    def _sizes_of_folder(cls, values: Any) -> Any:
        pretrained = values.get("pretrained") if isinstance(values, dict) else None
        if not isinstance(pretrained, str) or not pretrained or not (folder := Path(pretrained).expanduser()).is_dir():
            return values
        path = folder / CONFIGURATION
        try:
            configuration = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ValueError(
                f"pretrained: {path} cannot be read ({first_line(error)}); "
                "wanted is a folder as save_pretrained writes it"
            ) from error
        found = cls.architecture.read(configuration, f"pretrained: {path}")
        for option, value in found.items():
            if values.get(option, value) != value:
                raise ValueError(f"{option}: {values[option]} was asked for, but {path} says {value}; leave it out")
        return {**values, **found}

    def configuration(self) -> dict[str, Any]:
        """List the arguments of the library's configuration."""
        sizes = {key: getattr(self, option) for option, (key, _) in self.architecture.sizes.items()}
        return {**self.architecture.fixed, **sizes}


def build(kind: Any, options: HubOptions, extra: Mapping[str, Any], **arguments: Any) -> nn.Module:
    """Build the library's model of class ``kind`` (its ``arguments`` beside the configuration), with random weights or
    those of ``options.pretrained``. extra: settings of the configuration that are no part of the architecture. Raises
    ValueError where the weights cannot be had or are of another network."""
    with quiet():
        # The kernels of torch take the masks that the encoders make, and compute the same with them on every device.
        configuration = kind.config_class(**options.configuration(), **extra, attn_implementation="sdpa")
        if options.pretrained is None:
            return kind(configuration, **arguments)
        return _pretrained(kind, configuration, options, options.pretrained, arguments)


def apply(model: nn.Module, output: str, **inputs: Tensor) -> Tensor:
    """Compute the ``output`` of a model of the library for a batch, which may be empty: a share of no samples has a
    feature of no rows, and gradients of zero."""
    count = len(next(iter(inputs.values())))
    if not count:
        inputs = {name: x.new_ones(1, *x.shape[1:]) for name, x in inputs.items()}
    return getattr(model(**inputs), output)[:count]


def _pretrained(
    kind: Any, configuration: Any, options: HubOptions, pretrained: str, arguments: Mapping[str, Any]
) -> nn.Module:
    path = Path(pretrained).expanduser()
    if not path.exists():
        _check_hub(kind, options, pretrained)
    weights = read_weights(path) if path.is_file() else None
    source = None if path.is_file() else str(path) if path.is_dir() else pretrained
    try:
        model, info = kind.from_pretrained(
            source,
            config=configuration,
            state_dict=weights,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **arguments,
        )
    except UNREADABLE as error:
        raise ValueError(f"pretrained: no weights could be read from {pretrained} ({first_line(error)})") from error
    _account(model, info, options.architecture, weights).tell(pretrained)
    return model


def _check_hub(kind: Any, options: HubOptions, name: str) -> None:
    """Check the sizes: raises ValueError where the hub's ``name`` cannot be had, or has other sizes than
    ``options``."""
    if (reason := absence(name, may_be_of_hub(name))) is not None:
        raise ValueError(reason)
    try:
        found, _ = kind.config_class.get_config_dict(name)
    except OSError as error:
        raise ValueError(
            f"pretrained: {name!r} is no file or folder here, and could not be fetched from the Hugging Face hub "
            f"({first_line(error)}); give the path of a local folder that holds {CONFIGURATION} and the weights"
        ) from error
    sizes = options.architecture.read(found, f"pretrained: {name}")
    if wrong := {option: value for option, value in sizes.items() if getattr(options, option) != value}:
        wanted = ", ".join(f"{option}: {value}" for option, value in wrong.items())
        raise ValueError(f"pretrained: {name} is of other sizes; write {wanted}")


def _account(model: nn.Module, info: Mapping[str, Any], architecture: Architecture, given: Any) -> LoadReport:
    """Turn the library's account of a loading into ours. Raises ValueError where nothing or the wrong thing was
    loaded."""
    for name, found, wanted in sorted(info["mismatched_keys"]):
        raise another_network(name, found, wanted)
    missing = sorted(info["missing_keys"])
    unexpected = [name for name in sorted(info["unexpected_keys"]) if not name.startswith(architecture.elsewhere)]
    loaded = [name for name in model.state_dict() if name not in info["missing_keys"]]
    if not loaded:
        raise nothing_fits(given or info["unexpected_keys"], model.state_dict())
    return LoadReport(tuple(loaded), tuple(missing), tuple(unexpected), ())


@contextmanager
def quiet() -> Iterator[None]:
    """Keep the library from its bars and tables: the account is given as a warning of ours."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
