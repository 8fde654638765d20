"""Options that were added after runs had been recorded without them.

Such an option says in its declaration which of its values means what happened before there was it::

    nesterov: bool = Field(True, description="...", json_schema_extra={"as_before": False})

At that value it is left out of a run's identity, so that earlier runs are found again; and a record without it is read
with that value, whatever the default is by now. For options of the recipe, of a dataset and of a run, and of models
inside these; not for those inside a list or a mapping of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

AS_BEFORE = "as_before"


def without_later(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of ``values``, of a model's fields, the later options that stand at the value that means "as
    before"."""
    found, (later, inner) = dict(values), _later_and_inner(model)
    for name, before in later.items():
        if name in found and found[name] == before:
            del found[name]
    for name, kind in inner.items():
        if isinstance(value := found.get(name), Mapping):
            found[name] = without_later(kind, value)
    return found


def with_later(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill ``values``, as an earlier version recorded them, with later options at the value that means "as before"."""
    found, (later, inner) = dict(values), _later_and_inner(model)
    for name, before in later.items():
        found.setdefault(name, before)
    for name, kind in inner.items():
        if isinstance(value := found.get(name), Mapping):
            found[name] = with_later(kind, value)
    return found


@cache
def _later_and_inner(model: type[BaseModel]) -> tuple[dict[str, Any], dict[str, type[BaseModel]]]:
    """Map the later options of a model to the value that means "as before", and those of its fields that hold a model
    to that; a sweep asks thousands of times."""
    fields = model.model_fields.items()
    later = {name: _extra(field)[AS_BEFORE] for name, field in fields if AS_BEFORE in _extra(field)}
    return later, {name: inner for name, field in fields if (inner := _model_of(field))}


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _model_of(field: FieldInfo) -> type[BaseModel] | None:
    """Find the model that a field holds; None where it holds none, or one of several."""
    models = list(_models(field.annotation))
    return models[0] if len(models) == 1 else None


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    if getattr(annotation, "__origin__", None) in (dict, list, tuple, Mapping):
        return
    for inner in get_args(annotation):
        yield from _models(inner)
