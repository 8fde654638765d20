"""Put what pydantic finds wrong into words for the person who wrote the configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from sweep.config.problems import Path, nearest


class Mistake(NamedTuple):
    """A mistake in the value at ``path`` of what was validated."""

    path: Path
    message: str
    suggestion: str = ""


_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}


def explain(error: ValidationError, model: type[BaseModel], value: Any, noun: str = "key") -> Iterator[Mistake]:
    """Yield every mistake that ``model`` found in ``value``, one for each path: what would have been right, in any of
    the forms that a field allows, and what there was instead. noun: what a name at the top of the model is."""
    found: dict[Path, list[ErrorDetails]] = {}
    for details in error.errors(include_url=False):
        found.setdefault(_path_within(details, value), []).append(details)
    deeper = {path[:size] for path in found for size in range(len(path))}
    for path, several in found.items():
        if path in deeper:
            continue  # another form of a union: the one whose parts are wrong is the one that was meant
        first = several[0]
        if first["type"] == "extra_forbidden":
            what = noun if len(path) == 1 else "key"
            yield Mistake(path, f"no {what} called {str(path[-1])!r}", nearest(str(path[-1]), _keys(model, path[:-1])))
        elif first["type"] == "missing":
            meaning = model.model_fields[str(path[0])].description if len(path) == 1 else None
            yield Mistake(path, f"is missing: {meaning}" if meaning else "is missing")
        elif len(several) == 1 and first["type"] == "literal_error":
            names = [name.strip("'") for name in first["ctx"]["expected"].replace(" or ", ", ").split(", ")]
            suggestion = nearest(first["input"], names) if isinstance(first["input"], str) else ""
            asked = "" if suggestion.startswith("there are") else f": expected {', '.join(names)}"
            yield Mistake(path, f"{describe_value(first['input'])} is not possible{asked}", suggestion)
        elif first["type"] == "union_tag_not_found":
            key = first["ctx"]["discriminator"].strip("'")
            yield Mistake((*path, key), "is missing", nearest("", _tags(model, path, key)))
        elif first["type"] == "union_tag_invalid":
            tags = [tag.strip("'") for tag in first["ctx"]["expected_tags"].split(", ")]
            key, tag = first["ctx"]["discriminator"].strip("'"), str(first["ctx"]["tag"])
            yield Mistake((*path, key), f"{tag!r} is not possible: expected {', '.join(tags)}", nearest(tag, tags))
        elif first["type"] == "value_error":
            yield Mistake(path, str(first["ctx"]["error"]))
        else:
            wanted = " or ".join(dict.fromkeys(map(_expected_form, several)))
            if path[:1] == ("methods",) and len(path) <= 2 and wanted == "a mapping":
                wanted = "the name of a method, or a mapping"
            hint = "take the quotes off" if isinstance(first["input"], str) and _needs_no_quotes(first["input"]) else ""
            yield Mistake(path, f"expected {wanted}, not {describe_value(first['input'])}", hint)


def _tags(model: type[BaseModel], path: Path, key: str) -> list[str]:
    """List the values of ``key`` by which the forms of a mapping at ``path`` within ``model`` are told apart."""
    forms = _models(model.model_fields[str(path[0])].annotation)
    fields = [form.model_fields[key] for form in forms if key in form.model_fields]
    return [str(tag) for field in fields for tag in get_args(field.annotation)]


def _path_within(details: ErrorDetails, value: Any) -> Path:
    """Keep of an error's location what leads through ``value``: the other parts say which form of a union is meant."""
    path: list[str | int] = []
    for number, part in enumerate(details["loc"], start=1):
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            if details["type"] == "missing" and number == len(details["loc"]):
                path.append(part)
        else:
            path.append(part)
    return tuple(path)


def _keys(model: type[BaseModel], path: Path) -> list[str]:
    """List the fields of the model at ``path`` within ``model``."""
    at: Any = model
    for part in path:
        if isinstance(part, str) and isinstance(at, type) and issubclass(at, BaseModel) and part in at.model_fields:
            kinds = _models(at.model_fields[part].annotation)
            at = kinds[0] if kinds else None
    return [field.alias or name for name, field in at.model_fields.items()] if at is not None else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    """List every model that an annotation names, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in getattr(annotation, "__args__", ()) for model in _models(part)]


def _expected_form(details: ErrorDetails) -> str:
    kind, context = details["type"], details.get("ctx", {})
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        bound = context[key]
        return f"a number {words} {int(bound):,}" if bound == int(bound) else f"a number {words} {bound:g}"
    if kind == "literal_error":
        return str(context["expected"])
    if kind == "too_short":
        return "at least one value" if context["min_length"] == 1 else f"at least {context['min_length']} values"
    if kind == "too_long":
        return f"at most {context['max_length']} values"
    if kind == "string_too_short":
        return "a text that is not empty"
    return details["msg"].removeprefix("Input should be ").removeprefix("Value error, ")


def _needs_no_quotes(text: str) -> bool:
    if text in ("true", "false", "null"):
        return True
    try:
        float(text)
    except ValueError:
        return False
    return True


def describe_value(value: Any) -> str:
    """Name a value as messages do."""
    if isinstance(value, str):
        return repr(value) if value else "an empty text"
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    return f"{value:g}" if isinstance(value, float) else str(value)
