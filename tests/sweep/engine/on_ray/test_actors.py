"""What an actor reports to Tune."""

from __future__ import annotations

from support.small_runs import make_epoch

from sweep.engine.on_ray.actors import report


def test_a_report_has_always_the_same_keys_and_is_finite() -> None:
    trained = report(make_epoch(2), "validation_accuracy", done=False)
    assert trained == {"epoch": 2, "epochs": 3, "value": 0.5, "done": False, "trouble": ""}
    nothing = report(None, "validation_accuracy", done=True, trouble="disk full")
    assert nothing == {"epoch": 0, "epochs": 0, "value": 0.0, "done": True, "trouble": "disk full"}
