"""Joining a Ray cluster that others have started: where it is, the code that it is sent, and its refusals in words for
people. Nothing here needs Ray."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from sweep.config import ConfigError
from sweep.runs.environment import ROOT
from sweep.runs.module_imports import PACKAGES
from sweep.storage.files import scratch_folder

ANSWER_WITHIN = 10.0
"""Seconds in which the head of a cluster must accept a connection."""

TOKEN = "the token is read from RAY_AUTH_TOKEN, from the file that RAY_AUTH_TOKEN_PATH names, or from ~/.ray/auth_token"


def check_address(address: str) -> None:
    """Check that a Ray cluster can be at ``address``, HOST:PORT of its head or auto. Raises ConfigError within seconds
    where none can: left to itself Ray tries for minutes."""
    if address == "auto":
        _check_auto()
        return
    if "://" in address:
        raise ConfigError(
            f"{address} is no address that a sweep can join: on a node of the cluster give HOST:PORT of its head "
            "(6379 unless chosen otherwise) or auto; from elsewhere use ray job submit, which takes http://HOST:8265"
        )
    if not re.fullmatch(r".+:\d+", address):
        raise ConfigError(f"{address!r} is no address of a Ray cluster: give HOST:PORT of its head, or auto")
    try:
        _connect(address)
    except (OSError, OverflowError) as error:
        raise ConfigError(
            f"no Ray cluster answers at {address} ({error}): start one there (ray start --head), correct --address or "
            "RAY_ADDRESS, or leave both out to use this machine alone"
        ) from error


def _connect(address: str) -> None:
    host, _, port = address.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), ANSWER_WITHIN).close()


def _check_auto() -> None:
    """Check that a Ray cluster runs where Ray looks for one: among the processes of this machine, then in the file that
    ``ray start`` leaves, which outlives its cluster. Raises ConfigError."""
    words = (word for process in psutil.process_iter(["cmdline"]) for word in process.info["cmdline"] or ())
    if any(word.startswith("--gcs-address=") for word in words):
        return
    file = Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp", "ray", "ray_current_cluster")
    remedy = "start one (ray start), or leave out --address and RAY_ADDRESS to use this machine alone"
    if not file.exists():
        raise ConfigError(f"the address is auto, but no Ray cluster runs on this machine: {remedy}")
    address = file.read_text().strip()
    try:
        _connect(address)
    except (OSError, OverflowError, ValueError) as error:
        raise ConfigError(
            f"the address is auto, but the Ray cluster of which {file} tells has ended: nothing answers at {address}; "
            f"{remedy}"
        ) from error


def joining_error(error: BaseException, address: str) -> ConfigError:
    """Return an error that says why Ray refused to join the cluster at ``address``, and what to do."""
    said = "\n".join(str(link) for link in _chain(error))
    cluster = f"the Ray cluster at {address}"
    if re.search(r"Unauthenticated|InvalidAuthToken|authentication token", said):
        if os.environ.get("RAY_AUTH_MODE", "").lower() != "token":
            return ConfigError(f"{cluster} asks for a token: set RAY_AUTH_MODE=token; {TOKEN}")
        return ConfigError(f"{cluster} does not accept the token, or there is none: {TOKEN}")
    versions = re.findall(r"Ray: (\S+)\s+Python: (\S+)", said)
    if "Version mismatch" in said and len(versions) == 2:
        theirs, ours = (f"Ray {ray} and Python {python}" for ray, python in versions)
        return ConfigError(f"{cluster} runs {theirs}, this process {ours}: install the same versions on both")
    if "No node info found" in said:
        return ConfigError(
            f"this machine is no node of {cluster}: run the command on one (ray attach, kubectl exec), or submit it "
            "with ray job submit"
        )
    last = [line.strip() for line in str(error).splitlines() if line.strip()]
    return ConfigError(f"cannot join {cluster}: {last[-1] if last else type(error).__name__}")


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def job_environment() -> dict[str, Any]:
    """Return the runtime environment that the Ray job around this process was submitted with; {} outside jobs."""
    given = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}")
    return dict(given.get("runtime_env") or {})


@contextmanager
def shipped_code() -> Iterator[dict[str, str]]:
    """Yield what Ray must be told so that every node imports the driver's code: a copy of the four packages, which Ray
    packs while the context lasts. Nothing inside a job that brings its code itself."""
    if job_environment().keys() & {"working_dir", "py_modules"}:
        yield {}
        return
    with scratch_folder("sweep-code-") as folder:
        for package in PACKAGES:
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__", ".*"))
        yield {"working_dir": str(folder)}
