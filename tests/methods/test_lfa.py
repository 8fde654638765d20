"""LFA: its equations against independent computations, its courses of alpha, its hypergradient."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_training
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

import methods
from data.base import Split
from methods.base import MethodError
from methods.lfa import (
    LFA,
    LFAHyperparameters,
    alpha_hypergradient,
    alpha_schedule,
    contrastive_loss,
    inverse_hvp,
    js_alignment,
    update_alpha,
)
from models import encoders

VARIANTS = [
    Variant("heuristic", {"strategy": "heuristic"}, modalities=3),
    Variant("constant", {"strategy": "constant", "alpha": 0.5}, path="schedule"),
    Variant("fitted", {"strategy": "fitted", "loss_scale": 2.0}, path="schedule"),
    Variant(
        "conjugate-gradients",
        {"strategy": "learned", "inverse": "cg", "hyper_batch": "holdout", "hyper_batch_size": 8},
        epochs_to_learn=12,
    ),
    Variant(
        "divergence",
        {"alignment": "js", "fusion": "late", "late_train": "joint", "alpha": 0.5},
        modalities=3,
        epochs_to_learn=12,
    ),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# L_MM ----------------------------------------------------------------------------------------------------------


def naive_contrastive(a: Tensor, v: Tensor, tau: float) -> float:
    def similarity(x: Tensor, y: Tensor) -> float:
        return float(x @ y) / (math.sqrt(float(x @ x)) * math.sqrt(float(y @ y)))

    size, total = len(a), 0.0
    for i in range(size):
        match = math.exp(similarity(a[i], v[i]) / tau)
        total += math.log(match / sum(math.exp(similarity(a[i], v[k]) / tau) for k in range(size)))
        total += math.log(match / sum(math.exp(similarity(a[k], v[i]) / tau) for k in range(size)))
    return -total / (2 * size)


def test_contrastive_loss_is_equation_2_and_the_mean_over_pairs() -> None:
    a, v, t = (draw(5, 3, seed=k) for k in range(3))
    assert float(contrastive_loss([a, v], 0.3)) == pytest.approx(naive_contrastive(a, v, 0.3))
    pairs = [naive_contrastive(x, y, 0.07) for x, y in ((a, v), (a, t), (v, t))]
    assert float(contrastive_loss([a, v, t], 0.07)) == pytest.approx(sum(pairs) / 3)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.floats(0.05, 2.0))
def test_contrastive_loss_knows_neither_order_nor_length(seed: int, size: int, tau: float) -> None:
    a, v = draw(size, 4, seed=seed), draw(size, 4, seed=seed + 1)
    expected = float(contrastive_loss([a, v], tau))
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    scale = torch.linspace(0.1, 9.0, size, dtype=torch.float64).unsqueeze(1)
    for changed in ([v, a], [a[order], v[order]], [a * scale, v / scale]):
        assert float(contrastive_loss(changed, tau)) == pytest.approx(expected, rel=1e-9)
    assert float(contrastive_loss([a, a.roll(1, 0)], tau)) > float(contrastive_loss([a, a.clone()], tau))


def test_contrastive_loss_at_its_edges() -> None:
    assert float(contrastive_loss([draw(1, 3), draw(1, 3, seed=1)], 0.07)) == 0
    equal = torch.ones(6, 3)
    assert float(contrastive_loss([equal, 2 * equal], 0.07)) == pytest.approx(math.log(6))
    zero = torch.zeros(4, 3)
    assert float(contrastive_loss([zero, draw(4, 3).float()], 0.07)) == pytest.approx(math.log(4))
    with pytest.raises(ValueError, match="tau"):
        contrastive_loss([equal, equal], 0.0)
    with pytest.raises(ValueError, match="two modalities"):
        contrastive_loss([equal], 0.07)


def test_contrastive_loss_reaches_all_features_and_has_second_derivatives_beside_a_zero_row() -> None:
    feats = [draw(4, 3, seed=k).requires_grad_() for k in range(3)]
    for gradient in torch.autograd.grad(contrastive_loss(feats, 0.5), feats):
        assert (gradient.norm(dim=1) > 0).all()
    x, y = draw(3, 2), draw(3, 2, seed=1)
    x[1] = 0
    x.requires_grad_()
    (first,) = torch.autograd.grad(contrastive_loss([x, y], 0.5), x, create_graph=True)
    (second,) = torch.autograd.grad(first[0].sum(), x)
    assert second.isfinite().all()


def test_contrastive_loss_keeps_single_precision_under_autocast() -> None:
    feats = [draw(8, 4, seed=k).float() for k in range(2)]
    expected = contrastive_loss(feats, 0.07)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(contrastive_loss(feats, 0.07), expected)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.floats(0.1, 100.0))
def test_js_alignment_is_symmetric_and_zero_for_equal_predictions_alone(seed: int, size: int, scale: float) -> None:
    p, q = scale * draw(size, 4, seed=seed), scale * draw(size, 4, seed=seed + 1)
    found = float(js_alignment([p, q]))
    assert found > 0
    assert float(js_alignment([q, p])) == pytest.approx(found)
    assert float(js_alignment([p, p.clone()])) == 0


def test_js_alignment_is_the_divergence_from_the_mean() -> None:
    logits = [draw(3, 4, seed=k) for k in range(3)]

    def pair(x: Tensor, y: Tensor) -> float:
        total = 0.0
        for p, q in zip(x.softmax(1), y.softmax(1), strict=True):
            for pk, qk in zip(p.tolist(), q.tolist(), strict=True):
                m = (pk + qk) / 2
                total += m * math.log(m / pk) / 2 + m * math.log(m / qk) / 2
        return total / len(x)

    assert float(js_alignment(logits[:2])) == pytest.approx(pair(*logits[:2]))
    pairs = [pair(logits[i], logits[k]) for i, k in ((0, 1), (0, 2), (1, 2))]
    assert float(js_alignment(logits)) == pytest.approx(sum(pairs) / 3)
    assert float(js_alignment([logits[0], logits[0] + 5])) == pytest.approx(0, abs=1e-12)
    for dtype in (torch.float32, torch.float64):
        equal = 50 * logits[0].to(dtype)
        assert js_alignment([equal, equal.clone()]).item() == 0
    extreme = torch.tensor([[1e4, -1e4, 0.0]])
    assert js_alignment([extreme, -extreme]).isfinite()
    with pytest.raises(ValueError, match="two modalities"):
        js_alignment(logits[:1])


# The course of alpha -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "t", "total", "value", "expected"),
    [
        ("constant", 9, None, 0.3, 0.3),
        ("constant", 1, None, 0.0, 0.0),
        ("stepwise", 5, 10, 0.95, 0.95),
        ("stepwise", 6, 10, 0.95, 0.05),
        ("stepwise", 2, 5, 1.0, 1.0),
        ("stepwise", 3, 5, 1.0, 0.0),
        ("stepwise", 1, 1, 0.2, 0.8),
        ("heuristic", 1, None, None, 0.6321205588),
        ("heuristic", 2, 30, 0.1, 0.3934693403),
        ("heuristic", 1000, None, None, 0.0009995002),
        ("cubic", 1, None, None, 1.0),
        ("cubic", 10, None, None, 0.82),
        ("cubic", 10, 10, None, 0.16),
        ("cubic", 200, None, None, 1.0),
        ("exp_decay", 1, None, 0.3, 0.95),
        ("exp_decay", 4, None, 0.3, math.exp(-0.9)),
        ("exp_decay", 90, None, 0.3, 0.05),
        ("fitted", 1, None, None, 0.795376296),
        ("fitted", 51, None, None, 0.563),
        ("fitted", 101, None, None, 0.461),
        ("fitted", 51, 100, None, 0.461),
        ("fitted", 200, None, None, 0.084),
    ],
)
def test_alpha_schedule(strategy: str, t: int, total: int | None, value: float | None, expected: float) -> None:
    tolerance = 5e-4 if strategy == "fitted" else 1e-9
    assert alpha_schedule(strategy, t, total, value) == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(
    "arguments",
    [
        ("constant", 0, 10, 0.5),
        ("heuristic", 0),
        ("learned", 1, 10, 0.5),
        ("linear", 1, 10, 0.5),
        ("constant", 1, 10, None),
        ("stepwise", 1, 10, None),
        ("stepwise", 1, None, 0.5),
        ("exp_decay", 1, 10, None),
    ],
)
def test_alpha_schedule_refuses(arguments: tuple[Any, ...]) -> None:
    with pytest.raises(ValueError, match=r"alpha|epoch"):
        alpha_schedule(*arguments)


@given(st.integers(1, 10**4))
def test_heuristic_falls_strictly_towards_zero(t: int) -> None:
    assert 0 < alpha_schedule("heuristic", t + 1) < alpha_schedule("heuristic", t) < 1
    assert alpha_schedule("heuristic", t) <= 1 / t


_COURSES = ["heuristic", "cubic", "fitted", "exp_decay", "stepwise", "constant"]


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(_COURSES), st.integers(1, 60), st.integers(1, 60))
def test_courses_stay_weights(strategy: str, epoch: int, epochs: int) -> None:
    method = build({"strategy": strategy}, epochs=epochs)
    assert 0 <= method.scheduled_alpha(min(epoch, epochs)) <= 1


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0.01, 1.0))
def test_a_learned_alpha_rises_only_where_the_alignment_helps_more(seed: int, alpha: float, lr_alpha: float) -> None:
    cls_gradient, mm_gradient, ihvp = (draw(5, seed=seed + k) for k in range(3))
    found = alpha_hypergradient(cls_gradient, mm_gradient, ihvp)
    moved = update_alpha(alpha, found, lr_alpha)
    assert 0 <= moved <= 1
    if moved > alpha:
        assert mm_gradient @ ihvp > cls_gradient @ ihvp
    orthogonal = mm_gradient - (mm_gradient @ cls_gradient) / (cls_gradient @ cls_gradient) * cls_gradient
    downhill = alpha_hypergradient(cls_gradient, orthogonal, inverse_hvp(torch.eye(5), cls_gradient, "identity"))
    assert update_alpha(alpha, downhill, lr_alpha) < alpha or alpha == 0


def test_update_alpha_clips_and_ignores_what_is_not_finite() -> None:
    assert update_alpha(0.5, 2.0, 0.1) == pytest.approx(0.3)
    assert update_alpha(0.5, 20.0, 0.1) == 0
    assert update_alpha(0.5, -20.0, 0.1) == 1
    assert update_alpha(0.5, 20.0, 0.1, 0.05, 0.95) == 0.05
    assert [update_alpha(1.0, h, 0.1, high=0.95) for h in (math.nan, math.inf, -math.inf)] == [0.95] * 3


# The hypergradient ---------------------------------------------------------------------------------------------


def positive_definite(size: int, seed: int = 0) -> Tensor:
    root = draw(size, size, seed=seed)
    return root @ root.T / size + 0.1 * torch.eye(size, dtype=torch.float64)


def test_neumann_is_the_truncated_series() -> None:
    hess, vec, eta = positive_definite(4), draw(4, seed=9), 0.05
    step = torch.eye(4, dtype=torch.float64) - eta * hess
    expected = eta * sum((torch.linalg.matrix_power(step, k) @ vec for k in range(4)), torch.zeros_like(vec))
    for given_hess in (hess, lambda v: hess @ v):
        torch.testing.assert_close(inverse_hvp(given_hess, vec, steps=3, eta=eta), expected)
    torch.testing.assert_close(inverse_hvp(hess, vec, steps=0, eta=eta), eta * vec)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 6), st.floats(0.05, 1.0))
def test_the_series_is_bounded_without_negative_curvature_and_nears_the_inverse(
    seed: int, steps: int, share: float
) -> None:
    hess, vec = positive_definite(4, seed=seed), draw(4, seed=seed + 1)
    eta = share / float(torch.linalg.eigvalsh(hess)[-1])
    exact = torch.linalg.solve(hess, vec)
    found, further = (inverse_hvp(hess, vec, steps=n, eta=eta) for n in (steps, steps + 1))
    assert float(found.norm()) <= eta * (steps + 1) * float(vec.norm()) * (1 + 1e-9)
    assert float((further - exact).norm()) <= float((found - exact).norm()) * (1 + 1e-9)


def test_inverses_reach_the_exact_one() -> None:
    hess, vec = positive_definite(4), draw(4, seed=9)
    exact, before = torch.linalg.solve(hess, vec), vec.clone()
    eta = 1.9 / float(torch.linalg.eigvalsh(hess)[-1])
    errors = [float((inverse_hvp(hess, vec, steps=n, eta=eta) - exact).norm()) for n in (10, 100, 1000)]
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 1e-6
    torch.testing.assert_close(inverse_hvp(hess, vec, "cg", steps=4), exact)
    torch.testing.assert_close(inverse_hvp(hess, vec, "cg", steps=50), exact)
    assert torch.equal(vec, before)


def test_inverse_hvp_at_its_edges() -> None:
    hess, vec = positive_definite(3), draw(3)
    for copy in (
        inverse_hvp(hess, vec, "identity"),
        inverse_hvp(hess, vec, "cg", steps=0),
        inverse_hvp(-hess, vec, "cg"),
        inverse_hvp(hess, vec, "cg", tol=1e6),
    ):
        assert torch.equal(copy, vec)
        assert copy.data_ptr() != vec.data_ptr()
    indefinite = torch.diag(torch.tensor([1.0, -3.0]))
    first = inverse_hvp(indefinite, torch.tensor([1.0, 0.1]), "cg", steps=1)
    torch.testing.assert_close(first, torch.tensor([1.0, 0.1]) * 1.01 / 0.97)
    assert torch.equal(inverse_hvp(indefinite, torch.tensor([1.0, 0.1]), "cg", steps=9), first)
    with pytest.raises(ValueError, match="newton"):
        inverse_hvp(hess, vec, "newton")


def test_hypergradient_has_the_sign_of_a_finite_difference() -> None:
    """Quadratic inner losses: the inner optimum is known, and with it the outer loss as a function of alpha."""
    hess_cls, hess_mm, outer_hess = (positive_definite(4, seed=k) for k in range(3))
    at_cls, at_mm, at_outer = (draw(4, seed=k) for k in range(10, 13))

    def optimum(alpha: float) -> Tensor:
        hess = (1 - alpha) * hess_cls + alpha * hess_mm
        return torch.linalg.solve(hess, (1 - alpha) * hess_cls @ at_cls + alpha * hess_mm @ at_mm)

    def outer(alpha: float) -> float:
        offset = optimum(alpha) - at_outer
        return float(offset @ outer_hess @ offset) / 2

    for alpha in (0.1, 0.5, 0.9):
        theta = optimum(alpha)
        total = (1 - alpha) * hess_cls + alpha * hess_mm
        ihvp = inverse_hvp(total, outer_hess @ (theta - at_outer), "cg", steps=20)
        found = alpha_hypergradient(hess_cls @ (theta - at_cls), hess_mm @ (theta - at_mm), ihvp)
        assert found == pytest.approx((outer(alpha + 1e-5) - outer(alpha - 1e-5)) / 2e-5, rel=1e-4)


def test_alpha_falls_where_the_gradients_are_orthogonal_and_rises_only_where_alignment_helps() -> None:
    cls_gradient, other = torch.tensor([1.0, 2.0]), torch.tensor([-2.0, 1.0])
    assert alpha_hypergradient(cls_gradient, cls_gradient, torch.tensor([3.0, 4.0])) == 0
    assert alpha_hypergradient(cls_gradient, other, inverse_hvp(torch.eye(2), cls_gradient, "identity")) == 5
    assert update_alpha(0.9, alpha_hypergradient(cls_gradient, other, cls_gradient), 0.1) == pytest.approx(0.4)
    assert alpha_hypergradient(cls_gradient, 2 * cls_gradient, cls_gradient) == -5


# Training ------------------------------------------------------------------------------------------------------


def parameters(training: Any) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in training.method.named_parameters()}


@pytest.mark.parametrize("fusion", ["concat", "sum", "gated"])
@pytest.mark.parametrize("modalities", [2, 3])
def test_constant_0_is_naive_joint_training_exactly(fusion: str, modalities: int) -> None:
    constant = {"strategy": "constant", "alpha": 0.0, "fusion": fusion}
    lfa = toy_training("lfa", constant, modalities=modalities, epochs=3)
    joint = toy_training("joint", {"fusion": fusion}, modalities=modalities, epochs=3)
    assert [r.loss for r in lfa.epochs()] == [r.loss for r in joint.epochs()]
    expected = parameters(joint)
    assert all(torch.equal(p, expected[name]) for name, p in parameters(lfa).items())
    assert len(expected) == len(parameters(lfa))


@pytest.mark.parametrize("hyperparameters", [{"strategy": "constant", "alpha": 1.0}, {"strategy": "heuristic"}])
def test_the_classifier_rests_while_alpha_is_1(hyperparameters: dict[str, Any]) -> None:
    training = toy_training("lfa", hyperparameters, epochs=3, weight_decay=0.1)
    before, epochs = parameters(training), training.epochs()
    next(epochs)
    after = parameters(training)
    for name, parameter in training.method.named_parameters():
        rests = name.startswith("fusion.")
        assert torch.equal(after[name], before[name]) is rests
        assert (parameter.grad is None) is rests
    next(epochs)
    moved = not torch.equal(parameters(training)["fusion.head.weight"], before["fusion.head.weight"])
    assert moved is (hyperparameters["strategy"] == "heuristic")


def used_alphas(hyperparameters: dict[str, Any], epochs: int) -> list[float]:
    return [r.diagnostics["alpha"] for r in toy_training("lfa", hyperparameters, epochs=epochs).epochs()]


def test_heuristic_starts_at_1_and_falls_like_the_published_curve() -> None:
    alphas = used_alphas({"strategy": "heuristic"}, 5)
    assert alphas == pytest.approx([1.0] + [1 - math.exp(-1 / t) for t in range(1, 5)])


def test_other_courses_hold_in_their_own_epoch() -> None:
    assert used_alphas({"strategy": "stepwise"}, 4) == pytest.approx([0.95, 0.95, 0.05, 0.05])
    assert used_alphas({"strategy": "exp_decay"}, 3) == pytest.approx([0.95, math.exp(-0.3), math.exp(-0.6)])
    assert used_alphas({"strategy": "constant"}, 2) == [0.5, 0.5]
    assert used_alphas({"strategy": "fitted"}, 2) == [alpha_schedule("fitted", t, 2) for t in (1, 2)]
    assert alpha_schedule("fitted", 9, 9) < 0
    assert build({"strategy": "fitted"}, epochs=9).scheduled_alpha(9) == 0
    assert used_alphas({"strategy": "cubic"}, 3) == [1.0, *(alpha_schedule("cubic", t, 3) for t in (1, 2))]


def test_the_loss_weighs_its_two_parts_to_1() -> None:
    for scale in (1.0, 2.0):
        hyperparameters = {"strategy": "constant", "alpha": 0.3, "loss_scale": scale}
        for record in toy_training("lfa", hyperparameters, epochs=2).epochs():
            d = record.diagnostics
            expected = scale * (0.7 * d["classification_loss"] + 0.3 * d["alignment_loss"])
            assert record.loss == pytest.approx(expected, rel=1e-5)


def started(hyperparameters: dict[str, Any], **options: Any) -> Any:
    """A training that stands within its first epoch."""
    training = toy_training("lfa", hyperparameters, **options)
    training._context.begin_epoch(1)
    return training


@pytest.mark.parametrize(("alpha", "inverse"), [(0.6, "neumann"), (1.0, "neumann"), (0.6, "identity")])
def test_hypergradient_equals_a_dense_one(alpha: float, inverse: str) -> None:
    hyperparameters = {"alpha": alpha, "inverse": inverse, "neumann_eta": 0.02, "tau": 0.5}
    training = started(hyperparameters)
    method, context = training.method.double(), training._context
    single = context._train
    context._train = train = Split({m: x.double() for m, x in single.inputs.items()}, single.labels)
    index = torch.randperm(45, generator=context.generator("lfa holdout"))
    index = index[torch.randperm(45, generator=context.generator("lfa hyper-batch", 1))[:16]]
    batch = train.gather(index)
    names, shapes = zip(*[(n, p.shape) for n, p in method.named_parameters()], strict=True)
    flat = torch.cat([p.detach().reshape(-1) for p in method.parameters()])

    class Losses(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.method = method

        def forward(self) -> tuple[Tensor, Tensor]:
            outputs = self.method(batch)
            return F.cross_entropy(outputs.logits, batch.labels), contrastive_loss(outputs.features, 0.5)

    def losses(vector: Tensor) -> tuple[Tensor, Tensor]:
        parts = vector.split([math.prod(shape) for shape in shapes])
        values = {f"method.{n}": p.view(shape) for n, p, shape in zip(names, parts, shapes, strict=True)}
        return functional_call(Losses(), values, ())

    def total(vector: Tensor) -> Tensor:
        cls_loss, mm_loss = losses(vector)
        return (1 - alpha) * cls_loss + alpha * mm_loss

    cls_gradient = torch.autograd.functional.jacobian(lambda v: losses(v)[0], flat)
    mm_gradient = torch.autograd.functional.jacobian(lambda v: losses(v)[1], flat)
    ihvp = cls_gradient
    if inverse == "neumann":
        step = torch.eye(len(flat), dtype=torch.float64) - 0.02 * torch.autograd.functional.hessian(total, flat)
        ihvp = 0.02 * sum((torch.linalg.matrix_power(step, k) @ cls_gradient for k in range(4)), torch.zeros_like(flat))
    expected = -float((mm_gradient - cls_gradient) @ ihvp)
    assert method.hypergradient(context) == pytest.approx(expected, rel=1e-8)
    assert abs(expected) > 1e-4


def test_hypergradient_changes_nothing_else() -> None:
    training = started({"alpha": 0.5})
    method, context = training.method, training._context
    norm = nn.BatchNorm1d(8)
    method.encoders["video"].append_norm = norm
    method.encoders["video"].register_forward_hook(lambda module, _, output: module.append_norm(output))
    kernels = set[tuple[bool, bool]]()
    usual = (torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled())
    method.training_step(training._dataset.train.gather(torch.arange(16)), context)
    state = {k: v.clone() for k, v in method.state_dict().items() if torch.is_tensor(v)}
    grads = [None if p.grad is None else p.grad.clone() for p in method.parameters()]
    noise = torch.get_rng_state()
    method.encoders["audio"].register_forward_hook(
        lambda *_: kernels.add((torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled()))
    )
    assert method.hypergradient(context) == method.hypergradient(context)
    assert kernels == {(False, False)}  # what can be differentiated twice
    assert (torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled()) == usual
    assert all(torch.equal(v, state[k]) for k, v in method.state_dict().items() if torch.is_tensor(v))
    assert all(g is p.grad or torch.equal(g, p.grad) for g, p in zip(grads, method.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), noise)
    assert all(module.training for module in method.modules())
    assert norm.num_batches_tracked == 1


@pytest.mark.parametrize("inverse", ["neumann", "cg", "identity"])
def test_learned_alpha_starts_at_1_and_stays_within_its_bounds(inverse: str) -> None:
    training = toy_training("lfa", {"inverse": inverse, "lr_alpha": 5.0, "alpha_min": 0.2}, epochs=4)
    records = list(training.epochs())
    alphas = [r.diagnostics["alpha"] for r in records]
    assert alphas[0] == 1
    for k in range(3):
        step = alphas[k] - 5 * records[k].diagnostics["hypergradient"]
        assert alphas[k + 1] == pytest.approx(min(max(step, 0.2), 1.0))
    assert len(set(alphas)) > 1


def test_learning_rate_of_alpha_is_halved() -> None:
    training = toy_training("lfa", {"lr_alpha": 0.4, "lr_alpha_halve_every": 2, "hyper_batch_size": 4}, epochs=4)
    rates = [training.method.lr_alpha for _ in training.epochs()]
    assert rates == [0.4, 0.2, 0.2, 0.1]
    share = toy_training("lfa", {"lr_alpha_halve_every": 0.5}, epochs=6)
    assert share.method.halve_every == 3


@pytest.mark.parametrize("size", [1e-4, 1.0, 300.0])
@pytest.mark.parametrize("epochs", [1, 10, 1000])
def test_default_pace_falls_by_the_same_in_any_budget_and_for_hypergradients_of_any_size(
    epochs: int, size: float
) -> None:
    method, alpha = toy_training("lfa", epochs=epochs).method, 0.0
    for _ in range(epochs):
        alpha = update_alpha(alpha, method.scaled(size), method.lr_alpha, low=-2.0)
    assert alpha == pytest.approx(-1.2)
    # Half as large as the mean of all so far moves half as far; what is not a number moves nothing.
    method.sizes = [size, 2 * size]
    assert method.scaled(-1.5 * size) == pytest.approx(-1.0)
    assert math.isnan(method.scaled(math.nan))
    assert method.scaled(0.0) == 0.0
    assert method.sizes == [size, 2 * size, 1.5 * size]
    fixed = toy_training("lfa", {"lr_alpha": 0.4}, epochs=epochs).method
    assert (fixed.lr_alpha, fixed.scaled(size)) == (0.4, size)


def test_state_holds_alpha_and_what_its_pace_depends_on() -> None:
    trained, fresh = (toy_training("lfa", {"lr_alpha_halve_every": 1}, epochs=2).method for _ in range(2))
    trained.alpha, trained.lr_alpha, trained.sizes = 0.123456789, 0.01, [0.3, 0.1]
    fresh.load_state_dict(trained.state_dict())
    assert (fresh.alpha, fresh.lr_alpha, fresh.sizes) == (0.123456789, 0.01, [0.3, 0.1])


def test_an_unreliable_series_is_reported_once() -> None:
    lines: list[str] = []
    training = started({"neumann_eta": 50.0})
    training._context._warn = lines.append
    for _ in range(2):
        training.method.hypergradient(training._context)
    assert len(lines) == 1
    assert "neumann_eta" in lines[0]


def test_holdout_is_fixed_and_never_trained_on() -> None:
    training = started({"hyper_batch": "holdout", "hyper_batch_size": 8})
    method, context = training.method, training._context
    first = method.sampler(context).tolist()
    context.epoch = 2
    second = method.sampler(context).tolist()
    assert first != second
    assert sorted(first) == sorted(second)
    assert len(set(first)) == 37
    drawn: list[list[int]] = []
    whole = context.train_batches

    def watched(*arguments: Any, index: Tensor, **options: Any) -> Any:
        drawn.append(index.tolist())
        return whole(*arguments, index=index, **options)

    context.train_batches = watched
    assert math.isfinite(method.hypergradient(context))
    inner, outer = drawn
    assert set(inner) < set(first)
    assert sorted(first + outer) == list(range(45))
    assert len(started({}).method.sampler(context)) == 45
    with pytest.raises(MethodError, match="hyper_batch_size"):
        started({"hyper_batch": "holdout", "hyper_batch_size": 45}).method.sampler(context)


# The model -----------------------------------------------------------------------------------------------------


def build(hyperparameters: dict[str, Any], widths: tuple[int, ...] = (8, 8), epochs: int = 4) -> LFA:
    torch.manual_seed(0)
    dataset = toy_dataset(len(widths))
    modules = {
        m: encoders.build(encoders.resolve({"name": "mlp", "width": w}), dataset.shapes()[m])
        for m, w in zip(dataset.modalities, widths, strict=True)
    }
    return LFA(modules, 4, LFAHyperparameters.model_validate(hyperparameters), epochs)


@pytest.mark.parametrize(
    ("hyperparameters", "widths", "expected"),
    [({}, (8, 8), []), ({}, (8, 6), [256, 256]), ({"proj_dim": 5}, (8, 6), [5, 5]), ({"proj_dim": 5}, (8, 8), [5, 5])],
)
def test_features_are_mapped_where_their_widths_differ(
    hyperparameters: dict[str, Any], widths: tuple[int, ...], expected: list[int]
) -> None:
    method = build(hyperparameters, widths)
    assert [layer.out_features for layer in method.projections] == expected
    batch = toy_dataset().train.gather(torch.arange(10))
    outputs = method(batch)
    method.align(outputs.features).backward()
    assert all((p.grad is not None) for p in method.projections.parameters())
    method.zero_grad()
    method(batch).logits.sum().backward()
    assert all(p.grad is None for p in method.projections.parameters())


def test_unimodal_logits_come_from_own_heads_or_from_zeroed_features() -> None:
    batch = toy_dataset().test.gather(torch.arange(5))
    concat = build({})
    predicted, features = concat.predict(batch), concat.encode(batch)
    head = concat.fusion.head
    torch.testing.assert_close(predicted["audio"], features[0] @ head.weight[:, :8].T + head.bias)
    late = build({"fusion": "late", "late_train": "joint"})
    predicted, features = late.predict(batch), late.encode(batch)
    torch.testing.assert_close(predicted["video"], late.fusion.heads[1](features[1]))
    torch.testing.assert_close(predicted["multi"], (predicted["audio"] + predicted["video"]) / 2)


def test_js_alignment_compares_the_heads() -> None:
    method = build({"fusion": "late", "late_train": "joint", "alignment": "js"}, (8, 6))
    features = method.encode(toy_dataset().train.gather(torch.arange(10)))
    expected = js_alignment([head(x) for head, x in zip(method.fusion.heads, features, strict=True)])
    assert torch.equal(method.align(features), expected)
    assert len(method.projections) == 0


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"fusion": "late"}, "late_train: joint"),
        ({"alignment": "js"}, "fusion late"),
        ({"unimodal_source": "aux"}, "auxiliary"),
        ({"aux_detach": True}, "auxiliary"),
        ({"alpha_min": 0.9, "alpha_max": 0.1}, "alpha_min"),
        ({"alpha": 0.99, "alpha_max": 0.95}, "alpha_max"),
        ({"fusion": "affine", "unimodal_source": "native"}, "native"),
    ],
)
def test_what_cannot_be_trained_is_refused(hyperparameters: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        build(hyperparameters)


@pytest.mark.parametrize(
    "wrong",
    [
        {"tau": 0.0},
        {"alpha": 1.5},
        {"alpha": -0.1},
        {"lr_alpha": -1.0},
        {"lr_alpha_halve_every": 2.5},
        {"strategy": "linear"},
        {"neumann_steps": -1},
        {"neumann_eta": 0.0},
        {"hyper_batch_size": 0},
        {"alpha_max": 1.1},
        {"loss_scale": 0.0},
        {"proj_dim": 0},
    ],
)
def test_values_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        methods.get("lfa").Hyperparameters.model_validate(wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("lfa")
