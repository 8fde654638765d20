"""IPRM: its equations against values by hand and naive loops, and its step against the paper's algorithm."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from support.hand_driven_context import ParametersAlone, hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.base import MULTI, MethodError
from methods.iprm import (
    IPRM,
    IPRMHyperparameters,
    combine_logits,
    kl_divergence,
    mix_features,
    mixed_targets,
    strength_weights,
    update_probe_weight,
)
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("defaults", path="pair"),
    Variant("three", modalities=3, path="pairs"),
    Variant("one-pass", {"passes": 1}),
    Variant("one-head", {"pair_heads": "single_cls"}, modalities=3),
    Variant("linear-no-average", {"kind": "linear", "ema": "off"}, path="pair"),
    Variant("fixed", {"kind": "linear_raw", "ema": "fixed", "predict": "multi"}, modalities=3, path="pairs"),
    Variant("unpaired", {"paired": False}),
    Variant("unpaired-one-pass", {"paired": False, "passes": 1}),
]

# Equations -----------------------------------------------------------------------------------------------------


def _rows(seed: int, n: int = 5, d: int = 4) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_geodesic_mix_of_known_angles():
    x, angle = torch.tensor([[2.0, 0.0]]), math.pi / 3
    y = 5 * torch.tensor([[math.cos(angle), math.sin(angle)]])
    at = (1 - 0.25) * angle  # a quarter of x: three quarters of the way to y
    torch.testing.assert_close(mix_features(x, y, 0.25), torch.tensor([[math.cos(at), math.sin(at)]]))


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_geodesic_mix_stays_on_the_sphere_and_is_symmetric(seed, lam):
    x, y = _rows(seed), _rows(seed + 1)
    mixed = mix_features(x, y, lam)
    torch.testing.assert_close(mixed.norm(dim=-1), torch.ones(5, dtype=torch.float64))
    torch.testing.assert_close(mixed, mix_features(y, x, 1 - lam))
    torch.testing.assert_close(mixed, mix_features(x, y, torch.tensor(lam, dtype=torch.float64)))


@pytest.mark.parametrize("kind", ["geodesic", "linear"])
def test_ends_of_the_mix_are_the_normalised_rows(kind):
    x, y = _rows(0), _rows(1)
    torch.testing.assert_close(mix_features(x, y, 1.0, kind), x / x.norm(dim=1, keepdim=True))
    torch.testing.assert_close(mix_features(x, y, 0.0, kind), y / y.norm(dim=1, keepdim=True))


def test_linear_mixes():
    x, y = torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    torch.testing.assert_close(mix_features(x, y, 0.25, "linear"), torch.tensor([[0.15, 0.95]]))
    torch.testing.assert_close(mix_features(x, y, 0.25, "linear_raw"), torch.tensor([[0.75, 2.5]]))


def test_degenerate_rows_are_finite_with_finite_gradients():
    x = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [0.0, 5.0]], requires_grad=True)
    y = torch.tensor([[2.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, 0.0], [3.0, 1e-5], [0.0, 5.0]], requires_grad=True)
    mixed = mix_features(x, y, 0.75)
    expected = torch.tensor([[1.0, 0.0], [0.5, 0.0], [0.0, math.sin(math.pi / 8)], [0.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    torch.testing.assert_close(mixed, expected, atol=1e-5, rtol=0)
    mixed.square().sum().backward()
    assert x.grad.isfinite().all()
    assert y.grad.isfinite().all()


def test_unknown_options_are_refused():
    with pytest.raises(ValueError, match="kind"):
        mix_features(_rows(0), _rows(1), 0.5, "spherical")
    with pytest.raises(ValueError, match="reduction"):
        kl_divergence(_rows(0), _rows(1), "batchmean")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.sampled_from(["geodesic", "linear", "linear_raw"]))
def test_swapping_modalities_and_shares_changes_nothing(seed, lam, kind):
    x, y = _rows(seed), _rows(seed + 1)
    mixed = mix_features(x, y, lam, kind)
    torch.testing.assert_close(mixed, mix_features(y, x, 1 - lam, kind))
    if kind != "linear_raw":  # the features' lengths do not count
        torch.testing.assert_close(mixed, mix_features(3 * x, y / 7, lam, kind))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(-1e-6, 1e-6), st.sampled_from([1.0, -1.0]))
def test_mixes_of_nearly_parallel_rows_are_finite_with_finite_gradients(seed, lam, nudge, sign):
    x = _rows(seed).float().requires_grad_()
    y = (sign * x.detach() + nudge).requires_grad_()
    mixed = mix_features(x, y, lam)
    assert mixed.isfinite().all()
    for gradient in torch.autograd.grad(mixed.sum(), [x, y]):
        assert gradient.isfinite().all()


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0.1, 1e3))
def test_divergences_are_not_negative_and_know_no_constant(seed, scale):
    p, q = scale * _rows(seed), scale * _rows(seed + 1)
    found = kl_divergence(p, q, "none")
    assert found.min() >= -1e-9
    torch.testing.assert_close(found, kl_divergence(p + 5, q - 3, "none"), atol=1e-9, rtol=1e-7)
    assert kl_divergence(p, p).item() == 0


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_strengths_sum_to_one_and_favour_the_smaller_divergence(kl_x, kl_y):
    w_x, w_y = strength_weights(kl_x, kl_y)
    assert w_x + w_y == pytest.approx(1)
    assert 0 <= w_x <= 1
    if kl_x + kl_y > 1e-12:
        assert (w_x > 0.5) is (kl_x < kl_y) or w_x == pytest.approx(0.5)
    tensors = strength_weights(torch.tensor(kl_x, dtype=torch.float64), torch.tensor(kl_y, dtype=torch.float64))
    assert [w.item() for w in tensors] == pytest.approx([w_x, w_y])


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_the_probe_weight_moves_between_its_old_value_and_the_strength(lam, omega, alpha):
    moved = update_probe_weight(lam, omega, alpha)
    assert min(lam, omega) - 1e-12 <= moved <= max(lam, omega) + 1e-12
    assert update_probe_weight(lam, omega, 1.0) == lam
    assert update_probe_weight(lam, omega, 0.0) == omega


def test_kl_divergence_equals_the_sum_over_classes():
    p, q = _rows(2), _rows(3)
    rows = []
    for i in range(5):
        exp_p, exp_q = [math.exp(v) for v in p[i].tolist()], [math.exp(v) for v in q[i].tolist()]
        terms = [
            a / sum(exp_p) * math.log((a / sum(exp_p)) / (b / sum(exp_q))) for a, b in zip(exp_p, exp_q, strict=True)
        ]
        rows.append(sum(terms))
    torch.testing.assert_close(kl_divergence(p, q, "none"), torch.tensor(rows, dtype=torch.float64))
    assert kl_divergence(p, q, "sum").item() == pytest.approx(sum(rows))
    assert kl_divergence(p, q).item() == pytest.approx(sum(rows) / 5)
    assert kl_divergence(p, q).ndim == 0


def test_kl_divergence_of_saturated_logits_is_finite():
    p, q = torch.tensor([[1e4, -1e4], [1e4, -1e4]]), torch.tensor([[-1e4, 1e4], [1e4, -1e4]])
    assert kl_divergence(p, q, "none").tolist() == [2e4, 0.0]


def test_the_nearer_modality_weighs_more():
    assert strength_weights(1.0, 3.0) == (0.75, 0.25)
    weights = strength_weights(torch.tensor(1.0), torch.tensor(3.0))
    assert [w.item() for w in weights] == [0.75, 0.25]
    assert weights[0].ndim == 0


@pytest.mark.parametrize("zero", [0.0, 4e-13])
def test_no_divergence_weighs_equally(zero):
    assert strength_weights(zero, zero) == (0.5, 0.5)
    assert [w.item() for w in strength_weights(torch.tensor(zero), torch.tensor(zero))] == [0.5, 0.5]


def test_the_least_sum_that_weighs_is_above_its_bound():
    for bound in (1e-12, torch.tensor(1e-12, dtype=torch.float64)):
        assert [float(weight) for weight in strength_weights(bound, 0 * bound)] == [0.5, 0.5]


def test_probe_weight_is_a_moving_average_of_the_old_value():
    assert update_probe_weight(0.5, 1.0, 0.8) == pytest.approx(0.6)
    assert update_probe_weight(None, 0.3, 0.8) == 0.3
    assert update_probe_weight(torch.tensor(0.5), torch.tensor(1.0), 0.8).item() == pytest.approx(0.6)


def test_mixed_targets_and_combined_logits():
    targets = mixed_targets(torch.tensor([0, 1]), torch.tensor([2, 1]), 0.75, 3)
    assert targets.dtype == torch.float32
    assert targets.tolist() == [[0.75, 0.0, 0.25], [0.0, 1.0, 0.0]]
    ones = torch.ones(2, 3)
    assert combine_logits([ones, 2 * ones, 3 * ones], [4 * ones, 6 * ones]).tolist() == [[11.0] * 3] * 2


# Method --------------------------------------------------------------------------------------------------------


def _encoder(inputs: int, width: int) -> nn.Module:
    encoder = nn.Linear(inputs, width)
    encoder.out_dim = width
    return encoder


def _dataset(modalities: tuple[str, ...] = ("audio", "video"), n: int = 12) -> Dataset:
    random = torch.Generator().manual_seed(7)
    split = Split({m: torch.randn(n, 5, generator=random) for m in modalities}, torch.arange(n) % 3)
    return Dataset("toy", modalities, ("a", "b", "c"), split, split, split)


def _setup(
    dataset: Dataset, widths: int | list[int] = 4, lr: float = 0.5, **hyperparameters
) -> tuple[IPRM, TrainingContext]:
    torch.manual_seed(3)
    count = len(dataset.modalities)
    widths = [widths] * count if isinstance(widths, int) else widths
    encoders = {m: _encoder(5, width) for m, width in zip(dataset.modalities, widths, strict=True)}
    method = IPRM(encoders, dataset.num_classes, IPRMHyperparameters(**hyperparameters), epochs=1)
    recipe = Recipe(lr=lr, batch_size=6)
    return method, hand_driven_context(method, dataset, recipe)


def _train(method: IPRM, context: TrainingContext, steps: int) -> list[list[float]]:
    """Probe weights after each step."""
    trajectory = []
    for _ in range(steps):
        for batch in context.training_batches(torch.arange(context.train_size), drop_last=False):
            method.training_step(batch, context)
            trajectory.append(method.probe_weights.tolist())
    return trajectory


def _omega(method: IPRM, features: list[Tensor], lam: float) -> float:
    """Equations 1 to 5, sample by sample, for two modalities."""
    strengths = [0.0, 0.0]
    for row in range(len(features[0])):
        x, y = (f[row] / f[row].norm() for f in features)
        theta = math.acos(float(x @ y))
        mix = math.sin(lam * theta) / math.sin(theta) * x + math.sin((1 - lam) * theta) / math.sin(theta) * y
        mixed = method.mixed_heads[0](mix).softmax(-1)
        for m in range(2):
            own = method.unimodal_heads[m](features[m][row]).softmax(-1)
            strengths[m] += float((own * (own / mixed).log()).sum())
    return strengths[1] / sum(strengths)


@pytest.mark.parametrize("passes", [1, 2])
def test_the_first_step_probes_with_a_half_and_follows_the_paper(passes):
    dataset = _dataset()
    method, context = _setup(dataset, alpha=0.7, passes=passes)
    batch = dataset.train.gather(torch.arange(6))
    features = method.encode(batch)
    with torch.no_grad():
        omega = _omega(method, features, 0.5)
    used = omega if passes == 2 else 0.5
    logits = method.mixed_heads[0](mix_features(*features, used))
    loss = F.cross_entropy(logits, batch.labels)
    loss = loss + sum(F.cross_entropy(h(f), batch.labels) for h, f in zip(method.unimodal_heads, features, strict=True))
    # omega is a plain number here, so equal gradients mean that none flows through it.
    gradients = torch.autograd.grad(loss, list(method.parameters()))
    torch.testing.assert_close(method.training_step(batch, context), loss.detach())
    for parameter, gradient in zip(method.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4)
    assert method.probe_weights.item() == pytest.approx(0.7 * 0.5 + 0.3 * omega, abs=1e-5)
    assert method.diagnostics() == {
        "lambda_audio_video": pytest.approx(method.probe_weights.item()),
        "omega_audio_video": pytest.approx(omega, abs=1e-5),
    }


@pytest.mark.parametrize("options", [{"alpha": 1.0}, {"ema": "fixed", "alpha": 0.2}, {"alpha": 1.0, "passes": 1}])
def test_a_fixed_probe_weight_stays_while_the_strength_moves(options):
    method, context = _setup(_dataset(), **options)
    strengths = set()
    for _ in range(3):
        assert _train(method, context, 1) == [[0.5], [0.5]]
        strengths.add(method.strengths.item())
    assert len(strengths) == 3


@pytest.mark.parametrize("kind", ["geodesic", "linear", "linear_raw"])
@pytest.mark.parametrize("modalities", [("audio", "video"), ("audio", "text", "video")])
def test_one_pass_with_a_fixed_weight_is_joint_training_on_constant_mixes(kind, modalities):
    dataset = _dataset(modalities)
    method, context = _setup(dataset, kind=kind, passes=1, alpha=1.0, lr=0.05)
    twin, other = _setup(dataset, kind=kind, lr=0.05)
    _train(method, context, 2)
    for _ in range(2):
        for batch in other.training_batches(torch.arange(12), drop_last=False):
            other.zero_grad()
            features = [twin.encoders[m](batch.inputs[m]) for m in modalities]
            logits = [head(f) for head, f in zip(twin.unimodal_heads, features, strict=True)]
            pairs = [(i, j) for i in range(len(modalities)) for j in range(i + 1, len(modalities))]
            for head, (i, j) in zip(twin.mixed_heads, pairs, strict=True):
                logits.append(head(mix_features(features[i], features[j], 0.5, kind)))
            sum(F.cross_entropy(each, batch.labels) for each in logits).backward()
            other.optimizer_step()
    for found, expected in zip(method.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    assert method.probe_weights.tolist() == [0.5] * len(method.pairs)


def test_without_moving_average_the_probe_weight_is_the_last_strength():
    method, context = _setup(_dataset(), ema="off", alpha=0.9)
    _train(method, context, 1)
    assert method.probe_weights.item() == method.strengths.item() != 0.5


@pytest.mark.parametrize("kind", ["geodesic", "linear", "linear_raw"])
def test_equal_modalities_keep_a_half(kind):
    dataset = _dataset()
    same = Split(dict.fromkeys(("audio", "video"), dataset.train.inputs["audio"]), dataset.train.labels)
    dataset = Dataset("toy", dataset.modalities, dataset.classes, same, same, same)
    method, context = _setup(dataset, kind=kind)
    for part in (method.encoders, method.unimodal_heads):
        first, second = part.values() if isinstance(part, nn.ModuleDict) else part
        second.load_state_dict(first.state_dict())
    assert _train(method, context, 2) == [[pytest.approx(0.5, abs=1e-4)]] * 4


@pytest.mark.parametrize("options", [{}, {"passes": 1}, {"paired": False}])
def test_each_encoder_runs_once_a_step(options):
    method, context = _setup(_dataset(), **options)
    calls = []
    for name, encoder in method.encoders.items():
        encoder.register_forward_hook(lambda *_, name=name: calls.append(name))
    (batch,) = context.training_batches(torch.arange(6), drop_last=False)
    method.training_step(batch, context)
    assert calls == ["audio", "video"]


def test_three_modalities_have_a_head_and_a_weight_for_each_pair():
    method, context = _setup(_dataset(("audio", "text", "video")))
    assert len(method.mixed_heads) == 3
    last = _train(method, context, 1)[-1]
    assert len(set(last)) == 3
    assert set(method.diagnostics()) == {
        f"{kind}_{pair}" for kind in ("lambda", "omega") for pair in ("audio_text", "audio_video", "text_video")
    }


def test_a_single_mixed_head_learns_one_random_pair_a_step():
    method, context = _setup(_dataset(("audio", "text", "video")), pair_heads="single_cls")
    assert len(method.mixed_heads) == 1
    before, moved = [0.5] * 3, []
    for after in _train(method, context, 6):
        moved.append([i for i in range(3) if after[i] != before[i]])
        before = after
    assert all(len(pairs) == 1 for pairs in moved)
    assert {pairs[0] for pairs in moved} == {0, 1, 2}


def test_a_single_mixed_head_sums_one_mixed_and_every_unimodal_loss():
    dataset = _dataset(("audio", "text", "video"))
    method, context = _setup(dataset, pair_heads="single_cls", passes=1)
    batch = dataset.train.gather(torch.arange(6))
    outputs = method(batch)
    own = sum(F.cross_entropy(logits, batch.labels) for logits in outputs.unimodal_logits)
    mixed = [F.cross_entropy(logits, batch.labels) for logits in outputs.extra["mixed"]]
    loss = method.loss(outputs, batch, context)
    assert sum(torch.isclose(loss, own + each).item() for each in mixed) == 1


def test_different_widths_are_projected_to_the_smallest():
    dataset = _dataset()
    method, context = _setup(dataset, widths=[6, 4])
    assert [f.shape for f in method.encode(dataset.train.gather(torch.arange(6)))] == [(6, 4), (6, 4)]
    before = method.projections[0].weight.clone()
    _train(method, context, 1)
    assert not torch.equal(method.projections[0].weight, before)
    assert not list(_setup(dataset)[0].projections.parameters())


def test_prediction_sums_the_heads_and_leaves_the_state_alone():
    dataset = _dataset()
    method, context = _setup(dataset)
    _train(method, context, 1)
    batch, lam = dataset.train.gather(torch.arange(4)), method.probe_weights.item()
    logits = method.predict(batch)
    mixed = method.mixed_heads[0](mix_features(*method.encode(batch), lam))
    torch.testing.assert_close(logits[MULTI], logits["audio"] + logits["video"] + mixed)
    assert method.probe_weights.item() == lam
    alone = IPRM(method.encoders, 3, IPRMHyperparameters(predict="multi"), 1)
    alone.load_state_dict(method.state_dict())
    torch.testing.assert_close(alone.predict(batch)[MULTI], mixed)


def test_an_absent_modality_leaves_the_other_in_the_mix():
    dataset = _dataset()
    method, _ = _setup(dataset)
    batch = dataset.train.gather(torch.arange(4))
    only = method.encode(batch)[0]
    mixed = method.mixed_heads[0](F.normalize(only) * math.sin(math.pi / 4))
    expected = method.unimodal_heads[0](only) + method.unimodal_heads[1].bias + mixed
    torch.testing.assert_close(method.predict(batch, ["audio"])[MULTI], expected)


def test_a_loaded_state_goes_on_alike():
    dataset = _dataset(("audio", "text", "video"))
    method, context = _setup(dataset, pair_heads="single_cls")
    _train(method, context, 1)
    torch.manual_seed(99)
    encoders = {m: _encoder(5, 4) for m in dataset.modalities}
    fresh = IPRM(encoders, 3, method.hyperparameters, epochs=1)
    fresh.load_state_dict(method.state_dict())
    trajectories = []
    for each in (method, fresh):
        onward = hand_driven_context(each, dataset, Recipe(lr=0.5, batch_size=6))
        onward.budget_step = context.step
        trajectories.append(_train(each, onward, 2))
    assert trajectories[0] == trajectories[1]


def test_unpaired_mixing_permutes_the_second_modality_and_its_labels():
    dataset = _dataset()
    method, context = _setup(dataset, paired=False)
    (batch,) = context.training_batches(torch.arange(6), drop_last=False)
    partner = context.sample_numbers("partners", 1).squeeze(1).argsort()
    assert not torch.equal(partner, torch.arange(6))
    x, y = method.encode(batch)
    x_logits, y_logits = (head(f) for head, f in zip(method.unimodal_heads, (x, y), strict=True))
    probe = method.mixed_heads[0](mix_features(x, y[partner], 0.5))
    omega, _ = strength_weights(kl_divergence(x_logits, probe), kl_divergence(y_logits[partner], probe))
    log_p = method.mixed_heads[0](mix_features(x, y[partner], omega)).log_softmax(-1)
    first, second = F.nll_loss(log_p, batch.labels), F.nll_loss(log_p, batch.labels[partner])
    own = F.cross_entropy(x_logits, batch.labels) + F.cross_entropy(y_logits, batch.labels)
    loss = method.loss(method(batch), batch, context)
    torch.testing.assert_close(loss, own + omega.detach() * first + (1 - omega.detach()) * second)


@pytest.mark.parametrize("passes", [1, 2])
def test_an_unpaired_probe_keeps_what_a_gradient_needs_where_it_is_the_mix(passes, monkeypatch):
    method, context = _setup(_dataset(), paired=False, passes=passes)
    (batch,) = context.training_batches(torch.arange(6), drop_last=False)
    probes, strength = [], method.strength
    monkeypatch.setattr(method, "strength", lambda probe, *rest: probes.append(probe) or strength(probe, *rest))
    method.loss(method(batch), batch, context)
    assert [probe.requires_grad for probe in probes] == [passes == 1]


def test_unpaired_mixing_of_equal_samples_is_paired_mixing():
    dataset = _dataset()
    losses = []
    for paired in (True, False):
        method, context = _setup(dataset, paired=paired)
        (batch,) = context.training_batches(torch.zeros(6, dtype=torch.int64), drop_last=False)
        losses.append(method.training_step(batch, context))
    torch.testing.assert_close(*losses)


def test_what_is_refused_and_when_the_world_size_matters():
    unpaired = IPRMHyperparameters(paired=False)
    with pytest.raises(MethodError, match="two modalities"):
        IPRM.check(unpaired, ("a", "b", "c"))
    with pytest.raises(MethodError, match="at least 2"):
        IPRM.check(IPRMHyperparameters(), ("a",))
    for wrong in ({"alpha": 1.1}, {"alpha": -0.1}, {"lambda_init": 1.5}, {"passes": 3}, {"ema": "none"}, {"kind": "x"}):
        with pytest.raises(ValidationError, match=next(iter(wrong))):
            IPRMHyperparameters(**wrong)
    assert IPRM.world_size_matters(unpaired)
    assert not IPRM.world_size_matters(IPRMHyperparameters())


def test_the_weak_modality_learns_as_much_as_a_probe_of_joint_training_finds():
    random = torch.Generator().manual_seed(5)
    labels = torch.arange(200) % 3
    centres = 3 * torch.eye(3, 5)[labels]
    noise = {"clean": 0.3, "noisy": 1.5}
    split = Split({m: centres + s * torch.randn(200, 5, generator=random) for m, s in noise.items()}, labels)
    dataset = Dataset("toy", tuple(noise), tuple("abc"), split, split, split)
    method, context = _setup(dataset, lr=0.02)
    joint, _ = _setup(dataset, lr=0.02)
    head = nn.Linear(8, 3)
    learning = ParametersAlone([*joint.encoders.parameters(), *head.parameters()])
    plain = hand_driven_context(learning, dataset, Recipe(lr=0.02, batch_size=6))
    for epoch in range(1, 4):
        context.epoch = epoch
        for batch in context.training_batches(method.sampler(context), drop_last=False):
            method.training_step(batch, context)
            plain.zero_grad()
            F.cross_entropy(head(torch.cat(joint.encode(batch), 1)), batch.labels).backward()
            plain.optimizer_step()
    everything = split.gather(torch.arange(200))
    own = method.predict(everything)["noisy"]
    features = F.pad(joint.encode(everything)[1].detach(), (0, 1), value=1.0)
    probe = features @ torch.linalg.lstsq(features, F.one_hot(labels).float()).solution
    accuracy, reference = ((logits.argmax(-1) == labels).float().mean().item() for logits in (own, probe))
    assert accuracy > 0.7
    assert accuracy > reference - 0.05


def test_one_pass_of_unpaired_samples_mixes_targets_as_it_mixed_the_features():
    dataset = _dataset()
    method, context = _setup(dataset, paired=False, passes=1, lambda_init=0.3)
    (batch,) = context.training_batches(torch.arange(6), drop_last=False)
    partner = context.sample_numbers("partners", 1).squeeze(1).argsort()
    x, y = method.encode(batch)
    log_p = method.mixed_heads[0](mix_features(x, y[partner], 0.3)).log_softmax(-1)
    first, second = F.nll_loss(log_p, batch.labels), F.nll_loss(log_p, batch.labels[partner])
    own = F.cross_entropy(method.unimodal_heads[0](x), batch.labels)
    own = own + F.cross_entropy(method.unimodal_heads[1](y), batch.labels)
    outputs = method(batch)
    loss = method.loss(outputs, batch, context)
    assert outputs.extra["omega 0"].item() != pytest.approx(0.3, abs=0.02)
    torch.testing.assert_close(loss, own + 0.3 * first + 0.7 * second)


def test_half_precision_mixes_and_weighs_in_full_precision():
    dataset = _dataset()
    method, context = _setup(dataset)
    draw = torch.Generator().manual_seed(1)
    x, y = (torch.randn(6, 4, generator=draw).bfloat16() for _ in range(2))
    mixed = []
    method.mixed_heads[0].register_forward_hook(lambda module, given, logits: mixed.append(given[0]))
    with torch.autocast("cpu", torch.bfloat16):
        method.mix(0, method.path(x, y), torch.tensor(0.3))
    assert mixed[0].dtype == torch.float32
    torch.testing.assert_close(mixed[0], mix_features(x.float(), y.float(), 0.3))
    probe, logits_x, logits_y = (torch.randn(6, 3, generator=draw).bfloat16() for _ in range(3))
    divergences = [kl_divergence(logits.float(), probe.float()) for logits in (logits_x, logits_y)]
    for half in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            omega = method.strength(probe, logits_x, logits_y, context)
        torch.testing.assert_close(omega, strength_weights(*divergences)[0])


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("iprm")
