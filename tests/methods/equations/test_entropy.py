"""MLA's entropy fusion, against values by hand."""

import math

import torch

from methods.equations.entropy import fuse_logits, fusion_weights, prediction_entropy


def test_entropy_of_known_distributions():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3), 0.0, -1e4, -1e4]])
    expected = [math.log(4), -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))]
    torch.testing.assert_close(prediction_entropy(logits), torch.tensor(expected))


def test_saturated_rows_have_no_entropy():
    logits = torch.tensor([[1e4, -1e4, 0.0], [0.0, -math.inf, -math.inf]])
    assert prediction_entropy(logits).tolist() == [0.0, 0.0]


def test_weights_are_a_softmax_of_minus_the_entropies():
    sure, unsure = torch.tensor([[math.log(3), 0.0]]), torch.zeros(1, 2)
    gap = math.log(2) + 0.75 * math.log(0.75) + 0.25 * math.log(0.25)
    expected = torch.tensor([[1 / (1 + math.exp(-gap))], [1 / (1 + math.exp(gap))]])
    torch.testing.assert_close(fusion_weights([sure, unsure]), expected)


def test_equal_logits_weigh_equally_and_uniform_ones_least():
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.1, 0.0]])
    torch.testing.assert_close(fusion_weights([logits] * 3), torch.full((3, 2), 1 / 3))
    weights = fusion_weights([logits, torch.zeros(2, 3)])
    assert (weights[1] < weights[0]).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(2))


def test_a_sample_does_not_depend_on_its_batch():
    logits = [torch.randn(6, 4, generator=torch.Generator().manual_seed(k)) for k in range(2)]
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    shuffled = [each[order] for each in logits]
    fused, again = (fuse_logits(each, fusion_weights(each)) for each in (logits, shuffled))
    torch.testing.assert_close(again, fused[order])


def test_fused_logits_are_the_weighted_sum():
    logits = [torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[10.0, 20.0], [30.0, 40.0]])]
    weights = torch.tensor([[0.5, 1.0], [0.25, 0.0]])
    assert fuse_logits(logits, weights).tolist() == [[3.0, 6.0], [3.0, 4.0]]
