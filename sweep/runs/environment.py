"""The environment of a run (machine, versions, command), recorded with it; and the check that one and the same code is
imported everywhere."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import data
import methods
from sweep.runs.code_texts import code_digest, folder_digests, read_code_digest
from sweep.runs.module_imports import PACKAGES as OURS
from sweep.runs.records import EnvironmentRecord, Run
from sweep.runs.shown_text import printable, without_secrets
from sweep.storage.files import StoreError

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (
    "torch",
    "torchvision",
    "torchaudio",
    "ray",
    "optuna",
    "transformers",
    "scikit-learn",
    "numpy",
)


CODE_VARIABLE = "SWEEP_DRIVER_CODE"
"""Tells the workers on a cluster the digest of their driver's code."""


def check_packages() -> None:
    """Check that one and the same code runs everywhere: the four packages come from one root, and those of a worker are
    its driver's. Raises ImportError, naming the folder that shadows one of them, or the node whose code differs."""
    import models

    for package in (data, methods, models):
        found = Path(str(package.__file__)).resolve().parent
        if found.parent != ROOT:
            raise ImportError(
                f"package {package.__name__!r} was imported from {found}, but sweep lies in {ROOT}: another folder or "
                f"package called {package.__name__!r} comes first on the Python path; run from elsewhere or rename it"
            )
    if os.environ.get(CODE_VARIABLE, code_digest()) != code_digest():
        raise ImportError(
            f"the code on {socket.gethostname()}, in {ROOT}, is not the driver's: install the same version on every "
            "node, or submit the sweep with ray job submit --working-dir ., which sends the code along"
        )


class ChangedCodeError(StoreError):
    """The code is not the plan's any more: whatever it trained would be filed as what it is not."""


def check_code(planned: str) -> None:
    """Check that all modules of the four packages that this process has imported are those of a plan. planned: the
    :func:`code_digest` of the process that planned. Cheap where nothing was imported since the last check.

    Raises ChangedCodeError where the code was rewritten since, also by a comment: then a run may be of other code than
    its hash says."""
    imported = sum(name.partition(".")[0] in OURS for name in sys.modules)
    if _checked.get(planned) == imported:
        return
    check_files(planned)
    _checked[planned] = imported


def check_files(planned: str) -> None:
    """Check that the files of the four packages are those of a plan. Raises ChangedCodeError."""
    if read_code_digest() != planned:
        raise ChangedCodeError(
            f"the code in {ROOT} (on {socket.gethostname()}) was rewritten after the sweep was planned, so nothing "
            "more is trained: its runs would be filed under the hash of the code before"
        )


def check_code_of(run: Run, planned: str) -> None:
    """Import what a run's method and dataset need, and check that it is the plan's code. Raises ChangedCodeError."""
    for registry, name in ((methods.METHODS, run.method), (data.DATASETS, run.dataset)):
        if registry.refusal(name) is None:  # imports it; what cannot be imported is said where the run is trained
            registry.get(name)
    check_code(planned)


_checked: dict[str, int] = {}
"""Digest -> how many modules of ours were imported when it was last found to be that of the code."""


def record_environment(workers: int) -> EnvironmentRecord:
    """Record versions, code, git revision, hardware and command line of this process."""
    return EnvironmentRecord(**_fixed(), workers=workers, started=datetime.now(UTC).isoformat(timespec="seconds"))


@cache
def _fixed() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "python": platform.python_version(),
        "code": code_digest(),
        "folders": folder_digests(),
        "git": _git_revision(),
        "hostname": socket.gethostname(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cpus": os.cpu_count() or 0,
        "gpus": gpus,
        "command": [printable(without_secrets(word)) for word in sys.argv],
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _git_revision() -> str | None:
    """Read the revision of the code's repository, with "+changes" where the working tree differs; None without git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--abbrev=12", "--dirty=+changes", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )
