"""Recordings of spoken digits by their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from data.base import DataError
from data.readers.fsdd import find_recordings, missing_recordings


def test_recordings_are_found_from_both_folders_in_the_order_of_names(fsdd_root: Path) -> None:
    recordings = find_recordings(str(fsdd_root))
    assert recordings == find_recordings(str(fsdd_root / "recordings"))
    assert len(recordings) == 2 * 10 * 12
    assert [r.path.name for r in recordings[:4]] == ["0_ann_0.wav", "0_ann_1.wav", "0_ann_10.wav", "0_ann_11.wav"]
    third = recordings[2]
    assert (third.digit, third.speaker, third.index) == (0, "ann", 10)


def test_other_files_beside_the_recordings_are_left_alone(tmp_path: Path, fsdd: Any) -> None:
    folder = fsdd(tmp_path, ["ann"], [0]) / "recordings"
    (folder / "README.md").write_text("hello")
    (folder / "._0_ann_0.wav").write_bytes(b"\x00")
    assert len(find_recordings(str(tmp_path))) == 10


def test_a_wrong_root_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere: no such folder; set `root`.*recordings"):
        find_recordings(str(tmp_path / "nowhere"))
    with pytest.raises(DataError, match="no WAV files; set `root`"):
        find_recordings(str(tmp_path))
    (tmp_path / "recordings").mkdir()
    with pytest.raises(DataError, match="recordings: no WAV files"):
        find_recordings(str(tmp_path))


@pytest.mark.parametrize(
    "name", ["x_ann_0.wav", "10_ann_0.wav", "0_ann.wav", "0_ann_b.wav", "0_an_n_0.wav", "0_ann_00.wav", "0_ann_0.WAV"]
)
def test_a_name_out_of_form_is_refused(tmp_path: Path, wav: Any, name: str) -> None:
    wav(tmp_path / name, [1])
    with pytest.raises(DataError, match=rf"{name}: the name is not of the form DIGIT_SPEAKER_INDEX\.wav"):
        find_recordings(str(tmp_path))


def test_gaps_are_counted_and_named(tmp_path: Path, fsdd: Any) -> None:
    folder = fsdd(tmp_path, ["ann", "bob"], range(3)) / "recordings"
    assert missing_recordings(find_recordings(str(tmp_path))) == (0, [])
    for name in ("4_bob_1.wav", "7_ann_2.wav", "9_bob_0.wav", "9_bob_1.wav"):
        (folder / name).unlink()
    count, first = missing_recordings(find_recordings(str(tmp_path)))
    assert count == 4
    assert first == ["7_ann_2.wav", "4_bob_1.wav", "9_bob_0.wav"]
