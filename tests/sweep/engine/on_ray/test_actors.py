"""What an actor tells Tune."""

from __future__ import annotations

from support.small_runs import make_epoch

from sweep.engine.on_ray.actors import tune_result


def test_a_result_has_always_the_same_keys_and_is_finite() -> None:
    trained = tune_result(make_epoch(2), "validation_accuracy", done=False)
    assert trained == {"epoch": 2, "epochs": 3, "value": 0.5, "done": False, "trouble": ""}
    nothing = tune_result(None, "validation_accuracy", done=True, trouble="disk full")
    assert nothing == {"epoch": 0, "epochs": 0, "value": 0.0, "done": True, "trouble": "disk full"}
