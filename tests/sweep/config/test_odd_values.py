"""Odd values of a sweeps file: each is told at its line, with what would have been right."""

from __future__ import annotations

from pathlib import Path

import pytest

from sweep.config import ConfigError, load

MANIFEST = (
    "sweeps:\n  s:\n    method: joint\n    datasets: [manifest]\n    data: {manifest: {root: x, modalities: {a: %s}}}"
)


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("sweeps:\n  s:\n    method: null\n    datasets: [digits]\n", 3, "expected the name of a method, or a mapping"),
        ("sweeps:\n  s:\n    methods: [null]\n    datasets: [digits]\n", 3, "expected the name of a method"),
        (
            "sweeps:\n  s:\n    methods: [{metod: joint}]\n    datasets: [digits]\n",
            3,
            r"methods\[0\]\.method: is missing\n.*no key called 'metod'; did you mean method\?$",
        ),
        (MANIFEST % "{kind: audoi}", 5, r"a\.kind: 'audoi' is not possible: expected audio, .* did you mean audio\?"),
        (MANIFEST % "{}", 5, r"a\.kind: is missing; there are: audio, image, video, text"),
        (MANIFEST % "5", 5, "expected a mapping, not 5"),
        ("sweeps:\n  s:\n    method: jo\0int\n", 3, r"it holds the character U\+0000"),
        ("sweeps:\n  s: {}\n# \ud83d\ude00 \x07\n", 3, r"it holds the character U\+0007"),
    ],
)
def test_an_odd_value_is_told_at_its_line(tmp_path: Path, text: str, line: int, said: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(text.encode("utf-16", "surrogatepass").decode("utf-16").encode())
    with pytest.raises(ConfigError, match=said) as told:
        load(file)
    assert f"mine.yaml:{line}: " in str(told.value)
