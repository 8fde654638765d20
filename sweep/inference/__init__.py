"""Trained models outside their sweep: export, load, predict.

In come the records and weights of a run, out come a folder with safetensors and a card, and predictions as tables. The
results folder is only read. A folder of a model is written by :func:`export_model` and read by :func:`load_model`
alone."""

from __future__ import annotations

from sweep.inference.export import export_model
from sweep.inference.model import Model, ModelCard, ModelError, load_model
from sweep.inference.predict import Samples, prediction_table, read_arrays, read_split

__all__ = [
    "Model",
    "ModelCard",
    "ModelError",
    "Samples",
    "export_model",
    "load_model",
    "prediction_table",
    "read_arrays",
    "read_split",
]
