"""Scoring passes over samples: what is computed of all of them at once."""

from __future__ import annotations

import pytest
import torch
from support.hand_driven_context import hand_driven_context
from support.toy_dataset import toy_dataset, toy_method
from torch import nn
from torch.nn import functional as F

from methods.base import features_of, mean_loss
from sweep.training.recipe import Recipe


def test_features_and_losses_are_those_of_all_samples_in_evaluation_mode() -> None:
    dataset = toy_dataset()
    method = toy_method("joint", dataset)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16))
    head = nn.Sequential(nn.Dropout(0.9), nn.Linear(8, 4))
    samples = torch.arange(40)
    batch = dataset.train.gather(samples)
    expected = method.encode(batch)

    features, labels = features_of(method, method.encode, context.train_batches(index=samples), context)
    assert torch.equal(labels, batch.labels)
    for found, wanted in zip(features, expected, strict=True):
        torch.testing.assert_close(found, wanted)
    loss = mean_loss(head, lambda part: head(method.encode(part)[0]), context.train_batches(index=samples), context)
    assert head.training
    wanted_loss = F.cross_entropy(head.eval()(expected[0]), batch.labels)
    assert float(loss) == pytest.approx(float(wanted_loss.detach()))
    assert not loss.requires_grad


def test_features_are_those_of_evaluation_mode_in_the_precision_of_the_recipe() -> None:
    dataset = toy_dataset()
    method = toy_method("joint", dataset)
    dropout, linear, samples = nn.Dropout(0.9), nn.Linear(6, 8), torch.arange(40)
    batch = dataset.train.gather(samples)
    context = hand_driven_context(method, dataset, Recipe(batch_size=16, precision="bf16"))
    found, _ = features_of(
        dropout, lambda part: [dropout(linear(part.inputs["audio"]))], context.train_batches(index=samples), context
    )
    assert dropout.training
    assert found[0].dtype == torch.float32
    half = linear(batch.inputs["audio"].bfloat16().float()).detach()
    torch.testing.assert_close(found[0], half, atol=0.05, rtol=0.02)
    assert torch.equal(found[0], found[0].bfloat16().float())
    assert not torch.equal(half, half.bfloat16().float())
    losses = [
        mean_loss(linear, lambda part: linear(part.inputs["audio"]), whole.train_batches(index=samples), whole)
        for whole in (context, hand_driven_context(method, dataset, Recipe(batch_size=16)))
    ]
    exact = F.cross_entropy(linear(batch.inputs["audio"]), batch.labels)
    assert float(losses[1]) == pytest.approx(exact.item(), rel=1e-6)
    assert float(losses[0]) == pytest.approx(exact.item(), rel=0.02)
    assert losses[0] != losses[1]
    assert losses[0].dtype == torch.float64
