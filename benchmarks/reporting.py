"""What the engine adds to an epoch: runs of one worker and of two, with and without the early-stopping rule's word to
wait for after each epoch.

    python -m benchmarks.reporting [--epochs 50] [--batch 16]

Printed is the wall time from the first epoch on record to the last over the seconds that these epochs took by
themselves (training and validation). The rest is what lies between: record, checkpoint, report, the word to go on. The
batch size is a means to make an epoch last about 0.1 s on the machine at hand.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
from pathlib import Path

import yaml
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sweep.config import load
from sweep.engine.execute import Execution, execute
from sweep.engine.on_ray.session import RaySession
from sweep.runs.run_folder import RunFolder
from sweep.runs.store import Store


def between_epochs(folder: RunFolder) -> float:
    """Wall time of the epochs after the first, over their own."""
    events = EventAccumulator(str(folder.path))
    events.Reload()
    times = [event.wall_time for event in events.Scalars("loss")]
    return (times[-1] - times[0]) / sum(record.seconds for record in folder.epochs()[1:])


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--epochs", type=int, default=50)
    arguments.add_argument("--batch", type=int, default=16)
    options = arguments.parse_args()
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    # Neither rule stops anything: the median rule needs others to compare with.
    rules = {"never looked at": None, "looked at each epoch": {"name": "median", "grace": 1}}
    with tempfile.TemporaryDirectory() as scratch, RaySession() as ray:
        ray.ensure()
        for workers in (1, 2):
            for said, rule in rules.items():
                path, results = Path(scratch) / "sweeps.yaml", Path(scratch) / f"{workers} {said}"
                keys = {"method": "joint", "datasets": ["digits"], "seeds": [0], "references": False, "keep": "none"}
                keys |= {"epochs": options.epochs, "train": {"batch_size": options.batch}, "scheduler": rule}
                path.write_text(yaml.safe_dump({"sweeps": {"s": keys | {"resources": {"workers": workers}}}}))
                execute(load(path, ["s"], [])[0], results, Execution(), ray, Console(quiet=True))
                (folder,) = [Store(results).run(final.parent.name) for final in results.glob("runs/*/final.json")]
                epoch = statistics.median(record.seconds for record in folder.epochs())
                print(f"{workers} workers, {said:21} {between_epochs(folder):6.3f}  (an epoch: {epoch:.3f} s, median)")


if __name__ == "__main__":
    main()
