"""BSS: its equations against values by hand, and its sampling against the scores."""

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load, save
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.base import MULTI, Method, MethodError
from methods.bss import (
    BSS,
    BSSHyperparameters,
    balance_score,
    curriculum_indices,
    gradient_magnitude,
    pace,
    prediction_similarity,
    sample_loss,
    sampling_probabilities,
    successive_draws,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("three", modalities=3),
    Variant("heuristic", {"scheduler": "heuristic", "t_grow": 3}),
    Variant("random", {"order": "random", "scheduler": "heuristic", "t_grow": 3}, modalities=3),
    Variant(
        "anti-features",
        {"order": "anti", "correlation": "featsim", "information": "none", "replacement": True},
        modalities=3,
    ),
    Variant("gradient-norms", {"information": "gradmag", "prob": "linear", "predict_heads": "uni", "rescore_every": 2}),
    Variant("warmed-up", {"score_mode": "train", "warmup_epochs": 1}),
]

PACES = ["sqrt", "linear", "root", "geometric", "exponential", "step"]

# Equations -----------------------------------------------------------------------------------------------------


def test_similarity_is_the_cosine_of_probabilities():
    one, other = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]]), torch.tensor([[0.0, math.log(3)], [5.0, 5.0]])
    expected = torch.tensor([0.6, 1.0])  # (3, 1) . (1, 3) / 10
    torch.testing.assert_close(prediction_similarity([one, other]), expected)


def test_similarity_is_the_mean_over_all_pairs():
    rows = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0]]), torch.tensor([[3.0, 3.0]])]
    assert prediction_similarity(rows, "logits").item() == pytest.approx((0 + 2 * math.sqrt(0.5)) / 3)
    assert prediction_similarity([torch.zeros(1, 2), rows[0]], "logits").item() == 0.0


def test_sample_loss_weighs_the_heads():
    multi, uni = torch.tensor([[0.0, 0.0]]), [torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.0, math.log(3)]])]
    own = -math.log(0.75) - math.log(0.25)
    target = torch.tensor([0])
    assert sample_loss(multi, uni, target).tolist() == [pytest.approx(math.log(2) + own)]
    assert sample_loss(multi, uni, target, 0.2).item() == pytest.approx(0.2 * math.log(2) + own)
    assert sample_loss(multi, uni, target, 0.2, "convex").item() == pytest.approx(0.2 * math.log(2) + 0.8 * own)


def test_balance_score_is_the_difference_of_ranges():
    similarity, loss = torch.tensor([0.2, 0.4, 0.6]), torch.tensor([3.0, 1.0, 2.0])
    torch.testing.assert_close(balance_score(similarity, loss), torch.tensor([-1.0, 0.5, 0.5]))
    torch.testing.assert_close(balance_score(similarity, loss, use_loss=False), torch.tensor([0.0, 0.5, 1.0]))
    torch.testing.assert_close(balance_score(similarity, loss, use_similarity=False), torch.tensor([-1.0, 0.0, -0.5]))
    assert balance_score(similarity, loss, False, False).tolist() == [0.0] * 3
    assert balance_score(torch.ones(3), torch.full((3,), 2.0)).tolist() == [0.0] * 3


def test_balance_score_remembers():
    similarity, loss, previous = torch.tensor([0.0, 1.0]), torch.tensor([1.0, 0.0]), torch.tensor([0.5, -0.5])
    torch.testing.assert_close(balance_score(similarity, loss, previous=previous, beta=0.6), torch.tensor([-0.4, 0.4]))
    assert balance_score(similarity, loss, previous=previous, beta=0.0).tolist() == [0.5, -0.5]
    assert balance_score(similarity, loss, previous=previous, beta=1.0).tolist() == [-1.0, 1.0]
    assert balance_score(similarity, loss, False, False, previous, 0.5).tolist() == [0.25, -0.25]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_balance_score_refuses_what_is_not_finite(place, value):
    columns = [torch.zeros(2), torch.zeros(2), torch.zeros(2)]
    columns[place][1] = value
    with pytest.raises(ValueError, match="not finite"):
        balance_score(columns[0], columns[1], False, False, columns[2], 0.0)


_scores = st.lists(st.floats(-1e3, 1e3, width=32), min_size=2, max_size=9).map(torch.tensor)


@settings(max_examples=50, deadline=None)
@given(_scores, st.booleans(), st.booleans(), st.randoms(use_true_random=False))
def test_balance_score_lies_between_minus_one_and_one_and_knows_no_order(similarity, use_similarity, use_loss, random):
    loss = similarity.square() / 7
    score = balance_score(similarity, loss, use_similarity, use_loss)
    assert score.abs().max() <= 1
    order = torch.tensor(random.sample(range(len(score)), len(score)))
    torch.testing.assert_close(balance_score(similarity[order], loss[order], use_similarity, use_loss), score[order])
    if use_similarity and not use_loss:
        assert (score[similarity.argsort()].diff() >= 0).all()


@settings(max_examples=50, deadline=None)
@given(_scores, st.floats(0, 1))
def test_memory_lies_between_the_old_score_and_the_new(previous, beta):
    similarity = torch.arange(len(previous), dtype=torch.float32)
    fresh = balance_score(similarity, torch.zeros(len(previous)))
    mixed = balance_score(similarity, torch.zeros(len(previous)), previous=previous, beta=beta)
    slack = 1e-4 * (1 + previous.abs())
    assert (mixed <= torch.maximum(previous, fresh) + slack).all()
    assert (mixed >= torch.minimum(previous, fresh) - slack).all()


@settings(max_examples=50, deadline=None)
@given(_scores, st.sampled_from(["softmax", "linear"]))
def test_probabilities_sum_to_one_and_never_fall_with_the_score(scores, kind):
    probabilities = sampling_probabilities(scores, kind)
    assert probabilities.min() >= 0
    assert probabilities.sum().item() == pytest.approx(1, abs=1e-5)
    assert (probabilities[scores.argsort()].diff() >= -1e-7).all()


@settings(max_examples=50, deadline=None)
@given(_scores, st.floats(0, 1.5), st.sampled_from(["curriculum", "anti"]))
def test_a_larger_part_of_the_ranking_holds_the_smaller(scores, proportion, order):
    shown = curriculum_indices(scores, proportion, order)
    assert len(shown) == max(1, min(len(scores), math.floor(len(scores) * proportion + 1e-9)))
    assert curriculum_indices(scores, 1.0, order)[: len(shown)].tolist() == shown.tolist()
    steps = scores[shown].diff()
    assert (steps <= 0).all() if order == "curriculum" else (steps >= 0).all()


def test_gradient_magnitude_is_the_sum_of_the_tensors_norms():
    weight, bias, idle = (nn.Parameter(torch.tensor(v)) for v in ([3.0, 4.0], [1.0], [7.0]))
    loss = (weight.square() / 2).sum() + 2 * bias.sum()
    assert gradient_magnitude(loss, [weight, bias, idle]).item() == pytest.approx(5 + 2)
    assert all(parameter.grad is None for parameter in (weight, bias, idle))


def test_paces_of_known_value():
    assert pace(10, 0.1, 40) == pytest.approx(math.sqrt(0.99 * 0.25 + 0.01))
    assert pace(10, 0.2, 40, "linear") == pytest.approx(0.4)
    assert pace(10, 0.2, 40, "root", power=3.0) == pytest.approx((0.992 * 0.25 + 0.008) ** (1 / 3))
    assert pace(20, 0.25, 40, "geometric") == pytest.approx(0.5)
    assert pace(20, 0.2, 40, "exponential", rate=2.0) == pytest.approx(0.2 + 0.8 / (math.e + 1))
    assert [pace(t, 0.5, 10, "step") for t in (1, 2, 3, 9)] == [0.5, pytest.approx(0.6), pytest.approx(0.6), 0.9]
    assert pace(3, 0.5, 5, "step", steps=5) == pytest.approx(0.8)  # 5 * (3 / 5) rounds down without the guard


@given(st.sampled_from(PACES), st.floats(0.01, 1.0), st.integers(-2, 30))
def test_pace_never_falls_and_is_one_from_the_end_of_growth_on(kind, lambda0, t_grow):
    shares = [pace(t, lambda0, t_grow, kind) for t in range(1, 40)]
    assert all(after >= before - 1e-12 for before, after in pairwise(shares))
    assert all(0 < share <= 1 for share in shares)
    assert all(share == 1.0 for share in shares[max(0, t_grow - 1) :])


def test_curriculum_takes_the_highest_scores_and_anti_the_lowest():
    scores = torch.tensor([0.1, 0.9, 0.5, 0.9, 0.1])
    assert curriculum_indices(scores, 0.6).tolist() == [1, 3, 2]
    assert curriculum_indices(scores, 0.6, "anti").tolist() == [0, 4, 2]
    assert curriculum_indices(scores, 0.0).tolist() == [1]
    assert curriculum_indices(scores, 7.0).tolist() == [1, 3, 2, 0, 4]
    assert len(curriculum_indices(torch.zeros(100), 0.29)) == 29  # 100 * 0.29 is 28.999...


@given(st.permutations(range(10)))
def test_curriculum_and_anti_are_reversals_of_distinct_scores(order):
    scores = torch.tensor(order, dtype=torch.float32)
    assert curriculum_indices(scores, 1.0).tolist() == curriculum_indices(scores, 1.0, "anti").tolist()[::-1]
    halves = [set(curriculum_indices(scores, 0.5, kind).tolist()) for kind in ("curriculum", "anti")]
    assert halves[0].isdisjoint(halves[1])


def test_probabilities_rise_with_the_score():
    scores = torch.tensor([0.0, math.log(3)])
    torch.testing.assert_close(sampling_probabilities(scores), torch.tensor([0.25, 0.75]))
    linear = sampling_probabilities(torch.tensor([-1.0, 1.0, -1.5]), "linear", floor=0.5)
    torch.testing.assert_close(linear, torch.tensor([0.5, 2.5, 0.0]) / 3)
    assert sampling_probabilities(torch.full((4,), -2.0), "linear").tolist() == [0.25] * 4
    assert sampling_probabilities(torch.zeros(4)).tolist() == [0.25] * 4


def test_successive_draws_follow_the_probabilities():
    probabilities, random = torch.tensor([0.1, 0.0, 0.6, 0.3]), torch.Generator().manual_seed(0)
    draws = torch.stack([successive_draws(probabilities, random) for _ in range(2000)])
    assert (draws.sort(1).values == torch.arange(4)).all()
    assert (draws[:, 3] == 1).all()
    first = torch.bincount(draws[:, 0], minlength=4) / 2000
    torch.testing.assert_close(first, probabilities, atol=0.04, rtol=0)
    after_two = draws[draws[:, 0] == 2][:, 1]
    assert (after_two == 3).float().mean().item() == pytest.approx(0.75, abs=0.05)


def test_unknown_options_are_refused():
    zeros, target = torch.zeros(2, 3), torch.zeros(2, dtype=torch.int64)
    calls = [
        lambda: prediction_similarity([zeros, zeros], "cosine"),
        lambda: sample_loss(zeros, [zeros], target, weighting="equal"),
        lambda: pace(50, kind="cubic"),
        lambda: curriculum_indices(torch.zeros(3), 0.5, "random"),
        lambda: sampling_probabilities(torch.zeros(3), "uniform"),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="there are: "):
            call()
    with pytest.raises(ValueError, match="two modalities"):
        prediction_similarity([zeros])
    for lambda0 in (0.0, -0.1, 1.1):
        with pytest.raises(ValueError, match="lambda0"):
            pace(50, lambda0)


# Method --------------------------------------------------------------------------------------------------------


class _Encoder(nn.Sequential):
    """With batch norm and dropout, so that a scoring pass in training mode would show."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(5, width), nn.BatchNorm1d(width), nn.Dropout(0.5))
        self.out_dim = width


def _dataset(n: int = 20) -> Dataset:
    random = torch.Generator().manual_seed(7)
    split = Split({m: torch.randn(n, 5, generator=random) for m in ("audio", "video")}, torch.arange(n) % 3)
    return Dataset("toy", ("audio", "video"), ("a", "b", "c"), split, split, split)


def _method(epochs: int = 9, widths: tuple[int, int] = (4, 4), **hyperparameters) -> BSS:
    torch.manual_seed(3)
    encoders = {"audio": _Encoder(widths[0]), "video": _Encoder(widths[1])}
    return BSS(encoders, 3, BSSHyperparameters(**hyperparameters), epochs)


def _context(method: Method, dataset: Dataset, warn=print, batch_size: int = 4) -> TrainingContext:
    return hand_driven_context(method, dataset, Recipe(lr=0.05, batch_size=batch_size), warn=warn)


def _latest(method: BSS) -> dict[str, Tensor]:
    """The latest scoring pass, one column [n] each."""
    return {name: column[-1] for name, column in method.score_table().items()}


def _epoch(method: Method, context: TrainingContext, epoch: int, train: bool = True) -> Tensor:
    """Positions that the epoch shows."""
    context.epoch = epoch
    torch.manual_seed(epoch)
    method.train()
    method.on_epoch_start(context)
    order = method.sampler(context)
    for batch in context.training_batches(order, method.drop_last) if train else ():
        method.training_step(batch, context)
    return order


def test_scores_every_sample_and_leaves_the_network_alone():
    dataset = _dataset(18)  # the last batch of four is short
    method = _method(alpha=0.5)
    context = _context(method, dataset)
    method.encoders["audio"][1].eval()  # a frozen batch norm stays frozen
    modes = [module.training for module in method.modules()]
    before = {name: value.clone() for name, value in method.state_dict().items()}
    context.epoch = 1
    method.on_epoch_start(context)
    assert [module.training for module in method.modules()] == modes
    after = method.state_dict()
    assert [name for name, value in before.items() if not torch.equal(after[name], value)] == ["_extra_state"]

    table = _latest(method)
    assert table["index"].tolist() == list(range(18))
    assert torch.equal(table["label"], dataset.train.labels)
    assert table["evaluation"].tolist() == [1] * 18
    method.eval()
    features = method.encode(dataset.train.gather(torch.arange(18)))
    own = method.fusion.unimodal_logits(features, "aux")
    probabilities = [logits.softmax(-1) for logits in own]
    torch.testing.assert_close(table["similarity"], F.cosine_similarity(*probabilities))
    logits = [(0.5, method.fusion(features).logits), (1, own[0]), (1, own[1])]
    loss = sum(w * F.cross_entropy(z, dataset.train.labels, reduction="none") for w, z in logits)
    torch.testing.assert_close(table["loss"], loss)
    ranged = [(v - v.min()) / (v.max() - v.min()) for v in (table["similarity"], loss.detach())]
    torch.testing.assert_close(table["score"], ranged[0] - ranged[1])


@pytest.mark.parametrize("beta", [0.0, 0.6, 1.0])
def test_the_score_remembers_earlier_passes(beta):
    method = _method(beta=beta)
    context = _context(method, _dataset())
    remembered = None
    for epoch in range(1, 4):
        _epoch(method, context, epoch)
        fresh = _latest(method)["score"]
        remembered = fresh if remembered is None else (1 - beta) * remembered + beta * fresh
        torch.testing.assert_close(_latest(method)["remembered"], remembered)


def test_the_table_keeps_every_pass_and_diagnostics_follow_three_samples():
    method = _method(rescore_every=2)
    context = _context(method, _dataset())
    assert {name: column.shape for name, column in method.score_table().items()} == dict.fromkeys(
        ("evaluation", "index", "label", "similarity", "loss", "score", "remembered"), (0, 0)
    )
    rows, followed = [], []
    for epoch in range(1, 6):
        _epoch(method, context, epoch)
        found = method.diagnostics()
        followed.append([found[f"score_{rank}"] for rank in ("highest", "middle", "lowest")])
        if epoch % 2:
            rows.append(_latest(method))
            assert found["mean_loss"] == pytest.approx(rows[-1]["loss"].mean().item())
            assert found["mean_similarity"] == pytest.approx(rows[-1]["similarity"].mean().item())
    table = method.score_table()
    assert table["evaluation"].tolist() == [[1] * 20, [2] * 20, [3] * 20]
    assert table["index"].tolist() == [list(range(20))] * 3
    for name, column in table.items():
        assert torch.equal(column, torch.stack([row[name] for row in rows]))
    ranking = table["score"][0].argsort(descending=True, stable=True)
    expected = table["score"][:, ranking[[0, 10, 19]]].tolist()
    assert followed == [expected[0], expected[0], expected[1], expected[1], expected[2]]


@pytest.mark.parametrize(
    ("options", "scored"),
    [
        ({}, [1, 2, 3, 4, 5, 6]),
        ({"rescore_every": 2}, [1, 3, 5]),
        ({"rescore_every": 0}, [1]),
        ({"warmup_epochs": 2, "rescore_every": 3}, [3, 6]),
        ({"scheduler": "heuristic"}, [1]),
        ({"scheduler": "heuristic", "rescore_every": 2, "warmup_epochs": 1}, [2, 4, 6]),
        ({"scheduler": "heuristic", "warmup_epochs": 1 / 3}, [3]),
        ({"order": "random"}, []),
        ({"order": "shuffle"}, []),
        ({"correlation": "none", "information": "none"}, []),
    ],
)
def test_when_the_scores_are_made(options, scored):
    method = _method(epochs=6, **options)
    context, found = _context(method, _dataset()), []
    for epoch in range(1, 7):
        before = len(method.score_table()["score"])
        _epoch(method, context, epoch, train=False)
        found += [epoch] * (len(method.score_table()["score"]) - before)
    assert found == scored


def test_a_heuristic_rescoring_has_no_memory():
    method = _method(scheduler="heuristic", rescore_every=1, beta=0.1)
    context = _context(method, _dataset())
    for epoch in (1, 2):
        _epoch(method, context, epoch)
        assert torch.equal(_latest(method)["remembered"], _latest(method)["score"])


@pytest.mark.parametrize("order", ["curriculum", "anti"])
def test_heuristic_shows_a_growing_part_of_the_ranking(order):
    method = _method(epochs=30, scheduler="heuristic", lambda0=0.1, pace="linear", order=order)
    context = _context(method, _dataset())
    sizes = []
    for epoch in range(1, 12):
        shown = _epoch(method, context, epoch, train=epoch == 1)
        sizes.append(len(shown))
        ranking = _latest(method)["score"].argsort(descending=order == "curriculum", stable=True)
        assert set(shown.tolist()) == set(ranking[: len(shown)].tolist())
        assert method.diagnostics()["proportion"] == len(shown) / 20
    # t_grow is a third of 30 epochs; n λ(t) = 2 + 1.8 t, but a batch of four at least
    assert sizes == [4, 5, 7, 9, 11, 12, 14, 16, 18, 20, 20]


def test_heuristic_from_the_whole_set_is_shuffled_joint_training():
    method = _method(scheduler="heuristic", lambda0=1.0)
    context = _context(method, _dataset())
    for epoch in (1, 2):
        order = _epoch(method, context, epoch, train=False)
        assert torch.equal(order, Method.sampler(method, context))


def test_warm_up_and_shuffle_are_vanilla():
    for options in ({"warmup_epochs": 1}, {"scheduler": "heuristic", "order": "shuffle"}):
        method = _method(**options)
        context = _context(method, _dataset())
        assert torch.equal(_epoch(method, context, 1, train=False), Method.sampler(method, context))


def test_random_order_keeps_its_subset():
    method = _method(epochs=30, scheduler="heuristic", order="random", lambda0=0.3)
    context = _context(method, _dataset())
    shown = [set(_epoch(method, context, epoch, train=False).tolist()) for epoch in range(1, 11)]
    assert all(before <= after for before, after in pairwise(shown))
    assert 4 < len(shown[0]) < len(shown[-1]) == 20


def test_learning_shows_every_sample_once_and_balanced_ones_earlier():
    places = {}
    for order in ("curriculum", "anti"):
        method = _method(order=order, rescore_every=0)
        context = _context(method, _dataset(200))
        total = torch.zeros(200)
        for epoch in range(1, 30):
            shown = _epoch(method, context, epoch, train=False)
            assert shown.sort().values.tolist() == list(range(200))
            total += shown.argsort()
        scores = _latest(method)["remembered"]
        places[order] = torch.corrcoef(torch.stack([total, scores]))[0, 1].item()
    assert places["curriculum"] < -0.5
    assert places["anti"] > 0.5


@pytest.mark.parametrize("options", [{"correlation": "none", "information": "none"}, {"order": "shuffle"}])
def test_learning_without_criteria_draws_uniformly(options):
    method = _method(**options)
    context = _context(method, _dataset())
    orders = [_epoch(method, context, epoch, train=False) for epoch in (1, 2)]
    assert method.diagnostics()["sampling_entropy"] == pytest.approx(math.log(20))
    assert not torch.equal(*orders)
    assert orders[1].sort().values.tolist() == list(range(20))


@pytest.mark.parametrize("prob", ["softmax", "linear"])
def test_replacement_draws_in_proportion_to_the_probabilities(prob):
    method = _method(replacement=True, prob=prob, rescore_every=0)
    context = _context(method, _dataset(10))
    drawn = torch.cat([_epoch(method, context, epoch, train=False) for epoch in range(1, 201)])
    expected = sampling_probabilities(_latest(method)["remembered"], prob)
    torch.testing.assert_close(torch.bincount(drawn, minlength=10) / 2000, expected, atol=0.04, rtol=0)
    entropy = -(expected * expected.clamp_min(1e-30).log()).sum().item()
    assert method.diagnostics()["sampling_entropy"] == pytest.approx(entropy, rel=1e-4)


@pytest.mark.parametrize("options", [{}, {"scheduler": "heuristic", "lambda0": 0.3}])
def test_a_loaded_state_goes_on_alike(options):
    dataset, method = _dataset(), _method(**options)
    context = _context(method, dataset)
    _epoch(method, context, 1)
    fresh = _method(**options)
    fresh.load_state_dict(method.state_dict())
    orders = []
    for each in (method, fresh):
        context = _context(each, dataset)
        orders.append(torch.cat([_epoch(each, context, epoch) for epoch in (2, 3)]))
    assert torch.equal(*orders)
    states = method.state_dict(), fresh.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items() if torch.is_tensor(value))
    assert torch.equal(method.score_table()["remembered"], fresh.score_table()["remembered"])


def test_prediction_sums_the_heads():
    method, batch = _method(), _dataset().train.gather(torch.arange(20))
    method.eval()
    logits = method.predict(batch)
    features = method.encode(batch)
    own = method.fusion.unimodal_logits(features, "aux")
    torch.testing.assert_close(logits["audio"], own[0])
    torch.testing.assert_close(logits[MULTI], method.fusion(features).logits + own[0] + own[1])
    alone = BSS(method.encoders, 3, BSSHyperparameters(predict_heads="uni"), 9)
    alone.load_state_dict(method.state_dict())
    torch.testing.assert_close(alone.eval().predict(batch)[MULTI], own[0] + own[1])


def test_the_loss_is_the_mean_of_the_scored_loss():
    method = _method(alpha=0.1, weighting="convex").eval()
    dataset = _dataset()
    context, batch = _context(method, dataset), dataset.train.gather(torch.arange(20))
    outputs = method(batch)
    uni = sum(F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits)
    expected = 0.1 * F.cross_entropy(outputs.logits, batch.labels) + 0.9 * uni
    torch.testing.assert_close(method.loss(outputs, batch, context), expected)


def test_features_can_stand_for_predictions():
    method = _method(correlation="featsim")
    dataset = _dataset()
    _epoch(method, _context(method, dataset), 1, train=False)
    features = method.eval().encode(dataset.train.gather(torch.arange(20)))
    torch.testing.assert_close(_latest(method)["similarity"], F.cosine_similarity(*features))
    with pytest.raises(MethodError, match="audio 4, video 6"):
        _method(correlation="featsim", widths=(4, 6))


@pytest.mark.parametrize("information", ["loss", "gradmag"])
def test_a_pass_keeps_what_gradients_need_where_it_takes_them_and_does_without_cudnn_there(information):
    method, dataset = _method(information=information), _dataset()
    seen = set()
    method.encoders["audio"].register_forward_hook(
        lambda *_: seen.add((torch.is_grad_enabled(), torch.backends.cudnn.enabled))
    )
    _epoch(method, _context(method, dataset), 1, train=False)
    assert seen == {(True, False) if information == "gradmag" else (False, True)}
    assert torch.backends.cudnn.enabled


def test_gradients_can_stand_for_losses():
    method, dataset = _method(information="gradmag", alpha=0.5), _dataset()
    before = {name: value.clone() for name, value in method.state_dict().items()}
    _epoch(method, _context(method, dataset), 1, train=False)
    after = method.state_dict()
    assert [name for name, value in before.items() if not torch.equal(after[name], value)] == ["_extra_state"]
    assert all(parameter.grad is None for parameter in method.parameters())
    assert method.training
    method.eval()
    expected = []
    for k in range(20):
        outputs = method(dataset.train.gather(torch.tensor([k])))
        losses = [F.cross_entropy(z, dataset.train.labels[k : k + 1]) for z in outputs.unimodal_logits]
        loss = sum(losses) + 0.5 * F.cross_entropy(outputs.logits, dataset.train.labels[k : k + 1])
        method.zero_grad()
        loss.backward()
        expected.append(sum(p.grad.norm().item() for p in method.parameters()))
    table = _latest(method)
    torch.testing.assert_close(table["loss"], torch.tensor(expected))
    assert table["score"][table["loss"].argmax()] < table["score"][table["loss"].argmin()]
    plain = _method(alpha=0.5)
    _epoch(plain, _context(plain, dataset), 1, train=False)
    torch.testing.assert_close(table["similarity"], _latest(plain)["similarity"])


def test_scoring_as_the_official_code_does_moves_statistics_and_nothing_else():
    dataset = _dataset()
    shifted = Dataset("toy", dataset.modalities, dataset.classes, dataset.train, dataset.train, dataset.train, _shift)
    method, twin = _method(score_mode="train"), _method()
    _epoch(method, _context(method, shifted), 1, train=False)
    assert method.training
    assert all(torch.equal(p, q) for p, q in zip(method.parameters(), twin.parameters(), strict=True))
    assert method.encoders["audio"][1].num_batches_tracked == 5
    means = twin.encoders["audio"][0](dataset.train.inputs["audio"] + 1).mean(0)
    moved = method.encoders["audio"][1].running_mean
    torch.testing.assert_close(moved, means.detach() * (1 - 0.9**5), atol=0.2, rtol=0.5)
    _epoch(twin, _context(twin, shifted), 1, train=False)
    assert not torch.equal(_latest(method)["loss"], _latest(twin)["loss"])


def _shift(inputs, generator):
    return {m: x + 1 for m, x in inputs.items()}


@pytest.mark.parametrize("modalities", [2, 3])
@pytest.mark.parametrize("options", [{"lambda0": 1.0}, {"order": "shuffle"}, {"warmup_epochs": 3}])
def test_from_the_whole_set_on_this_is_joint_training_with_unimodal_losses(options, modalities):
    bss = toy_training("bss", {"scheduler": "heuristic", **options}, modalities=modalities, epochs=3, batch_size=15)
    uniform = {"unimodal_loss_weight": 1.0, "unimodal_source": "aux"}
    joint = toy_training("joint", uniform, modalities=modalities, epochs=3, batch_size=15)
    losses = [[record.loss for record in training.epochs()] for training in (bss, joint)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    expected = dict(joint.method.named_parameters())
    for name, parameter in bss.method.named_parameters():
        torch.testing.assert_close(parameter, expected.pop(name), atol=1e-5, rtol=1e-4)
    assert not expected


@pytest.mark.parametrize(
    ("options", "scored"),
    [({}, 3), ({"rescore_every": 0}, 1), ({"information": "gradmag"}, 3), ({"correlation": "none"}, 3),
     ({"correlation": "none", "information": "none"}, 0), ({"order": "shuffle"}, 0)],
)  # fmt: skip
def test_forward_passes_are_those_of_steps_and_scoring(options, scored):
    training = toy_training("bss", options, epochs=3, batch_size=15)
    assert [record.forward_passes for record in training.epochs()][-1] == (3 + scored) * 45


def test_the_scores_can_be_written_with_the_weights():
    method = _method()
    _epoch(method, _context(method, _dataset()), 1, train=False)
    for kept in (method, _method()):
        read = load(save({name: value.contiguous() for name, value in kept.state_dict().items()}))
        fresh = _method()
        fresh.load_state_dict(read)
        assert torch.equal(fresh.score_table()["score"], kept.score_table()["score"])


@pytest.mark.parametrize("warmup", [0, 1])
def test_the_selected_epoch_comes_back_and_the_passes_after_it_stay_on_record(warmup: int):
    method = _method(warmup_epochs=warmup)
    context = _context(method, _dataset())
    _epoch(method, context, 1)
    assert len(method.score_table()["score"]) == 1 - warmup
    selected = {name: value.clone() for name, value in method.state_dict().items()}
    for epoch in (2, 3):
        _epoch(method, context, epoch)
    table = method.score_table()
    method.load_state_dict(selected)
    assert len(table["score"]) == 3 - warmup
    assert all(torch.equal(column, table[name]) for name, column in method.score_table().items())
    assert all(torch.equal(value, selected[name]) for name, value in method.named_parameters())


def test_a_state_of_another_run_takes_the_place_of_what_was_scored():
    method, other = _method(), _method()
    _epoch(method, _context(method, _dataset()), 1)
    _epoch(other, _context(other, _dataset(12)), 1)
    other.load_state_dict(method.state_dict())
    assert torch.equal(other.score_table()["score"], method.score_table()["score"])


def test_a_growth_longer_than_the_run_is_warned_of():
    for options, count in (({"t_grow": 9}, 0), ({"t_grow": 10}, 1), ({"t_grow": 9, "warmup_epochs": 1}, 1)):
        method, lines = _method(scheduler="heuristic", **options), []
        method.on_fit_start(_context(method, _dataset(), lines.append))
        assert len(lines) == count


def test_what_is_refused():
    with pytest.raises(MethodError, match="at least 2"):
        BSS.check(BSSHyperparameters(), ("audio",))
    with pytest.raises(MethodError, match="alpha"):
        BSS.check(BSSHyperparameters(alpha=1.5, weighting="convex"), ("audio", "video"))
    unscored = {"correlation": "none", "information": "none", "scheduler": "heuristic"}
    for options in (unscored, {**unscored, "order": "anti"}):
        with pytest.raises(MethodError, match="order: random or shuffle"):
            BSS.check(BSSHyperparameters(**options), ("audio", "video"))
    BSS.check(BSSHyperparameters(**{**unscored, "order": "random"}), ("audio", "video"))
    with pytest.raises(MethodError, match="score_mode: eval"):
        BSS.check(BSSHyperparameters(information="gradmag", score_mode="train"), ("audio", "video"))
    for options in ({"t_grow": 1.5}, {"warmup_epochs": 2.5}, {"information": "gradient"}, {"lambda0": 0.0}):
        with pytest.raises(ValidationError):
            BSSHyperparameters(**options)


def test_corrupted_samples_have_lower_scores():
    n, random = 200, torch.Generator().manual_seed(5)
    labels = torch.arange(n) % 3
    inputs = {m: 3 * torch.eye(3, 5)[labels] + 0.3 * torch.randn(n, 5, generator=random) for m in ("audio", "video")}
    inputs["audio"][:20] = 3 * torch.randn(20, 5, generator=random)
    split = Split(inputs, labels)
    method = _method()
    context = _context(method, Dataset("toy", tuple(inputs), tuple("abc"), split, split, split), batch_size=20)
    for epoch in range(1, 6):
        _epoch(method, context, epoch)
    scores = _latest(method)["score"]
    assert scores[:20].mean() < scores[20:].mean() - 0.2


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("bss")
