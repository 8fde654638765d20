"""Texts stay texts, wherever they are shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.runs.shown_text import for_plotly, for_spreadsheet, printable, unprintable, without_secrets


@given(st.text(st.characters()))
def test_what_is_printable_commands_nothing_and_can_be_written(text: str) -> None:
    shown = printable(text)
    assert unprintable(shown) is None
    shown.encode()
    assert (shown == text) == (unprintable(text) is None)


def test_what_no_text_has_is_written_out_and_all_else_kept() -> None:
    assert printable("a\x1b[31m\u202eb\udcff\x00") == "a\\x1b[31m\\u202eb\\udcff\\x00"
    assert printable("é 中\n\tα±") == "é 中\n\tα±"
    assert unprintable("ab\x9b") == "U+009B"


def test_plotly_reads_no_tags_and_fills_nothing_in() -> None:
    assert for_plotly("<b>a</b> & %{x}") == "&lt;b&gt;a&lt;/b&gt; &amp; %\u200b{x}"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("=1+1", "'=1+1"),
        ("+a", "'+a"),
        ("-a", "'-a"),
        ("@a", "'@a"),
        ("\ta", "'\ta"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        ("a=1", "a=1"),
        ("0.5", "0.5"),
        ("", ""),
    ],
)
def test_a_spreadsheet_computes_nothing(text: str, shown: str) -> None:
    assert for_spreadsheet(text) == shown


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("data.x.api_key=abc", "data.x.api_key=***"),
        ("--token=abc", "--token=***"),
        ("AWS_SECRET_ACCESS_KEY=a=b", "AWS_SECRET_ACCESS_KEY=***"),
        ("s3://id:secret@bucket/x?region=eu&secret_key=ab&x=1", "s3://***@bucket/x?region=eu&secret_key=***&x=1"),
        ("loggers.mlflow.tracking_uri=http://me:pass@host:5000", "loggers.mlflow.tracking_uri=http://***@host:5000"),
        ("data.x.tokens=77", "data.x.tokens=77"),
        ("epochs=3", "epochs=3"),
        ("mail@host", "mail@host"),
    ],
)
def test_secrets_of_a_command_line_are_hidden(word: str, expected: str) -> None:
    assert without_secrets(word) == expected
