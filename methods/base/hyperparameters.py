"""How a method declares its hyperparameters: once, typed, with bounds, search range, symbol and meaning.

From this one declaration come validation, listings, default search spaces, axis labels and documentation::

    class Hyperparameters(methods.Hyperparameters):
        alpha: float = hyper(0.8, symbol="α", low=0.0, high=1.0, search=Uniform(0.1, 0.9))
        \"""weight of the old probe weight in the moving average\"""

The text below a hyperparameter is its meaning. A class without source, as one made at run time, gives it to
:func:`hyper` instead.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo


@dataclass(frozen=True)
class Uniform:
    """Real values, evenly spread over [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class LogUniform:
    """Positive real values, evenly spread in the logarithm over [low, high]."""

    low: float
    high: float


@dataclass(frozen=True)
class Integer:
    """Whole numbers from low to high, both included; ``log`` spreads them evenly in the logarithm."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """One of ``values``, unordered."""

    values: tuple[Any, ...]


SearchRange = Uniform | LogUniform | Integer | Choice


MOST = 100_000
"""Whole numbers may be at most so large: what they count is held in memory."""
MOST_EPOCHS = 100_000


class Hyperparameters(BaseModel):
    """Base of every method's hyperparameters: strict types, unknown names refused, immutable, whole numbers of at most
    :data:`MOST`."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _within_memory(cls, value: Any) -> Any:
        for number in _parts(value):
            if isinstance(number, int) and number > MOST:
                raise ValueError(f"expected at most {MOST:,}, not {number}")
        return value

    @property
    def mixes_channels(self) -> str | None:
        """Name how the encoders' maps are mixed between their stages (mmtm, cen); None where they are not."""
        return None


def hyper(
    default: Any,
    *,
    meaning: str | None = None,
    symbol: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    search: SearchRange | None = None,
    only_if: tuple[str, Any] | None = None,
    epochs: bool = False,
) -> Any:
    """Declare a hyperparameter as a field of :class:`Hyperparameters`.

    meaning: what it does (default: the string below the field). low, high: closed bounds; above: open lower bound.
    search: the range that ``auto`` in a sweep stands for (None: fixed). only_if: (name, value) of the hyperparameter
    under which alone this one has an effect; a tuple of values means any of these. epochs: counted in epochs, where a
    value in (0, 1) means that share of the budget; values that :func:`in_epochs` does not take are refused.
    """
    extra: dict[str, Any] = {"symbol": symbol, "search": search, "only_if": only_if, "epochs": epochs}
    field = Field(default, ge=low, le=high, gt=above, description=meaning, json_schema_extra=extra)
    if epochs:
        field.metadata.append(AfterValidator(_countable_in_epochs))
    return field


def _countable_in_epochs(value: Any) -> Any:
    """Refuse what :func:`in_epochs` could not count: a number, or one of a list or a mapping."""
    for number in _parts(value):
        if number is not None:
            in_epochs(number, 1)
            if number > MOST_EPOCHS:
                raise ValueError(f"expected at most {MOST_EPOCHS:,} epochs, not {number:g}")
    return value


def _parts(value: Any) -> Iterable[Any]:
    """Give the values of a list or a mapping, else the value itself."""
    return value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Declared:
    """One hyperparameter as declared, for listings, search spaces and axis labels."""

    name: str
    type: str
    default: Any
    low: float | None
    high: float | None
    symbol: str
    meaning: str
    search: SearchRange | None
    only_if: tuple[str, Any] | None
    epochs: bool


def declared(model: type[Hyperparameters]) -> dict[str, Declared]:
    """List every hyperparameter of ``model`` by name, in the order of declaration."""
    return {name: _declared(model, name, info) for name, info in model.model_fields.items()}


def _declared(model: type[Hyperparameters], name: str, info: FieldInfo) -> Declared:
    extra = _extra(info)
    bound = {key: getattr(item, key) for item in info.metadata for key in ("ge", "gt", "le") if hasattr(item, key)}
    annotation = info.annotation
    return Declared(
        name,
        type=annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", ""),
        default=info.default,
        low=bound.get("ge", bound.get("gt")),
        high=bound.get("le"),
        symbol=extra.get("symbol") or "",
        meaning=_meaning(model, name),
        search=extra.get("search"),
        only_if=extra.get("only_if"),
        epochs=bool(extra.get("epochs")),
    )


def _extra(info: FieldInfo) -> Mapping[str, Any]:
    """Give what :func:`hyper` was told beside bounds and meaning."""
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _meaning(model: type[Hyperparameters], name: str) -> str:
    """Find what the nearest class that declares a hyperparameter says of it; "" where none says anything."""
    declaring = [each for each in model.__mro__ if issubclass(each, Hyperparameters) and name in each.model_fields]
    said = (each.model_fields[name].description or _texts_below_fields(each).get(name) for each in declaring)
    return next(filter(None, said), "")


@cache
def _texts_below_fields(model: type[Hyperparameters]) -> Mapping[str, str]:
    """Read the string below each field of a class from its source; nothing where there is no source.

    Read when it is asked for: pydantic's ``use_attribute_docstrings`` searches for the source at every import."""
    try:
        source = inspect.getsource(model)
    except (OSError, TypeError):
        return {}
    # The source of a class inside another or inside a function is indented.
    tree = ast.parse(f"if True:\n{source}" if source[0].isspace() else source)
    statement = next(node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))
    found = {}
    for field, text in pairwise(statement.body):
        match field, text:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                found[name] = " ".join(said.split())
    return found


def in_epochs(value: float, budget: int) -> int:
    """Count a hyperparameter in whole epochs of a ``budget``.

    0 stays 0; a value in (0, 1) is a share of the budget, rounded, at least one epoch; a value of 1 or more must be
    whole and is taken as it is. Raises ValueError for a negative value or for a broken number of at least 1."""
    if value < 0 or (value >= 1 and value != int(value)):
        raise ValueError(f"{value} is neither a share in (0, 1) nor a whole number of epochs")
    if 0 < value < 1:
        return max(1, round(value * budget))
    return int(value)


def epoch_window(first: float, last: float | None, budget: int) -> range:
    """Give the epochs, counted from 0, between two that count by :func:`in_epochs`, both included.

    last: None stands for the end of the budget. Empty where the last comes before the first."""
    return range(in_epochs(first, budget), budget if last is None else in_epochs(last, budget) + 1)
