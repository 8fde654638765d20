"""How a method declares its hyperparameters: once, typed, with bounds, search range, symbol and meaning.

From this one declaration come validation, listings, default search spaces, axis labels and documentation::

    class Hyperparameters(methods.Hyperparameters):
        alpha: float = hyper(0.8, symbol="α", low=0.0, high=1.0, search=Uniform(0.1, 0.9),
                             meaning="weight of the old probe weight in the moving average")
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
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


class Hyperparameters(BaseModel):
    """Base of every method's hyperparameters: strict types, unknown names refused, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


def hyper(
    default: Any,
    *,
    meaning: str,
    symbol: str = "",
    low: float | None = None,
    high: float | None = None,
    above: float | None = None,
    search: SearchRange | None = None,
    only_if: tuple[str, Any] | None = None,
    epochs: bool = False,
) -> Any:
    """A hyperparameter as a field of :class:`Hyperparameters`.

    low, high: closed bounds; above: open lower bound. search: the range that ``auto`` in a sweep stands for
    (None: fixed). only_if: (name, value) of the hyperparameter under which alone this one has an effect.
    epochs: counted in epochs, where a value in (0, 1) means that share of the budget (see :func:`in_epochs`).
    """
    extra: dict[str, Any] = {"symbol": symbol, "search": search, "only_if": only_if, "epochs": epochs}
    return Field(default, ge=low, le=high, gt=above, description=meaning, json_schema_extra=extra)


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
    """Every hyperparameter of ``model`` by name, in the order of declaration."""
    return {name: _declared(name, info) for name, info in model.model_fields.items()}


def _declared(name: str, info: FieldInfo) -> Declared:
    extra: dict[str, Any] = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
    bound = {key: getattr(item, key) for item in info.metadata for key in ("ge", "gt", "le") if hasattr(item, key)}
    low = bound.get("ge", bound.get("gt"))
    annotation = info.annotation
    kind = annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")
    return Declared(
        name, kind, info.default, low, bound.get("le"), extra.get("symbol") or "", info.description or "",
        extra.get("search"), extra.get("only_if"), bool(extra.get("epochs")),
    )  # fmt: skip


def in_epochs(value: float, budget: int) -> int:
    """A hyperparameter counted in epochs, as whole epochs of a ``budget``.

    0 stays 0; a value in (0, 1) is a share of the budget, rounded, at least one epoch; a value of 1 or more must be
    whole and is taken as it is. Raises ValueError for a negative value or for a broken number of at least 1."""
    if value < 0 or (value >= 1 and value != int(value)):
        raise ValueError(f"{value} is neither a share in (0, 1) nor a whole number of epochs")
    if 0 < value < 1:
        return max(1, round(value * budget))
    return int(value)
