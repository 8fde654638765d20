"""A trained model outside its sweep: a folder with weights and all that is needed to build the network again.

model = sweep.load_model("exports/iprm-alpha")
probabilities = model.predict({"left": left, "profile": profile})
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

import methods
from data.base import Column, Split, sample_shape
from methods.base import MULTI, Method
from models import encoders
from sweep.config import ConfigError
from sweep.runs.records import Run
from sweep.training.metrics import predict_split
from sweep.training.workers import WorkerGroup

WEIGHTS = "model.safetensors"
CARD = "model.json"
LARGEST_SAMPLE = 2**28
"""Numbers that one sample may have."""


class ModelError(ConfigError):
    """A folder holds no model, or inputs do not fit it; the message says what to do."""


class ModelCard(BaseModel):
    """model.json: all that is needed to build a model again, and its origin."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_inf_nan="constants")

    sweep: str
    label: str
    hash: str
    """Of the run that trained it."""
    run: Run
    shapes: dict[str, list[int]]
    """Modality -> shape of one sample, in modality order."""
    classes: list[str]
    selected_epoch: int
    validation: dict[str, float]
    packages: dict[str, str]
    """Versions that trained it."""


class Model:
    """A trained method, ready to predict."""

    def __init__(self, card: ModelCard, method: Method, device: torch.device) -> None:
        self.card, self.method, self.device = card, method.to(device).eval(), device

    @property
    def modalities(self) -> tuple[str, ...]:
        return tuple(self.card.shapes)

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.card.classes)

    def logits(
        self, inputs: Mapping[str, Tensor | np.ndarray | Column], present: Sequence[str] | None = None
    ) -> dict[str, Tensor]:
        """Compute logits [N, C], on the CPU, for "multi" (the fused prediction) and each modality.

        inputs: modality -> [N, ...] in the model-ready form of its dataset. present: modalities to use (default: those
        given; the features of the others are zeroed). Raises ModelError for inputs that do not fit."""
        split = self._split(inputs)
        used = list(present) if present is not None else [m for m in self.modalities if m in inputs]
        if unknown := [m for m in used if m not in inputs]:
            raise ModelError(f"no input for modality {unknown[0]!r}; given: {', '.join(inputs)}")
        everything = set(used) == set(self.modalities)
        found = predict_split(self.method, split, self.device, WorkerGroup(), None if everything else used)
        return {name: values.cpu() for name, values in found.items() if name == MULTI or name in used}

    def predict(self, inputs: Mapping[str, Tensor | np.ndarray], present: Sequence[str] | None = None) -> Tensor:
        """Compute probabilities [N, C] of the fused prediction; see :meth:`logits`."""
        return self.logits(inputs, present)[MULTI].softmax(-1)

    def _split(self, inputs: Mapping[str, Tensor | np.ndarray | Column]) -> Split:
        """Check inputs; zeros stand in for modalities that are not given."""
        if unknown := [m for m in inputs if m not in self.card.shapes]:
            raise ModelError(f"no modality called {unknown[0]!r}; the model reads {', '.join(self.modalities)}")
        if not inputs:
            raise ModelError(f"no input; the model reads {', '.join(self.modalities)}")
        columns = {m: v if isinstance(v, Column) else torch.as_tensor(v) for m, v in inputs.items()}
        sizes = {m: 0 if isinstance(v, Tensor) and v.ndim == 0 else len(v) for m, v in columns.items()}
        if len(set(sizes.values())) > 1 or not all(sizes.values()):
            said = ", ".join(f"{modality} {size}" for modality, size in sizes.items())
            raise ModelError(f"every modality needs the same number of samples, at least one; there are: {said}")
        for modality, values in columns.items():
            expected, found = tuple(self.card.shapes[modality]), sample_shape(values)
            if found != expected:
                raise ModelError(f"a sample of {modality} has shape {found}, the model was trained on {expected}")
            if isinstance(values, Tensor) and values.is_floating_point() and not bool(torch.isfinite(values).all()):
                raise ModelError(f"{modality} holds numbers that are not finite")
        rows = next(iter(sizes.values()))
        ordered = {m: _single(columns[m]) if m in columns else torch.zeros(shape).expand(rows, *shape)
                   for m, shape in self.card.shapes.items()}  # fmt: skip
        return Split(ordered, torch.zeros(rows, dtype=torch.int64))


def _single(values: Tensor | Column) -> Tensor | Column:
    """Convert numbers to single precision, whole numbers as they are."""
    return values.float() if isinstance(values, Tensor) and values.is_floating_point() else values


def load_model(path: str | Path, device: str = "cpu") -> Model:
    """Load the model that ``python -m sweep export`` wrote into the folder ``path``. Raises ModelError."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    folder = Path(path)
    try:
        card = ModelCard.model_validate_json((folder / CARD).read_bytes())
        weights = load_file(folder / WEIGHTS)
    except FileNotFoundError as error:
        # The library that reads the weights does not name the file.
        missing = CARD if not (folder / CARD).is_file() else WEIGHTS
        raise ModelError(f"{folder} holds no model ({missing} is missing); see python -m sweep export") from error
    except ValidationError as error:
        wrong = error.errors()[0]
        where = ".".join(map(str, wrong["loc"]))
        raise ModelError(
            f"{folder / CARD} is not a model card: {where + ': ' if where else ''}{wrong['msg']}; export it again"
        ) from error
    except SafetensorError as error:
        raise ModelError(
            f"{folder / WEIGHTS} holds no weights, or is damaged ({error}); export the model again"
        ) from error
    except OSError as error:
        raise ModelError(f"{folder} cannot be read: {error.strerror or error}") from error
    _check_card(card, folder)
    if spoilt := [name for name, value in weights.items() if value.is_floating_point() and value.isnan().any()]:
        raise ModelError(f"{folder / WEIGHTS}: {spoilt[0]} holds numbers that are none; export the model again")
    on = _device(device)
    try:
        return Model(card, _rebuild(card, weights), on)
    except ModelError:
        raise
    except Exception as error:  # whatever a card that was changed by hand leads to
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(
            f"the model that {folder / CARD} describes cannot be built here ({said}); export it again, or use "
            "the version of the code that trained it"
        ) from error


def _device(name: str) -> torch.device:
    """Return the device of this name. Raises ModelError where this machine has none."""
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except Exception as error:  # torch raises another kind for each that is missing
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ModelError(f"this machine has no device {name} ({said}); use --device cpu") from error
    return device


def _check_card(card: ModelCard, folder: Path) -> None:
    """Check that the parts of a card fit each other, and are of a size that some model has. Raises ModelError."""
    wrong = ""
    if not card.shapes:
        wrong = "it names no modality"
    elif strange := sorted(card.shapes.keys() ^ card.run.encoders.keys()):
        wrong = f"modality {strange[0]} has no encoder, or no shape"
    elif len(set(card.classes)) < max(2, len(card.classes)):
        wrong = "its classes must be two or more, each once"
    for modality, shape in card.shapes.items():
        if not shape or min(shape) < 1 or math.prod(shape) > LARGEST_SAMPLE:
            wrong = wrong or f"a sample of {modality} cannot have shape {shape}"
    if wrong:
        raise ModelError(f"{folder / CARD} is not a model card: {wrong}; export it again")


def _rebuild(card: ModelCard, weights: dict[str, Tensor]) -> Method:
    run = card.run
    if run.method not in methods.names():
        absent = f"the model was trained by method {run.method!r}, which is not installed here"
        raise ModelError(methods.refusal(run.method) or absent)
    kind = methods.get(run.method)
    # The weights are all in the file: a pretrained start need not be found again.
    specs = {m: {k: v for k, v in run.encoders[m].items() if k != "pretrained"} for m in card.shapes}
    built = {m: encoders.build(encoders.resolve(specs[m]), tuple(shape)) for m, shape in card.shapes.items()}
    method = kind(built, len(card.classes), kind.Hyperparameters.model_validate(run.hyperparameters), run.epochs)
    try:
        method.load_inference_state(weights)
    except (ValueError, RuntimeError, KeyError, TypeError, AttributeError) as error:
        wrong = (str(error).strip() or type(error).__name__).splitlines()[-1].strip()
        raise ModelError(
            f"the weights do not fit method {run.method} as it is here ({wrong}): it has changed since the model "
            "was trained; use that version of the code"
        ) from error
    return method


def write_card(folder: Path, card: ModelCard) -> None:
    """Write model.json."""
    (folder / CARD).write_text(json.dumps(card.model_dump(mode="json"), indent=2) + "\n", encoding="utf-8")
