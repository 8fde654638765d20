"""Evidential fusion: opinions against values by hand, the pair rule in the words of Dempster, then ETMC."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.fusion_samples import biased, random_features
from torch import Tensor
from torch.distributions import Dirichlet, kl_divergence
from torch.nn import functional as F

from models.fusion import (
    annealing_weight,
    dempster_shafer,
    dirichlet_evidence,
    dirichlet_kl,
    etmc_loss,
    evidential_cross_entropy,
)

close = torch.testing.assert_close
opinions = st.lists(st.lists(st.floats(0, 50), min_size=3, max_size=3), min_size=1, max_size=4)


def _alphas(evidence: list[list[float]]) -> list[Tensor]:
    return [torch.tensor([row], dtype=torch.float64) + 1 for row in evidence]


def _pair(first: list[float], second: list[float]) -> list[float]:
    """The rule as it is written: beliefs, uncertainties and conflict of two opinions, back to alpha."""
    count = len(first)
    b1, b2 = ([(a - 1) / sum(alpha) for a in alpha] for alpha in (first, second))
    u1, u2 = count / sum(first), count / sum(second)
    conflict = sum(b1[i] * b2[j] for i in range(count) for j in range(count) if i != j)
    beliefs = [(x * y + x * u2 + y * u1) / (1 - conflict) for x, y in zip(b1, b2, strict=True)]
    return [b * count / (u1 * u2 / (1 - conflict)) + 1 for b in beliefs]


# Opinions ------------------------------------------------------------------------------------------------------


def test_evidence_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(math.e - 1), -200.0]])
    opinion = dirichlet_evidence(logits)
    evidence = [math.log(2), 1.0, 0.0]
    strength = 3 + sum(evidence)
    close(opinion["evidence"], torch.tensor([evidence]))
    close(opinion["alpha"], torch.tensor([[e + 1 for e in evidence]]))
    close(opinion["belief"], torch.tensor([[e / strength for e in evidence]]))
    close(opinion["strength"], torch.tensor([[strength]]))
    close(opinion["uncertainty"], torch.tensor([[3 / strength]]))
    assert set(opinion) == {"evidence", "alpha", "belief", "strength", "uncertainty"}


def test_other_activations() -> None:
    logits = torch.tensor([[-3.0, 0.0, 2.0, 50.0, -50.0]])
    close(dirichlet_evidence(logits, "relu")["evidence"], torch.tensor([[0.0, 0.0, 2.0, 50.0, 0.0]]))
    clamped = torch.tensor([[math.exp(v) for v in (-3, 0, 2, 10, -10)]])
    close(dirichlet_evidence(logits, "exp")["evidence"], clamped)
    with pytest.raises(ValueError, match="no evidence called 'sofplus', nearest is 'softplus'"):
        dirichlet_evidence(logits, "sofplus")


def test_no_evidence_is_all_uncertainty() -> None:
    opinion = dirichlet_evidence(torch.full((2, 4), -1.0), "relu")
    assert torch.equal(opinion["uncertainty"], torch.ones(2, 1))
    assert not opinion["belief"].any()


# Dempster's rule -----------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(opinions)
def test_combination_by_the_rule_as_it_is_written(evidence: list[list[float]]) -> None:
    alphas = _alphas(evidence)
    expected = alphas[0][0].tolist()
    for alpha in alphas[1:]:
        expected = _pair(expected, alpha[0].tolist())
    assert dempster_shafer(alphas)[0].tolist() == pytest.approx(expected, rel=1e-6)


@settings(deadline=None)
@given(opinions)
def test_combination_is_surer_than_each_and_has_no_order(evidence: list[list[float]]) -> None:
    alphas = _alphas(evidence)
    combined = dempster_shafer(alphas)
    close(dempster_shafer(alphas[::-1]), combined)
    uncertainty = 3 / combined.sum()
    assert all(uncertainty <= 3 / alpha.sum() + 1e-12 for alpha in alphas)
    close((combined - 1).sum() / combined.sum() + uncertainty, torch.ones((), dtype=torch.float64))
    if len(alphas) > 2:
        close(dempster_shafer([alphas[0], dempster_shafer(alphas[1:])]), combined)


def test_one_opinion_and_the_neutral_one() -> None:
    alpha = torch.tensor([[1.5, 1.0, 4.0]])
    assert torch.equal(dempster_shafer([alpha]), alpha)
    assert torch.equal(dempster_shafer([alpha, torch.ones(1, 3)]), alpha)
    close(dempster_shafer([torch.ones(1, 3), alpha]), alpha)
    with pytest.raises(ValueError, match="no opinion"):
        dempster_shafer([])


def test_near_total_conflict_stays_finite() -> None:
    alphas = [torch.tensor([[1e12, 1.0]]), torch.tensor([[1.0, 1e12]])]
    combined = dempster_shafer(alphas)
    close(combined, torch.tensor([[1e12, 1e12]]))


# Losses --------------------------------------------------------------------------------------------------------


def test_divergence_from_the_flat_distribution() -> None:
    alpha = torch.tensor([[1.0, 2.0, 5.5], [0.3, 40.0, 1.0], [1.0, 1.0, 1.0]], dtype=torch.float64)
    flat = Dirichlet(torch.ones(3, 3, dtype=torch.float64))
    close(dirichlet_kl(alpha), kl_divergence(Dirichlet(alpha), flat))
    assert dirichlet_kl(torch.ones(2, 7)).tolist() == [0, 0]
    # ln 2 + ln 1 - 0.5 by hand for Dir(2, 1): density 2x
    assert dirichlet_kl(torch.tensor([[2.0, 1.0]])).item() == pytest.approx(math.log(2) - 0.5)


def test_divergence_of_large_single_precision_evidence() -> None:
    alpha = torch.tensor([[1e6, 1.0, 3e5]])
    expected = kl_divergence(Dirichlet(alpha.double()), Dirichlet(torch.ones(1, 3, dtype=torch.float64)))
    assert dirichlet_kl(alpha).dtype == torch.float32
    close(dirichlet_kl(alpha).double(), expected, rtol=1e-6, atol=0)


def test_loss_of_one_opinion_by_hand() -> None:
    alpha = torch.tensor([[2.0, 1.0], [1.0, 3.0]], dtype=torch.float64)
    # digamma(n + 1) - digamma(n) = 1 / n
    expected = torch.tensor([1 / 2, 1 / 3 + 1 / 2 + 1], dtype=torch.float64)
    target = torch.tensor([0, 0])
    close(evidential_cross_entropy(alpha, target, 0.0), expected)
    # The first says nothing beside its label; the second becomes Dir(1, 3): density 3x².
    divergence = torch.tensor([0.0, math.log(3) - 2 / 3], dtype=torch.float64)
    close(evidential_cross_entropy(alpha, target, 0.7), expected + 0.7 * divergence)


def test_loss_is_the_expected_cross_entropy() -> None:
    alpha = torch.tensor([[3.0, 1.5, 2.0]], dtype=torch.float64)
    torch.manual_seed(0)
    draws = Dirichlet(alpha[0]).sample((200_000,))
    found = evidential_cross_entropy(alpha, torch.tensor([1]), 0.0).item()
    assert found == pytest.approx(-draws[:, 1].log().mean().item(), rel=0.02)


def test_annealing() -> None:
    assert [annealing_weight(epoch, 4) for epoch in (0, 1, 4, 9)] == [0.0, 0.25, 1.0, 1.0]
    assert annealing_weight(0, 0) == annealing_weight(0, -1) == 1.0


def test_fused_loss_counts_every_opinion_and_their_combination() -> None:
    alphas, target = [F.softplus(x) + 1 for x in random_features(3, 3, 3)], torch.tensor([0, 1, 2, 0, 1])
    every = [*alphas, dempster_shafer(alphas)]
    expected = sum(evidential_cross_entropy(alpha, target, 0.3).mean() for alpha in every)
    close(etmc_loss(alphas, target, 0.3), expected)


# The fusion ----------------------------------------------------------------------------------------------------


def test_etmc_by_its_opinions() -> None:
    module, features = biased("etmc", [3, 5]), random_features(3, 5)
    heads = [head(x) for head, x in zip(module.heads, features, strict=True)]
    alphas = [F.softplus(logits) + 1 for logits in (*heads, module.pseudo_head(torch.cat(features, 1)))]
    output, alpha = module(features), dempster_shafer(alphas)
    close(output.extra["alphas"], alphas)
    close(output.extra["alpha"], alpha)
    close(output.extra["uncertainty"], 4 / alpha.sum(1, keepdim=True))
    close(output.logits, (alpha / alpha.sum(1, keepdim=True)).log())
    close(output.logits.softmax(1), alpha / alpha.sum(1, keepdim=True))
    close(module.unimodal_logits(features), heads)
    assert (output.extra["uncertainty"] <= 4 / torch.stack(alphas).sum(-1).amax(0)[:, None] + 1e-12).all()


def test_etmc_loss_is_annealed_while_training() -> None:
    module, target = biased("etmc", [3, 5], annealing_epochs=4), torch.tensor([0, 1, 2, 3, 0])
    output = module(random_features(3, 5))
    alphas = output.extra["alphas"]
    for epoch, weight in ((0, 0.0), (1, 0.25), (7, 1.0)):
        close(module.loss(output, target, epoch), etmc_loss(alphas, target, weight))
    close(module.eval().loss(output, target, 0), etmc_loss(alphas, target, 1.0))


@pytest.mark.parametrize("evidence", ["softplus", "exp"])
def test_half_precision_heads_give_single_precision_opinions(evidence: str) -> None:
    module = biased("etmc", [3, 5], evidence=evidence).to(torch.bfloat16)
    features = [x.bfloat16().requires_grad_() for x in random_features(3, 5)]
    output = module(features)
    loss = module.loss(output, torch.tensor([0, 1, 2, 3, 0]), 20)
    assert output.logits.dtype == loss.dtype == torch.float32
    loss.backward()
    assert all(x.grad.isfinite().all() for x in features)
