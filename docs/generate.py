"""Write what the documents take from declarations: a page a method, and the tables of the README.

``python docs/generate.py`` writes, ``--check`` names what is not current and exits with 1. ``make docs`` writes."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import data  # noqa: E402
import methods  # noqa: E402
from data.base import DatasetSource  # noqa: E402
from models import fusion  # noqa: E402
from sweep.commands.listing import modalities_text, short_citation  # noqa: E402
from sweep.commands.method_pages import method_page  # noqa: E402
from sweep.config import load  # noqa: E402

BEGIN = "<!-- tables: written by `make docs` -->"
END = "<!-- end of tables -->"


def shipped_methods() -> list[type[methods.Method]]:
    """List the methods of this repository, those of installed plug-ins left out."""
    return [kind for name in methods.names() if (kind := methods.get(name)).__module__.startswith("methods.")]


def shipped_datasets() -> list[type[DatasetSource]]:
    """List the datasets of this repository, those of installed plug-ins left out."""
    return [source for name in data.names() if (source := data.get(name)).__module__.startswith("data.")]


def page_path(kind: type[methods.Method]) -> Path:
    """Tell where the page of a method lies."""
    return ROOT / f"docs/methods/{kind.name}.md"


def documents() -> dict[Path, str]:
    """Give every generated document with its text."""
    sweeps = load(ROOT / "sweeps.yaml", None, [])
    pages = {page_path(kind): method_page(kind, sweeps) for kind in shipped_methods()}
    readme = ROOT / "README.md"
    return {**pages, readme: with_tables(readme.read_text(encoding="utf-8"), "\n\n".join(tables()))}


def tables() -> Iterator[str]:
    """Tabulate methods, fusions and datasets, in Markdown."""
    yield table(
        ("method", "", "stage", "modalities", "paper"),
        (
            (f"[{kind.name}](docs/methods/{kind.name}.md)", kind.title, ", ".join(kind.stages) or "reference",
             modalities_text(kind), short_citation(kind.paper))
            for kind in shipped_methods()
        ),
    )  # fmt: skip
    yield table(
        ("fusion", "", "modalities", "paper"),
        (
            (f"`{name}`", kind.title, f"{kind.min_modalities} or more", kind.paper)
            for name, kind in fusions().items()
        ),
    )  # fmt: skip
    yield table(
        ("dataset", "", "modalities", "paper"),
        (
            (f"`{source.name}`", source.title, dataset_modalities(source), source.paper)
            for source in shipped_datasets()
        ),
    )  # fmt: skip


def fusions() -> dict[str, type[fusion.Fusion]]:
    """Give every fusion as a sweep names it, those between the stages of encoders with their mode."""
    of_channels = {f"channel, channel_mode: {mode}": kind for mode, kind in fusion.CHANNEL_FUSIONS.items()}
    return {**fusion.FUSIONS, **of_channels}


def dataset_modalities(source: type[DatasetSource]) -> str:
    """Write the modalities of a dataset at its defaults, and which option chooses among them."""
    fields = source.Options.model_fields
    choosing = next((name for name in ("modalities", "views") if name in fields), None)
    if choosing is not None and fields[choosing].is_required():
        return f"yours (`{choosing}`)"
    required = {name: "." for name, field in fields.items() if field.is_required()}
    names = ", ".join(source.modalities(source.Options.model_validate(required)))
    return names if choosing is None else f"{names} (`{choosing}`: {fields[choosing].description})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Lay out a table in Markdown."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *rows])


def with_tables(text: str, found: str) -> str:
    """Put tables between the markers of a text. Raises ValueError where it does not have both, once each."""
    if (text.count(BEGIN), text.count(END)) != (1, 1):
        raise ValueError(f"the README needs one line {BEGIN!r} and one line {END!r}")
    return re.sub(f"(?s){re.escape(BEGIN)}.*{re.escape(END)}", lambda _: f"{BEGIN}\n\n{found}\n\n{END}", text)


def stale_documents() -> dict[Path, str]:
    """Give the documents whose text is not current, with the text that they should have, None for one too many."""
    wanted = documents()
    found = {path: path.read_text(encoding="utf-8") if path.exists() else "" for path in wanted}
    return {path: text for path, text in wanted.items() if found[path] != text}


def left_over() -> list[Path]:
    """List the pages of methods that are no more."""
    return sorted(set((ROOT / "docs/methods").glob("*.md")) - set(map(page_path, shipped_methods())))


def main(words: Sequence[str]) -> int:
    """Write the documents, or with ``--check`` name those that are not current."""
    stale, too_many = stale_documents(), left_over()
    for path in [*stale, *too_many]:
        print(path.relative_to(ROOT))
    if "--check" in words:
        return 1 if stale or too_many else 0
    for path, text in stale.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in too_many:
        path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
