"""Metrics equal scikit-learn's; Shapley values keep their axioms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from support.toy_dataset import toy_dataset, toy_method

from data.base import Batch, Corruption, Dataset
from data.base.corrupted import corrupted
from methods.base import evaluating
from sweep.training import metrics
from sweep.training.metrics import (
    absent_classes,
    imbalance,
    metric_name,
    predict_split,
    sampled_shapley_values,
    score,
    shapley_values,
    subset_metric,
)
from sweep.training.workers import WorkerGroup


def lacking(**modalities: float) -> Dataset:
    """The toy dataset, of whose test samples some lack a modality."""
    return corrupted(toy_dataset(3), {m: Corruption.model_validate({"drop": d}) for m, d in modalities.items()}, 0)


@pytest.mark.parametrize("name", ["joint", "aug", "domfn", "umt", "iprm", "ensemble"])
@pytest.mark.parametrize("present", [None, ["audio", "text"]])
def test_a_sample_that_lacks_a_modality_is_predicted_without_it(name: str, present: list[str] | None) -> None:
    dataset = lacking(audio=0.4, video=0.5)
    method = toy_method(name, dataset)
    found = predict_split(method, dataset.test, torch.device("cpu"), WorkerGroup(), present)
    with evaluating(method), torch.no_grad():
        for row in range(len(dataset.test)):
            batch = dataset.test.gather(torch.tensor([row]))
            has = [m for m in present or dataset.modalities if m not in batch.present or bool(batch.present[m])]
            alone = method.predict(Batch(batch.inputs, batch.labels, batch.index), has)
            for key, logits in alone.items():
                torch.testing.assert_close(found[key][row], logits[0].float(), rtol=1e-5, atol=1e-5)


def test_a_sample_without_any_modality_that_is_asked_for_is_not_guessed() -> None:
    dataset = lacking(audio=0.5)
    method = toy_method("joint", dataset)
    found = predict_split(method, dataset.test, torch.device("cpu"), WorkerGroup(), ["audio"])["multi"]
    there = dataset.test.gather(torch.arange(len(dataset.test))).present["audio"]
    assert (found[~there] == 0).all()
    assert (found[there] != 0).any(dim=1).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(2, 6), st.booleans())
def test_scores_equal_scikit_learns(seed: int, classes: int, ties: bool) -> None:
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (40,), generator=draw)
    logits = torch.randn(40, classes, generator=draw)
    if ties:
        logits = logits.round()
    found = score({"multi": logits, "audio": -logits}, labels, classes, "test")
    for name, values in (("multi", logits), ("audio", -logits)):
        probabilities = values.softmax(-1)
        present = sorted(set(labels.tolist()))
        precision = np.mean([average_precision_score(labels == k, probabilities[:, k]) for k in present])
        predicted = probabilities.argmax(-1)
        assert found[metric_name("test", "accuracy", name)] == pytest.approx(accuracy_score(labels, predicted))
        assert found[metric_name("test", "map", name)] == pytest.approx(precision, abs=1e-5)
        assert found[metric_name("test", "macro_f1", name)] == pytest.approx(
            f1_score(labels, predicted, average="macro"), abs=1e-6
        )


def test_classes_without_samples_are_left_out_and_named() -> None:
    labels = torch.tensor([0, 0, 2, 2])
    logits = torch.eye(3)[labels] * 5
    assert score({"multi": logits}, labels, 3, "test")["test_map"] == pytest.approx(1.0)
    assert absent_classes(labels, ("a", "b", "c")) == ["b"]


def test_macro_f1_counts_a_class_that_is_predicted_though_no_label_names_it() -> None:
    labels, chosen = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 2, 1, 1])
    found = score({"multi": torch.eye(4)[chosen]}, labels, 4, "test")["test_macro_f1"]
    # Class 0: precision 1, recall 1/2; class 1: both 1; class 2: chosen wrongly; class 3 occurs nowhere.
    assert found == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert found == pytest.approx(f1_score(labels, chosen, average="macro"))


def test_column_names() -> None:
    assert metric_name("test", "map") == "test_map"
    assert metric_name("test_peak", "macro_f1", "audio") == "test_peak_macro_f1_audio"


@given(st.integers(1, 4), st.integers(0, 1000))
def test_shapley_values_share_out_the_gain(count: int, seed: int) -> None:
    names = [f"m{k}" for k in range(count)]
    draw = np.random.default_rng(seed)
    worth: dict[tuple[str, ...], float] = {}
    values = shapley_values(names, lambda subset: worth.setdefault(subset, float(draw.random())))
    assert sum(values.values()) == pytest.approx(worth[tuple(names)] - worth[()])
    additive = shapley_values(names, lambda subset: sum(1.0 + int(m[1]) for m in subset))
    assert additive == pytest.approx({m: 1.0 + int(m[1]) for m in names})
    assert len(worth) == 2**count


def test_shapley_values_of_two_modalities_by_hand() -> None:
    accuracy = {(): 0.1, ("a",): 0.7, ("b",): 0.3, ("a", "b"): 0.9}
    found = shapley_values(["a", "b"], accuracy.__getitem__)
    assert found == pytest.approx({"a": 0.5 * (0.6 + 0.6), "b": 0.5 * (0.2 + 0.2)})


def test_of_many_modalities_shapley_values_are_estimated_from_few_subsets() -> None:
    names, asked = [f"m{i}" for i in range(6)], list[tuple[str, ...]]()

    def accuracy(subset: tuple[str, ...]) -> float:
        asked.append(subset)
        return 0.1 * len(subset) ** 2 + ("m0" in subset)

    found = sampled_shapley_values(names, accuracy, orders=4)
    assert len(asked) == len(set(asked)) <= 4 * 5 + 2
    # An order and its reverse are exact for what is quadratic.
    assert found == pytest.approx(shapley_values(names, accuracy))


@pytest.mark.parametrize(("orders", "drawn"), [(12, 6), (6, 3), (5, 3), (1, 1)])
def test_orders_are_drawn_in_pairs_of_one_and_its_reverse(
    orders: int, drawn: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw, found = torch.randperm, list[list[int]]()

    def randperm(count: int, generator: torch.Generator) -> torch.Tensor:
        found.append(draw(count, generator=generator).tolist())
        return torch.tensor(found[-1])

    asked, names = set[tuple[str, ...]](), [f"m{i}" for i in range(6)]
    monkeypatch.setattr(torch, "randperm", randperm)
    sampled_shapley_values(names, lambda subset: float(asked.add(subset) or 0), orders)
    assert len(found) == drawn
    both = [order for one in found for order in (one, one[::-1])]
    assert asked == {tuple(names[k] for k in sorted(order[:size])) for order in both for size in range(7)}


def test_imbalance_of_a_method_is_the_spread_of_its_shapley_values() -> None:
    dataset = toy_dataset()
    method = toy_method("joint", dataset)
    device, workers = torch.device("cpu"), WorkerGroup()
    values = imbalance(method, dataset.test, device, workers, "test")
    spread = values["test_shapley_audio"] - values["test_shapley_video"]
    assert values["test_imbalance"] == pytest.approx(abs(spread))
    whole = predict_split(method, dataset.test, device, workers)["multi"].argmax(-1)
    accuracy = (whole == dataset.test.labels).float().mean()
    majority = dataset.test.labels.bincount().max() / len(dataset.test)
    total = values["test_shapley_audio"] + values["test_shapley_video"]
    assert total == pytest.approx(float(accuracy - majority), abs=1e-6)
    alone = predict_split(method, dataset.test, device, workers, ["video"])["multi"].argmax(-1)
    subsets = {name: value for name, value in values.items() if name.startswith("test_subset_")}
    assert subsets["test_subset_video"] == pytest.approx(float((alone == dataset.test.labels).float().mean()))
    assert subsets["test_subset_audio+video"] == pytest.approx(float(accuracy))
    assert set(subsets) == {subset_metric("test", s) for s in ((), ("audio",), ("video",), ("audio", "video"))}


def test_predicting_a_split_leaves_the_training_mode() -> None:
    dataset = toy_dataset()
    method = toy_method("joint", dataset).train()
    predicted = predict_split(method, dataset.test, torch.device("cpu"), WorkerGroup())
    assert method.training
    assert all(logits.shape == (22, 4) and not logits.requires_grad for logits in predicted.values())


@pytest.mark.parametrize(("constant", "size"), [("EVALUATION_BATCH", 5), ("EVALUATION_BYTES", 5 * 4 * (6 + 7))])
def test_a_split_is_predicted_a_part_at_a_time_with_the_same_outcome(
    monkeypatch: pytest.MonkeyPatch, constant: str, size: int
) -> None:
    dataset, sizes = toy_dataset(), list[int]()
    method = toy_method("joint", dataset)
    predict = method.predict
    monkeypatch.setattr(method, "predict", lambda batch, *given: (sizes.append(len(batch)), predict(batch, *given))[1])
    whole, parts = [], []
    for found in (whole, parts):
        found += predict_split(method, dataset.test, torch.device("cpu"), WorkerGroup()).items()
        monkeypatch.setattr(metrics, constant, size)
    assert sizes == [22, 5, 5, 5, 5, 2]
    for (name, one), (other, two) in zip(whole, parts, strict=True):
        assert name == other
        torch.testing.assert_close(one, two)
