"""What an actor tells Tune."""

from __future__ import annotations

from support.small_runs import make_epoch

from sweep.engine.on_ray.actors import tune_result


def test_a_result_has_always_the_same_keys_and_is_finite() -> None:
    trained = tune_result(make_epoch(2), "validation_accuracy", done=False)
    assert trained == {
        "epoch": 2, "epochs": 3, "selectable": 2, "validated": True, "value": 0.5, "done": False, "trouble": ""
    }  # fmt: skip
    aside = make_epoch(2).model_copy(update={"selectable": None, "metrics": {}})
    unjudged = tune_result(aside, "validation_accuracy", done=False)
    assert unjudged == {**trained, "selectable": 0, "validated": False, "value": 0.0}
    nothing = tune_result(None, "validation_accuracy", done=True, trouble="disk full")
    assert nothing == {
        "epoch": 0, "epochs": 0, "selectable": 0, "validated": False, "value": 0.0, "done": True, "trouble": "disk full"
    }  # fmt: skip
