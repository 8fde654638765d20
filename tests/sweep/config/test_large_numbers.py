"""Numbers far beyond what people need: refused in a line that names the limit, before anything is as large as they."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sweep.commands.main import main

SWEEP = {"method": "joint", "datasets": ["digits"], "seeds": [0], "references": False}
SEARCH = {"search": {"algorithm": "random", "configurations": 2}}
HUGE = 10**9
SOUND = {"kind": "audio", "rate": 16000, "seconds": 1}


def media(**options: Any) -> dict[str, Any]:
    """A sweep of one sound and one picture file a sample, with other options of these."""
    sound = SOUND | {name: value for name, value in options.items() if name != "size"}
    picture = {"kind": "image", "size": options.get("size", 8)}
    modalities = {"sound": sound, "face": picture}
    return {"datasets": ["manifest"], "data": {"manifest": {"root": "rows.csv", "modalities": modalities}}}


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "workers": ({"resources": {"workers": HUGE}}, "resources.workers: expected a number at most 10,000"),
    "epochs": ({"epochs": HUGE}, "epochs: expected a number at most 100,000"),
    "batch size": ({"train": {"batch_size": HUGE}}, "train.batch_size: expected a number at most 10,000,000"),
    "threads": ({"train": {"threads": HUGE}}, "train.threads: expected a number at most 1,024"),
    "seconds": ({"timeout": HUGE}, "timeout: expected a number at most 86,400,000"),
    "configurations": (
        {"search": {"algorithm": "random", "configurations": HUGE}, "vary": {"train.lr": {"uniform": [0.1, 1]}}},
        "search.configurations: expected a number at most 1,000,000",
    ),
    "batch of proposals": (
        {"search": SEARCH["search"] | {"batch": HUGE}, "vary": {"train.lr": {"uniform": [0.1, 1]}}},
        "search.batch: expected a number at most 10,000",
    ),
    "searched epochs": (SEARCH | {"vary": {"epochs": {"int": [1, HUGE]}}}, "expected a whole number from 1 to 100,000"),
    "seeds": ({"seeds": [*range(10_001)]}, "seeds: expected at most 10000 values"),
    "splits": ({"splits": [*range(1001)]}, "splits: expected at most 1000 values"),
    "methods": ({"methods": ["joint"] * 1001, "method": None}, "methods: expected at most 1000 values"),
    "a grid on splits": (
        {"vary": {"train.lr": {"grid": [n / 1000 for n in range(1, 102)]}}, "splits": [*range(1000)]},
        "a grid of 101 configurations on 1000 splits",
    ),
    "runs": (
        {"vary": {"train.lr": {"grid": [n / 1000 for n in range(1, 102)]}}, "seeds": [*range(10_000)]},
        "seeds: 1,010,000 runs of one method, of at most 1,000,000",
    ),
    "layers": ({"encoders": {"left": {"name": "mlp", "depth": HUGE}}}, "should be less than or equal to 1000"),
    "whole hyperparameters": (
        {"method": "igm", "hyperparameters": {"out_iters": HUGE}}, "out_iters: expected at most 100,000, not 1000000000"
    ),
    "epochs of a phase": (
        {"method": "umt", "hyperparameters": {"teacher_epochs": HUGE}}, "teacher_epochs: expected at most 100,000"
    ),
    "phases": ({"method": "igm", "hyperparameters": {"out_iters": 2501}}, "would have 5,002 phases, of at most 5,000"),
    "epochs of all phases": (
        {"method": "umt", "epochs": 60_000}, "its phases would have 180,000 epochs in all, of at most 100,000"
    ),
    "samples of a split": (
        {"datasets": ["av_digits"], "data": {"av_digits": {"root": "fsdd", "train_samples": HUGE}}},
        "train_samples: expected at most 1,000,000",
    ),
    "samples of a window": (media(n_fft=HUGE), "n_fft: expected a number at most 65,536"),
    "sound": (media(seconds=HUGE), "seconds: expected a number at most 3,600"),
    "pixels": (media(size=HUGE), "size: expected a number at most 4,096"),
    "numbers of a sample": (
        media(seconds=3600, rate=192_000, hop=1), "a sample of sound would have 177,638,400,257 numbers"
    ),
}  # fmt: skip


@pytest.mark.parametrize(("asked", "said"), CASES.values(), ids=CASES)
def test_a_number_that_would_size_memory_is_refused_with_its_limit(
    asked: dict[str, Any], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sweep = {key: value for key, value in {**SWEEP, **asked}.items() if value is not None}
    file = tmp_path / "sweeps.yaml"
    file.write_text(yaml.safe_dump({"sweeps": {"s": sweep}}))
    assert main(["validate", "--file", str(file)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) < 4


def test_of_many_mistakes_the_first_are_told_and_long_words_are_cut(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "sweeps.yaml"
    file.write_text(yaml.safe_dump({"sweeps": {"s": SWEEP}}))
    unknown = [f"no-method-{number}" for number in range(120)]
    assert main(["validate", "--file", str(file), f"methods=[{','.join(unknown)}]"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 101
    assert lines[-1] == "and 20 more mistakes"
    assert max(map(len, lines)) < 400
