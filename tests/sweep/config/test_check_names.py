"""Names that set nothing are refused."""

from __future__ import annotations

import pytest
from support.config_problems import problem_lines

pytest_plugins = ["support.sweep_files"]


pytestmark = pytest.mark.usefixtures("fakes")


def test_encoders_of_other_datasets_may_stay_in_the_file(one):
    text = "sweeps: {a: {method: mixer, datasets: [toy], encoders: {left: mlp}, data: {files: {root: x}}}}"
    assert one(text, "datasets=[files]").datasets == ["files"]
    assert problem_lines(one, text, "encoders.audio=mlp")[0].startswith("command line: encoders.audio=mlp: no modality")
