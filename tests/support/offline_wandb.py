"""Reads what Weights & Biases stored of an offline run."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def offline_records(path: Path) -> Iterator[Any]:
    """What a .wandb file holds: a header of 7 bytes, then records in blocks of 32 KiB, as LevelDB logs them."""
    from wandb.proto.wandb_internal_pb2 import Record

    content, position, parts = path.read_bytes(), 7, b""
    while position < len(content):
        if (left := 32768 - position % 32768) < 7:
            position += left
            continue
        _, size, kind = struct.unpack("<IHB", content[position : position + 7])
        parts += content[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or the last part
            yield Record.FromString(parts)
            parts = b""


def offline_run(path: Path) -> dict[str, Any]:
    """Configuration, history and exit code of an offline run."""
    found: dict[str, Any] = {"config": {}, "history": []}
    for record in offline_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            found |= {"name": record.run.display_name, "group": record.run.run_group, "project": record.run.project}
        updates = record.run.config.update if kind == "run" else record.config.update if kind == "config" else []
        found["config"] |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in updates}
        if kind == "history":
            items = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            found["history"].append(items)
        if kind == "exit":
            found["exit"] = record.exit.exit_code
    return found
