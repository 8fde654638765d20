"""The error of one medium: it names the file, and passes from the process that decodes to the one that asks."""

from __future__ import annotations

import pickle
from pathlib import Path

from data.media import MediaError


def test_an_error_of_a_file_keeps_path_and_reason_between_processes() -> None:
    error = pickle.loads(pickle.dumps(MediaError("clips/a.wav", "the file is empty")))
    assert isinstance(error, MediaError)
    assert (error.path, error.reason) == (Path("clips/a.wav"), "the file is empty")
    assert str(error) == "clips/a.wav: the file is empty"
