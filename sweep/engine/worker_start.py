"""Goes on as a worker of Ray, in the environment that it is told. Run as a file, in place of Ray's own, which imports
Ray only for this: a second of processor time before each worker imports it again."""

from __future__ import annotations

import json
import os
import shlex
import sys

CONTEXT = "--serialized-runtime-env-context="
LANGUAGE = "--language="


def become_worker(words: list[str]) -> None:
    """Replace this process by the command that Ray gives, with the environment of its words."""
    told = [word.removeprefix(CONTEXT) for word in words if word.startswith(CONTEXT)]
    context = json.loads(told[0]) if told else {}
    command = [shlex.quote(word) for word in words if not word.startswith((CONTEXT, LANGUAGE))]
    os.environ.update(context.get("env_vars", {}))
    # A prefix is of a shell, as cd FOLDER &&.
    line = [*context.get("command_prefix", ()), "exec", context.get("py_executable") or sys.executable, *command]
    os.execvp("bash", ["bash", "-c", " ".join(line)])


if __name__ == "__main__":
    become_worker(sys.argv[1:])
