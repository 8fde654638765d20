"""``--dry-run``: it names the runs to train, and estimates from earlier ones."""

from __future__ import annotations

import re

from support.command_desk import Desk


def test_what_is_held_is_counted_and_what_is_missing_estimated(trained_desk: Desk) -> None:
    code, out, err = trained_desk.run("run", "s", "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines() == ["s: 0 runs to train, 8 held by results", "s: nothing to train"]
    code, out, _ = trained_desk.run("run", "s", "--dry-run", "seeds=[0,1,2]")
    assert code == 0
    assert "s: 4 runs to train, 8 held by results" in out
    assert len(re.findall(r"^  [0-9a-f]{16}  (?:iprm|aug) train.lr=\S+ on digits seed 2$", out, re.M)) == 4
    assert re.search(r"about \d+ s with \d+ at a time, \d+ MiB of disk \(from 2 method and dataset pairs", out)
