"""What TensorBoard sees of a run: read back by TensorBoard itself."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.small_runs import make_epoch, make_run
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata

from sweep.runs import tensorboard
from sweep.runs.tensorboard import EventWriter, table_row


def read(folder: Path) -> EventAccumulator:
    found = EventAccumulator(str(folder))
    found.Reload()
    return found


def points(found: EventAccumulator, tag: str) -> list[tuple[int, float]]:
    return [(event.step, pytest.approx(event.value)) for event in found.Scalars(tag)]


def test_the_epochs_are_curves(tmp_path: Path) -> None:
    run, epochs = make_run(), [make_epoch(n).model_copy(update={"diagnostics": {"tau": n / 8}}) for n in (1, 2, 3)]
    writer = EventWriter(run, tmp_path, 1)
    for epoch in epochs:
        writer.add(epoch)
    writer.close()
    found = read(tmp_path)
    assert points(found, "loss") == [(epoch.epoch, epoch.loss) for epoch in epochs]
    assert points(found, "learning_rate") == [(epoch.epoch, epoch.learning_rate) for epoch in epochs]
    assert points(found, "diagnostics/tau") == [(1, 0.125), (2, 0.25), (3, 0.375)]
    assert points(found, "validation/accuracy") == [(e.epoch, e.metrics["validation_accuracy"]) for e in epochs]


def test_a_live_board_sees_more_every_five_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now, flushed = [100.0], list[float]()
    monkeypatch.setattr(tensorboard, "time", SimpleNamespace(time=lambda: 0.0, monotonic=lambda: now[0]))
    writer = EventWriter(make_run(), tmp_path, 1)
    monkeypatch.setattr(writer._writer, "flush", lambda: flushed.append(now[0]))
    for seconds in (5.0, 0.5, 5.0, 0.5, 9.0):
        now[0] += seconds
        writer.add(make_epoch(1))
    assert flushed == [105.5, 111.0, 120.0]


def test_what_was_written_after_the_checkpoint_is_forgotten(tmp_path: Path) -> None:
    run = make_run()
    for from_epoch, to in ((1, 4), (3, 3)):
        writer = EventWriter(run, tmp_path, from_epoch)
        for epoch in range(from_epoch, to + 1):
            writer.add(make_epoch(epoch))
        writer.close()
    assert [step for step, _ in points(read(tmp_path), "loss")] == [1, 2, 3]


def test_a_run_is_a_row_of_the_table_of_hyperparameters(tmp_path: Path) -> None:
    run = make_run(hyperparameters={"alpha": 0.3, "kind": "geodesic", "ema": True, "rho": {"a": 0.1}, "none": None})
    under_way = tmp_path / "under_way"
    under_way.mkdir()
    EventWriter(run, under_way, 1).close()
    assert metadata.SESSION_END_INFO_TAG not in read(under_way).summary_metadata
    writer = EventWriter(run, tmp_path, 1)
    writer.end(2, {"validation_accuracy": 0.75, "test_accuracy": 0.5})
    writer.close()
    found = read(tmp_path)
    content = found.summary_metadata[metadata.SESSION_START_INFO_TAG].plugin_data.content
    row = metadata.parse_session_start_info_plugin_data(content).hparams
    assert row["alpha"].number_value == 0.3
    assert row["kind"].string_value == "geodesic"
    assert row["ema"].bool_value
    assert row["rho"].string_value == '{"a": 0.1}'
    assert row["train.lr"].number_value == run.train.lr
    assert row["seed"].number_value == run.seed
    assert set(row) == set(table_row(run))
    assert "none" not in row
    assert metadata.SESSION_END_INFO_TAG in found.summary_metadata
    assert points(found, "end/validation_accuracy") == [(2, 0.75)]
    assert points(found, "end/test_accuracy") == [(2, 0.5)]
    content = found.summary_metadata[metadata.EXPERIMENT_TAG].plugin_data.content
    shown = [info.name.tag for info in metadata.parse_experiment_plugin_data(content).metric_infos]
    assert shown == ["end/validation_accuracy", "end/test_accuracy"]
