"""Axes whose labels are plain texts, and figures that know how wide a paper's text is."""

from __future__ import annotations

import math
import re
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from fontTools import subset
from fontTools.ttLib import TTFont
from matplotlib import rc_context, rcParams
from matplotlib.figure import Figure
from support.kept_texts import assert_as_before, first_digits

from sweep.analysis.parts import Axis
from sweep.report.figures import style
from sweep.report.figures.style import (
    PAPER_STYLE,
    STYLE,
    add_legend,
    for_paper,
    is_narrow,
    new_figure,
    positions,
    protocol,
    save,
    scale_logarithmically,
    seed_count,
    slug,
    tick_text,
    turned,
)


def test_logarithmic_axes_have_labels_without_mathematics() -> None:
    ax = Figure().subplots()
    scale_logarithmically(ax)
    ax.set_xlim(0.0005, 2)
    major, minor = ax.xaxis.get_major_formatter(), ax.xaxis.get_minor_formatter()
    assert major.format_ticks([0.001, 0.1, 1]) == ["0.001", "0.1", "1"]
    assert minor.format_ticks([0.002, 0.5]) == ["", ""]
    ax.set_xlim(0.2, 0.9)
    assert minor.format_ticks([0.3, 0.5]) == ["0.3", ""]


def test_every_figure_fits_the_column_of_a_paper_since_only_style_makes_figures() -> None:
    makers = {path.name for path in Path(style.__file__).parent.glob("*.py") if "Figure(" in path.read_text("utf-8")}
    assert makers == {"style.py"}


def test_sizes_and_colours_are_as_they_were_looked_at() -> None:
    both = (("screen", STYLE), ("paper", PAPER_STYLE))
    assert_as_before(
        "figures/style",
        (f"{where}: {key} {first_digits(found[key])}" for where, found in both for key in sorted(found)),
    )


def test_fonts_in_pdf_files_have_glyphs_and_no_tables_that_lay_out_text(tmp_path: Path) -> None:
    dropped = [*subset.Options().drop_tables]
    with rc_context(STYLE):
        figure = Figure()
        figure.text(0.5, 0.5, "alpha")
        save(figure, tmp_path / "x.pdf")
    streams = re.findall(
        rb"/Length1 \d+[^>]*>>\s*stream\n(.*?)\nendstream", (tmp_path / "x.pdf").read_bytes(), re.DOTALL
    )
    fonts = [TTFont(BytesIO(zlib.decompress(stream))) for stream in streams]
    assert {*"alph"} <= {name for font in fonts for name in font.getGlyphOrder()}
    for font in fonts:
        assert "glyf" in font
        assert not {"GDEF", "GPOS", "GSUB", "kern"} & {*font.keys()}, "fontTools or Matplotlib cuts fonts otherwise now"
    assert subset.Options().drop_tables == dropped


# Widths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "narrow"), [(3.3, True), (4.5, False), (6.8, False)])
def test_for_a_paper_figures_have_its_width_and_the_size_of_its_text(width: float, narrow: bool) -> None:
    before = rcParams["font.size"]
    with for_paper(width):
        assert tuple(new_figure(9, 2).get_size_inches()) == (width, 2)
        assert (is_narrow(), rcParams["font.size"], rcParams["legend.fontsize"]) == (narrow, 9, 8)
    assert tuple(new_figure(9, 2).get_size_inches()) == (9, 2)
    assert (is_narrow(), rcParams["font.size"]) == (False, before)


def test_a_width_holds_until_its_block_ends_however_it_ends() -> None:
    with pytest.raises(KeyError), for_paper(3.3):
        raise KeyError
    assert not is_narrow()


# Captions ---------------------------------------------------------------------------------------------------------


def runs(*done: int, datasets: tuple[str, ...] = ("digits",), splits: int = 1) -> pd.DataFrame:
    """Finished seeds of each configuration; one more of each failed."""
    return pd.DataFrame([
        {
            "dataset": dataset, "configuration": f"c{number}", "seed": seed, "split": split,
            "epochs": 20.0, "epochs_trained": 20.0,
            "status": "done" if seed < count else "failed", "metric": "accuracy", "validation_accuracy": 0.5,
        }
        for dataset in datasets
        for number, count in enumerate(done)
        for split in range(splits)
        for seed in range(count + 1)
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("done", "splits", "said"),
    [((3, 3), 1, "n = 3 seeds"), ((3, 2), 1, "n = 2 to 3 seeds"), ((1,), 1, "n = 1 seed"), ((2,), 2, "n = 4 runs")],
)
def test_finished_seeds_are_counted(done: tuple[int, ...], splits: int, said: str) -> None:
    assert seed_count(runs(*done, splits=splits)) == said


def test_a_caption_says_where_the_numbers_come_from() -> None:
    assert protocol(runs(3), "test_accuracy") == (
        "Mean and 95 % t interval over n = 3 seeds on one split (digits); 20 epochs; epoch selected by validation "
        "accuracy; test split at the selected epoch."
    )
    several = pd.concat(
        [runs(2, datasets=("digits", "mfeat"), splits=2), runs(2, splits=2).assign(epochs=30.0, epochs_trained=30.0)]
    )
    said = protocol(several, "validation_accuracy")
    assert "over the means of 2 splits, n = 4 to 8 runs (digits, mfeat); 20 or 30 epochs; " in said
    assert said.endswith("no test metrics recorded, so validation is shown.")
    unknown = protocol(runs(2).drop(columns=["epochs_trained", "split"]), "test_accuracy")
    assert "(digits); epoch selected" in unknown


# Axes, names, files -----------------------------------------------------------------------------------------------


def test_categories_stand_at_their_numbers_and_values_at_themselves() -> None:
    values = pd.Series([4.0, 0.0, 1.0])
    axis: Any = Axis("x", "x", "x", "", "linear", (0.0, 1.0, 4.0))
    assert positions(values, axis).tolist() == [4, 0, 1]
    assert positions(values, Axis("x", "x", "x", "", "category", (0.0, 1.0, 4.0))).tolist() == [2, 0, 1]


def test_a_file_name_has_letters_and_numbers_alone() -> None:
    assert slug("data.digits: Profile noise (%)!") == "data-digits-profile-noise"


def test_numbers_of_ticks_have_three_digits() -> None:
    assert [tick_text(value) for value in (0.12345, 1e-5, 12345, "all", True)] == [
        "0.123",
        "1e-05",
        "12345",
        "all",
        "True",
    ]


@pytest.mark.parametrize(
    ("words", "rotation"),
    [
        (["a" * 8] * 4, None),  # 40 letters with the space between them
        (["a" * 9, *["a" * 8] * 3], 20),
        (["a" * 12] * 4, 20),
        (["a" * 13] * 4, 45),
        ([], None),
    ],
)
def test_labels_that_would_touch_are_turned_and_long_ones_more(words: list[str], rotation: int | None) -> None:
    found = turned(words)
    assert found.get("rotation") == rotation
    assert found == ({} if rotation is None else {"ha": "right", "rotation_mode": "anchor", "rotation": rotation})


@pytest.mark.parametrize(("width", "columns"), [(9.0, 3), (2.4, 2), (0.5, 1)])
def test_one_legend_stands_above_all_panels_with_the_fused_prediction_first(width: float, columns: int) -> None:
    figure = Figure(figsize=(width, 2), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot([0], [0], label="left")
    for ax in (left, right):
        ax.plot([0], [0], label="fused")
    right.plot([0], [0], label="profile")
    add_legend(figure, [left, right])
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["fused", "left", "profile"]
    assert legend._ncols == columns  # type: ignore[attr-defined]


@pytest.mark.parametrize("ending", ["pdf", "svg", "png"])
def test_the_same_figure_gives_the_same_bytes_and_nothing_else_is_left(tmp_path: Path, ending: str) -> None:
    contents = []
    for number in range(2):
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, 1], [0, math.pi])
        with rc_context(STYLE):
            save(figure, tmp_path / f"{number}.{ending}")
        contents.append((tmp_path / f"{number}.{ending}").read_bytes())
    assert contents[0] == contents[1]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"0.{ending}", f"1.{ending}"]
    assert b"Date" not in contents[0] or ending == "png"
