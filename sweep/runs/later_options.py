"""Options that were added after runs had been recorded without them.

Such an option says in its declaration which of its values means what happened before there was it::

    nesterov: bool = Field(True, description="...", json_schema_extra={"as_before": False})

At that value it is left out of a run's identity, so that earlier runs are found again; and a record without it is read
with that value, whatever the default is by now. For options of the recipe, of a dataset and of a run, and of models
inside these; not for those inside a list or a mapping of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

AS_BEFORE = "as_before"


def without_later(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of ``values``, of a model's fields, the later options that stand at the value that means "as
    before"."""
    found = dict(values)
    for name, field in model.model_fields.items():
        if name in found and _is_later(field) and found[name] == _as_before(field):
            del found[name]
        elif isinstance(value := found.get(name), Mapping) and (inner := _model_of(field)):
            found[name] = without_later(inner, value)
    return found


def with_later(model: type[BaseModel], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill ``values``, as an earlier version recorded them, with later options at the value that means "as before"."""
    found = dict(values)
    for name, field in model.model_fields.items():
        if _is_later(field):
            found.setdefault(name, _as_before(field))
        if isinstance(value := found.get(name), Mapping) and (inner := _model_of(field)):
            found[name] = with_later(inner, value)
    return found


def _extra(field: FieldInfo) -> dict[str, Any]:
    return field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}


def _is_later(field: FieldInfo) -> bool:
    return AS_BEFORE in _extra(field)


def _as_before(field: FieldInfo) -> Any:
    return _extra(field)[AS_BEFORE]


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
