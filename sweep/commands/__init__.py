"""The command line: one file a command, with a parser, exit codes and a terminal for all of them.

In come the words after ``python -m sweep``, out comes an exit code. Commands call the other rooms and print; nothing
imports this room, and no result depends on it. :mod:`~sweep.commands.main` imports the module of a command only when it
is asked for, so that each command loads what it needs and no more."""

from __future__ import annotations

from sweep.commands import main

__all__ = ["main"]
