"""Figures that lie on disk as they would be drawn: they are kept, since to lay one out and to write it in three formats
takes longer than everything else that a report does about it.

A figure is told by all that it holds before it is laid out (its pickle) and by what draws it: the code of sweep/, the
packages that draw, their settings and fonts. Files are told by their content, so that one that is damaged is drawn
again."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
from importlib.metadata import version
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.cbook import Grouper
from matplotlib.figure import Figure
from matplotlib.font_manager import fontManager
from matplotlib.transforms import TransformNode

from sweep.report.figures.style import FORMATS
from sweep.runs.code_texts import folder_digests

FILE = ".drawn.json"
"""Stem -> digests of the figure and of its files."""
PACKAGES = ("matplotlib", "numpy", "pillow", "fonttools")


class DrawnFigures:
    """The figures of a folder, as they were drawn when it was last written. To be made in the style that draws them."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._way = folder, _way_of_drawing()
        self._kept: dict[str, list[str]] = {}
        try:
            before = json.loads((folder / FILE).read_bytes())
        except (OSError, ValueError):
            before = {}
        self._before: dict[str, Any] = before if isinstance(before, dict) else {}

    def digest(self, figure: Figure) -> str | None:
        """Digest a figure that is not laid out yet; None where it holds what cannot be written down."""
        written = io.BytesIO()
        try:
            _FigurePickler(written, 5).dump(figure)
        except (pickle.PicklingError, AttributeError, TypeError):
            return None
        return hashlib.sha256(self._way + written.getbuffer()).hexdigest()

    def holds(self, stem: str, digest: str | None) -> bool:
        """Tell whether the files of this stem show the figure with this digest; if so they are kept."""
        if digest is None or self._before.get(stem) != [digest, *self._files(stem)]:
            return False
        self._kept[stem] = self._before[stem]
        return True

    def note(self, stem: str, digest: str | None) -> None:
        """Note that the figure with this digest has been written."""
        if digest is not None:
            self._kept[stem] = [digest, *self._files(stem)]

    def write(self) -> None:
        """Write down what the folder holds now."""
        (self._folder / FILE).write_text(json.dumps(self._kept, indent=1), encoding="utf-8")

    def _files(self, stem: str) -> list[str]:
        return [_content(self._folder / f"{stem}.{form}") for form in FORMATS]


class _FigurePickler(pickle.Pickler):
    """Pickles equal figures of different processes to equal bytes."""

    def reducer_override(self, value: Any) -> Any:
        """Leave out which transforms depend on another one, by their places in memory (they name it themselves), and
        list panels that share an axis in the order in which they were joined."""
        if not isinstance(value, TransformNode | Grouper):
            return NotImplemented
        state: Any = value.__getstate__()
        if isinstance(value, Grouper):
            order = state["_ordering"].__getitem__
            state = {**state, "_mapping": {key: sorted(joined, key=order) for key, joined in state["_mapping"].items()}}
        else:
            state = {**state, "_parents": {}}
        return type, (type(value),), state  # nothing is ever made of it


def _way_of_drawing() -> bytes:
    """Digest what decides how a figure is drawn beside the figure itself."""
    settings = sorted((name, repr(value)) for name, value in mpl.rcParams.items())
    fonts = sorted((font.fname, font.name, font.style, str(font.weight)) for font in fontManager.ttflist)
    code = folder_digests()["sweep"]
    parts = [code, [version(name) for name in PACKAGES], FORMATS, settings, fonts]
    return hashlib.sha256(json.dumps(parts).encode()).digest()


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
