"""A worker of Ray starts as Ray itself would start it."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from ray._private.runtime_env.context import RuntimeEnvContext
from ray.core.generated.common_pb2 import Language

from sweep.engine.worker_start import CONTEXT, become_worker

COMMAND = ["/my ray/default_worker.py", "--node-ip-address=127.0.0.1", "--temp-dir=/a; b"]


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"env_vars": {"PYTHONPATH": "/a:/b"}, "py_executable": "'/my code/bin/python'"},
        {"env_vars": {"A": "1"}, "command_prefix": ["cd", "/code", "&&"], "py_executable": None, "java_jars": []},
    ],
)
def test_the_command_and_its_environment_are_those_of_rays_own_way(
    monkeypatch: pytest.MonkeyPatch, context: dict[str, Any]
) -> None:
    seen = list[tuple[str, list[str], dict[str, str]]]()
    monkeypatch.setattr(os, "execvp", lambda file, args: seen.append((file, args, dict(os.environ))))
    monkeypatch.setattr(os, "environ", {"B": "2"})
    RuntimeEnvContext.deserialize(json.dumps(context)).exec_worker(list(COMMAND), Language.PYTHON)
    monkeypatch.setattr(os, "environ", {"B": "2"})
    become_worker([*COMMAND, "--language=PYTHON", CONTEXT + json.dumps(context)])
    theirs, ours = seen
    assert ours == theirs
