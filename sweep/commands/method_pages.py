"""The page of a method, in Markdown, from its docstring, its declarations and the sweeps that use it.

A method's docstring begins with its idea. Paragraphs that begin with a heading of :data:`HEADINGS` and a colon are
sections of their own; the others belong to the idea. Reads declarations alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown
from torch import nn

import methods
from methods.base import Method, MethodError, Phase
from methods.base.fusion_hyperparameters import FusionHyperparameters
from methods.base.hyperparameters import declared
from methods.base.phase import selectable_epochs, total_epochs
from models.fusion import NAMES as FUSIONS
from sweep.commands.listing import default_text, meaning_text, modalities_text, search_text, values_text
from sweep.config import Sweep, load
from sweep.config.problems import require_name

IDEA, SOURCE, DEPARTURES, COST, STATE = "Idea", "Source", "Departures from the official code", "Cost", "State"
HEADINGS = (SOURCE, DEPARTURES, COST, STATE)
"""Sections of a docstring, in the order of the page."""

_HEADING = re.compile(rf"({'|'.join(HEADINGS)}): ")
_SHARED = set(FusionHyperparameters.model_fields)
_BUDGET = 30

Row = Sequence[str]


def method_pages(names: Sequence[str], path: Path) -> list[str]:
    """Write a page for each of ``names`` (default: every method). path: the file of the sweeps, which may be missing.

    Raises ConfigError for an unknown method."""
    for name in names:
        require_name(methods.METHODS, name)
    sweeps = load(path, None, []) if path.exists() else []
    return [method_page(methods.get(name), sweeps) for name in names or methods.names()]


def method_page(kind: type[Method], sweeps: Iterable[Sweep] = ()) -> str:
    """Write the page of one method, with the ones of ``sweeps`` that train it."""
    found = sections(kind)
    parts = [f"# {kind.name}: {kind.title}", kind.paper, found.pop(IDEA, ""), *_fact_tables(kind)]
    own, of_fusion = _hyperparameters(kind)
    parts += _table_below("Hyperparameters", own)
    parts += [f"## {heading}\n\n{found[heading]}" for heading in HEADINGS if heading in found]
    if kind.diagnostics is not Method.diagnostics:
        parts.append(f"## Diagnostics\n\nLogged after each epoch. {_markdown(kind.diagnostics.__doc__)}")
    used = [f"- `{sweep.name}`: {_title(sweep)}" for sweep in sweeps if kind.name in {e.method for e in sweep.methods}]
    if used:
        parts.append("## Sweeps\n\n" + "\n".join(used))
    parts += _table_below("Hyperparameters of the fusion", of_fusion)
    return "\n\n".join(part for part in parts if part) + "\n"


def print_pages(found: Iterable[str], console: Console) -> None:
    """Print pages: laid out on a terminal, as Markdown into a file or pipe."""
    for text in found:
        if console.is_terminal:
            console.print(Markdown(text))
        else:
            console.print(text, soft_wrap=True)


def sections(kind: type[Method]) -> dict[str, str]:
    """Part a method's own docstring into sections by heading, in Markdown; text without a heading is the idea."""
    found: dict[str, list[str]] = {}
    for paragraph in _markdown(kind.__doc__).split("\n\n"):
        begins = _HEADING.match(paragraph)
        text = paragraph[begins.end() :] if begins else paragraph
        if text:
            found.setdefault(begins[1] if begins else IDEA, []).append(text[0].upper() + text[1:])
    return {heading: "\n\n".join(paragraphs) for heading, paragraphs in found.items()}


def missing_parts(kind: type[Method]) -> list[str]:
    """Name all that a page lacks to be complete: sections of the docstring, meanings of hyperparameters.

    A baseline, which acts at no stage of training, has no source to name and no official code to depart from."""
    needed = (IDEA, SOURCE, DEPARTURES, COST) if kind.stages else (IDEA, COST)
    found = sections(kind)
    lacking = [heading for heading in needed if heading not in found]
    lacking += [name for name in ("title", "paper") if not getattr(kind, name, "")]
    return lacking + [f"meaning of {name}" for name, hp in declared(kind.Hyperparameters).items() if not hp.meaning]


def _markdown(docstring: str | None) -> str:
    """Turn a docstring into Markdown: paragraphs on one line each, code in single backticks."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))
    text = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    return re.sub(r":\w+:`", "`", text.replace("``", "`"))


def _title(sweep: Sweep) -> str:
    return (sweep.title or "") + (f" ({sweep.reproduces})" if sweep.reproduces else "")


# Facts ---------------------------------------------------------------------------------------------------------


def _fact_tables(kind: type[Method]) -> Iterator[str]:
    rows = [("stages", ", ".join(kind.stages) or "none: a baseline"), ("modalities", modalities_text(kind))]
    refused: dict[str, str] = {}
    if issubclass(kind.Hyperparameters, FusionHyperparameters):
        refused = {name: reason for name in FUSIONS if (reason := _refusal(kind, name))}
        rows.append(("fusions", ", ".join(name for name in FUSIONS if name not in refused)))
    else:
        rows.append(("fusions", "its own"))
    if passes := _passes_text(kind):
        rows.append(("forward passes a training sample", passes))
    if account := _account_text(kind):
        rows.append((f"a budget of {_BUDGET} epochs, two modalities", account))
    yield _table(("", ""), rows)
    if refused:
        yield "Fusions refused at defaults:\n\n" + "\n".join(f"- `{name}`: {why}" for name, why in refused.items())


def _refusal(kind: type[Method], fusion: str) -> str:
    """Say why a method does not take a fusion; empty where it does."""
    try:
        kind.check(kind.Hyperparameters.model_validate({"fusion": fusion}), ("first", "second"))
    except MethodError as error:
        return str(error)
    return ""


class _Branch(nn.Module):
    """A stand-in for an encoder."""

    out_dim = 8


def _passes_text(kind: type[Method]) -> str:
    """Count passes through all encoders at default hyperparameters; empty for a method that cannot do with those."""
    counts = {}
    for count in (2, 3):
        if phases := _default_phases(kind, count):
            counts[count] = ", ".join(dict.fromkeys(f"{phase.passes:.3g}" for phase in phases))
    if len(set(counts.values())) == 1:
        return next(iter(counts.values()))
    return ", ".join(f"{passes} with {count} modalities" for count, passes in counts.items())


def _default_phases(kind: type[Method], modalities: int) -> list[Phase]:
    """List the phases at default hyperparameters; none for a method that cannot do with those."""
    try:
        built = kind({f"m{k}": _Branch() for k in range(modalities)}, 2, kind.Hyperparameters(), _BUDGET)
    except MethodError:
        return []
    return built.phases


def _account_text(kind: type[Method]) -> str:
    """Tell the account of a staged training beside that of joint training; empty where both are the same."""
    phases = _default_phases(kind, 2)
    trained, selectable = total_epochs(phases), selectable_epochs(phases)
    beside = total_epochs([phase for phase in phases if not phase.budget])
    passes = sum(phase.epochs * phase.passes for phase in phases)
    if not phases or (trained, selectable, passes) == (_BUDGET, _BUDGET, _BUDGET):
        return ""
    aside = f", {beside} of them beside the budget" if beside else ""
    return (
        f"{trained} epochs{aside}; {selectable} may be selected; their steps cost the forward passes of {passes:.3g} "
        "epochs of joint training"
    )


# Hyperparameters -----------------------------------------------------------------------------------------------


def _hyperparameters(kind: type[Method]) -> tuple[list[Row], list[Row]]:
    """Tabulate the method's own, and those of the fusion that it takes."""
    model, own, shared = kind.Hyperparameters, list[Row](), list[Row]()
    for name, hp in declared(model).items():
        cells = hp.symbol, default_text(hp), values_text(model, name), search_text(hp.search), meaning_text(hp)
        (shared if name in _SHARED and issubclass(model, FusionHyperparameters) else own).append((f"`{name}`", *cells))
    return own, shared


def _table_below(heading: str, rows: list[Row]) -> Iterator[str]:
    if rows:
        columns = ("name", "symbol", "default", "values", "search range", "meaning")
        yield f"## {heading}\n\n{_table(columns, rows)}"


def _table(head: Row, rows: Iterable[Row]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
