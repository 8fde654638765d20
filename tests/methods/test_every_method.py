"""What every method promises, checked for each: N workers equal one, a resumed run equals an uninterrupted one, both
precisions train, prediction needs no labels. A new method joins by a line in CASES (its default joins by existing)."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from support import two_processes as parallel
from support.toy_dataset import CLASSES, toy_dataset, toy_method, toy_training

import methods
from data.base import Batch

Case = tuple[str, dict[str, Any], int]

VARIANTS: list[Case] = [
    ("unimodal", {"modality": "video"}, 2),
    ("joint", {"unimodal_loss_weight": 1.0}, 2),
    *[("joint", {"fusion": fusion}, 2) for fusion in ("sum", "weight", "affine", "gated", "late")],
    ("joint", {"fusion": "late", "late_train": "joint"}, 3),
    ("joint", {"fusion": "ml_lstm", "lstm_hidden": 64, "lstm_layers": 1}, 2),
    ("joint", {"fusion": "ml_lstm", "lstm_hidden": 64}, 3),
    ("joint", {"fusion": "etmc", "unimodal_loss_weight": 0.5}, 2),
    ("joint", {"fusion": "etmc", "evidence": "exp", "annealing_epochs": 2}, 3),
    ("joint", {"unimodal_loss_weight": 1.0}, 3),
    ("iprm", {"passes": 1}, 2),
    ("iprm", {}, 3),
    ("iprm", {"pair_heads": "single_cls"}, 3),
    ("iprm", {"kind": "linear", "ema": "off"}, 2),
    ("iprm", {"kind": "linear_raw", "ema": "fixed", "predict": "multi"}, 3),
    ("iprm", {"paired": False}, 2),
    ("iprm", {"paired": False, "passes": 1}, 2),
    ("bss", {"scheduler": "heuristic", "t_grow": 3}, 2),
    ("bss", {}, 3),
    ("bss", {"order": "random", "scheduler": "heuristic", "t_grow": 3}, 3),
    ("bss", {"order": "anti", "correlation": "featsim", "information": "none", "replacement": True}, 3),
    ("bss", {"information": "gradmag", "prob": "linear", "predict_heads": "uni", "rescore_every": 2}, 2),
    ("bss", {"score_mode": "train", "warmup_epochs": 1}, 2),
    ("lfa", {"strategy": "heuristic"}, 3),
    ("lfa", {"strategy": "constant", "alpha": 0.5}, 2),
    ("lfa", {"strategy": "learned", "inverse": "cg", "hyper_batch": "holdout", "hyper_batch_size": 8}, 2),
    ("lfa", {"alignment": "js", "fusion": "late", "late_train": "joint", "alpha": 0.5}, 3),
    ("lfa", {"strategy": "fitted", "loss_scale": 2.0}, 2),
    ("igm", {"rho": 0.05}, 3),
    ("igm", {"rho": 0.05, "cov_mode": "samples", "gm_scope": 1.0}, 2),
    ("amss", {"plus": False, "mi_momentum": 0.9, "linear_unit": "row"}, 2),
    ("amss", {"weighting": "official", "weight_offset": 0.2, "mask_backbone": False, "unimodal_source": "native"}, 2),
    ("amss", {"sampling": "uniform", "plus": False, "fixed_ratios": [0.2, 1.0], "mask_classifier": False}, 2),
    ("amss", {"sampling": "topk", "fusion": "late", "mask_exclude": ["video.*"], "ratio_bias": 0.1}, 2),
    ("amss", {"tau": 0.5, "mi_shift": 1.0}, 3),
    ("amss", {"plus": False, "fusion": "gated", "fixed_ratios": [0.5, 0.8, 1.0]}, 3),
    ("igm", {"rho": 0.05, "mixup_alpha": 1.0, "flat_ratio": 0.3, "sam_per_tensor": True, "late_fusion": "mean"}, 2),
    ("igm", {"use_sam": False, "gm_from": {"audio": False}, "cov_accumulate": True, "cov_batches": 2}, 3),
    ("aug", {"assign_every": 1, "dead_zone": 0.0}, 2),
    ("aug", {"assign_every": 1, "criterion": "ratio", "score": "entropy", "dead_zone": 0.0, "update": "alternate"}, 2),
    ("aug", {"assignment": "fixed", "fixed_modality": "video", "n_fixed": 3, "use_eps_o": False, "alpha": 0.4}, 2),
    ("aug", {"assign_first_epoch": True, "dead_zone": 0.0, "max_heads": 2, "use_eps_p": False}, 3),
]
DEFAULTS: list[Case] = [(name, {}, 2) for name in methods.names() if name != "unimodal"]
CASES = DEFAULTS + VARIANTS
IDS = [f"{name}-{m}-{'-'.join(map(str, hp.values())) or 'default'}" for name, hp, m in CASES]
every_case = pytest.mark.parametrize(("name", "hyperparameters", "modalities"), CASES, ids=IDS)


def trained(name: str, hyperparameters: dict[str, Any], modalities: int, epochs: int = 3) -> dict[str, Any]:
    """Train to the end; weights, losses, metrics and diagnostics of every epoch."""
    training = toy_training(name, hyperparameters, modalities=modalities, epochs=epochs)
    records = list(training.epochs())
    result = training.result()
    return {
        "state": training.state_dict()["method"],
        "loss": [record.loss for record in records],
        "metrics": [record.metrics for record in records],
        "diagnostics": [record.diagnostics for record in records],
        "samples": [record.samples for record in records],
        "test": result.test,
    }


def train_all(cases: list[Case]) -> list[dict[str, Any]]:
    return [trained(*case) for case in cases]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Every case trained once by two workers on half batches: one launch for all."""
    results = parallel.run_workers(2, tmp_path_factory.mktemp("workers"), train_all, CASES)
    return {identifier: [results[rank][k] for rank in range(2)] for k, identifier in enumerate(IDS)}


def assert_close(found: Any, expected: Any, where: str = "") -> None:
    if torch.is_tensor(expected) and expected.is_floating_point():
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-3, msg=lambda text: f"{where}: {text}")
    elif isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        for key in expected:
            assert_close(found[key], expected[key], f"{where}.{key}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), where
        for number, (one, other) in enumerate(zip(found, expected, strict=True)):
            assert_close(one, other, f"{where}[{number}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=2e-4, rel=2e-3, nan_ok=True), where
    else:
        assert torch.equal(found, expected) if torch.is_tensor(expected) else found == expected, where


@every_case
def test_two_workers_follow_one(
    name: str, hyperparameters: dict[str, Any], modalities: int, two_workers: dict[str, Any], request: Any
) -> None:
    first, second = two_workers[request.node.callspec.id]
    for key in ("state", "loss", "metrics", "test"):
        assert_same(second[key], first[key])
    kind = methods.get(name)
    if kind.world_size_matters(kind.Hyperparameters.model_validate(hyperparameters)):
        return  # exempt: alike on every worker, but not what one worker does
    alone = trained(name, hyperparameters, modalities)
    for key in ("loss", "samples", "diagnostics"):
        assert_close(first[key], alone[key], key)
    assert_close(first["state"], alone["state"], "state")


def assert_same(found: Any, expected: Any) -> None:
    """Bit-equal, through nested dictionaries and lists."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            assert_same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif torch.is_tensor(expected):
        torch.testing.assert_close(found, expected, atol=0, rtol=0, equal_nan=True)
    elif isinstance(expected, float) and math.isnan(expected):
        assert math.isnan(found)
    else:
        assert found == expected


@every_case
def test_resumed_run_equals_an_uninterrupted_one(
    name: str, hyperparameters: dict[str, Any], modalities: int, tmp_path: Path
) -> None:
    def start(state: dict[str, Any] | None = None) -> Any:
        return toy_training(name, hyperparameters, modalities=modalities, epochs=4, state=state, schedule=step)

    step = {"name": "step", "every": 2.0}
    whole = start()
    expected = list(whole.epochs())
    for stop in (1, len(expected) - 1):
        interrupted = start()
        records = interrupted.epochs()
        for _ in range(stop):
            next(records)
        buffer = io.BytesIO()
        torch.save(interrupted.state_dict(), buffer)
        buffer.seek(0)
        resumed = start(torch.load(buffer, weights_only=True))
        rest = list(resumed.epochs())
        assert [r.epoch for r in rest] == [r.epoch for r in expected[stop:]]
        for one, other in zip(rest, expected[stop:], strict=True):
            assert_same(one.metrics, other.metrics)
            assert_same(one.diagnostics, other.diagnostics)
            assert (one.loss, one.samples, one.forward_passes) == (other.loss, other.samples, other.forward_passes)
        resumed_state, whole_state = resumed.state_dict(), whole.state_dict()
        assert_same(resumed_state["method"], whole_state["method"])
        assert_same(resumed_state["best"], whole_state["best"])
    assert_same(resumed.result().test, whole.result().test)


@every_case
def test_trains_in_both_precisions(name: str, hyperparameters: dict[str, Any], modalities: int) -> None:
    for precision in ("fp32", "bf16"):
        training = toy_training(name, hyperparameters, modalities=modalities, epochs=2, precision=precision)
        losses = [record.loss for record in training.epochs()]
        assert all(math.isfinite(loss) for loss in losses)
        assert all(value.isfinite().all() for value in training.method.parameters())


@every_case
def test_prediction_reads_no_labels(name: str, hyperparameters: dict[str, Any], modalities: int) -> None:
    dataset = toy_dataset(modalities)
    method = toy_method(name, dataset, hyperparameters).eval()
    batch = dataset.test.gather(torch.arange(5))
    predicted = method.predict(batch)
    assert set(predicted) <= {"multi", *dataset.modalities}
    assert "multi" in predicted
    other = method.predict(Batch(batch.inputs, (batch.labels + 1) % CLASSES, batch.index))
    for key, logits in predicted.items():
        assert logits.shape == (5, CLASSES)
        assert torch.equal(logits, other[key])
        # A sample's prediction must not depend on its batch mates.
        alone = method.predict(dataset.test.gather(torch.tensor([2])))[key]
        torch.testing.assert_close(alone[0], logits[2])


@every_case
def test_absent_modalities_do_not_count(name: str, hyperparameters: dict[str, Any], modalities: int) -> None:
    dataset = toy_dataset(modalities)
    method = toy_method(name, dataset, hyperparameters).eval()
    batch = dataset.test.gather(torch.arange(5))
    changed = {m: x if m == "video" else x + 1 for m, x in batch.inputs.items()}
    before = method.predict(batch, present=["video"])["multi"]
    after = method.predict(Batch(changed, batch.labels, batch.index), present=["video"])["multi"]
    assert torch.equal(before, after)


@every_case
def test_training_beats_chance(name: str, hyperparameters: dict[str, Any], modalities: int) -> None:
    training = toy_training(name, hyperparameters, modalities=modalities, epochs=12)
    for _ in training.epochs():
        pass
    assert training.result().test["test_accuracy"] > 1.5 / CLASSES


def test_wrong_hyperparameter_values_are_refused() -> None:
    for name in methods.names():
        kind = methods.get(name)
        for field in kind.Hyperparameters.model_fields:
            with pytest.raises(ValueError, match=field):
                kind.Hyperparameters.model_validate({field: object()})
        with pytest.raises(ValueError, match="unheard_of"):
            kind.Hyperparameters.model_validate({"unheard_of": 1})
