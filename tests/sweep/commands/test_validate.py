"""``python -m sweep validate``, and what the commands that train make of the same file."""

from __future__ import annotations

import numpy as np
from support.command_desk import Desk

SWEEP = {
    "method": "joint",
    "datasets": ["arrays"],
    "data": {"arrays": {"root": "set.npz", "modalities": ["sound", "image"]}},
    "references": False,
}


def test_data_that_is_not_here_is_noted_and_what_trains_refuses_it(desk: Desk) -> None:
    desk.write(s=SWEEP)
    code, out, err = desk.run("validate")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "sweeps.yaml: 1 sweeps, no mistakes",
        "sweeps.yaml:4: sweeps.s.data.arrays: set.npz: no such file; set root to an npz file or a folder of npy files "
        "(not checked: the data is not here, and run would refuse it)",
    ]
    for words in (["--dry-run"], ["--local"]):
        code, out, err = desk.run("run", "s", *words)
        assert (code, out) == (2, "")
        assert err.startswith("sweeps.yaml:4: sweeps.s.data.arrays: set.npz: no such file; set root to")
    assert not (desk.folder / "results").exists()


def test_no_sweep_is_trained_before_the_data_of_all_is_there(desk: Desk) -> None:
    digits = {"method": "joint", "datasets": ["digits"], "references": False}
    desk.write(first=digits, second=SWEEP)
    code, _, err = desk.run("run", "first", "second", "--local")
    assert code == 2
    assert "sweeps.second.data.arrays: set.npz: no such file" in err
    assert desk.finished() == []


def test_wrong_data_is_a_mistake(desk: Desk) -> None:
    sound = np.zeros((9, 4), np.float32)
    np.savez(desk.folder / "set.npz", sound=sound, image=sound[:8], labels=np.arange(9) % 3)
    desk.write(s=SWEEP)
    code, out, err = desk.run("validate")
    assert (code, out) == (2, "")
    assert "sweeps.s.data.arrays: set.npz: image has 8 samples, labels has 9; give each of them one row a sample" in err
