"""IGM: its equations against naive loops, its phases, its steps against training written out by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.hand_driven_context import hand_driven_context
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import toy_dataset, toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.base import MethodError
from methods.base.phase import place_of, total_epochs
from methods.igm import (
    IGM,
    IGMHyperparameters,
    Turn,
    accumulate_cov,
    convolution,
    layers_in_scope,
    modifiable,
    project_gradient,
    projection_matrix,
    resolves,
    sam_perturbation,
    source_modality,
    turns,
)
from methods.igm.mixup import mixed_batch
from models import encoders
from models.batchnorm import SynchronizedBatchNorm
from sweep.training.recipe import Recipe

# The loop runs the budget once for each modality.
SHORT: dict[str, Any] = {"epochs": 2, "epochs_to_learn": 6}
VARIANTS = [
    Variant("defaults", **SHORT),
    Variant("sharpness", {"rho": 0.05}, modalities=3, **SHORT),
    Variant("samples", {"rho": 0.05, "cov_mode": "samples", "gm_scope": 1.0}, **SHORT),
    Variant(
        "mixup",
        {"rho": 0.05, "mixup_alpha": 1.0, "flat_ratio": 0.3, "sam_per_tensor": True, "late_fusion": "mean"},
        **SHORT,
    ),
    Variant(
        "accumulated",
        {"use_sam": False, "gm_from": {"audio": False}, "cov_accumulate": True, "cov_batches": 2},
        modalities=3,
        **SHORT,
    ),
]


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# Covariances ---------------------------------------------------------------------------------------------------


def test_covariance_of_linear_inputs() -> None:
    x = torch.tensor([[1.0, 2.0], [3.0, -4.0]])
    assert accumulate_cov(None, x).tolist() == [[4.0, -2.0], [-2.0, 1.0]]
    assert accumulate_cov(None, x, mode="samples").tolist() == [[10.0, -10.0], [-10.0, 20.0]]
    start = torch.ones(2, 2)
    assert accumulate_cov(start, x).tolist() == [[5.0, -1.0], [-1.0, 2.0]]
    assert start.tolist() == [[1.0, 1.0], [1.0, 1.0]]
    with pytest.raises(ValueError, match="mean"):
        accumulate_cov(None, x, mode="mean")


def test_leading_dimensions_become_rows_after_the_batch_mean() -> None:
    x = draw(4, 3, 2)
    means = x.mean(0)
    torch.testing.assert_close(accumulate_cov(None, x), sum(torch.outer(row, row) for row in means))
    rows = x.reshape(12, 2)
    torch.testing.assert_close(accumulate_cov(None, x, mode="samples"), sum(torch.outer(row, row) for row in rows))


@pytest.mark.parametrize("mode", ["batch_mean", "samples"])
def test_covariance_of_patches(mode: str) -> None:
    x, kernel, stride, padding = draw(3, 2, 5, 4), (3, 2), (2, 1), (1, 0)
    images = [x.mean(0)] if mode == "batch_mean" else list(x)
    expected = torch.zeros(12, 12, dtype=x.dtype)
    for image in images:
        padded = torch.zeros(2, 7, 4, dtype=x.dtype)
        padded[:, 1:6] = image
        for top in (0, 2, 4):
            for left in (0, 1, 2):
                patch = [padded[c, top + i, left + j] for c in range(2) for i in range(3) for j in range(2)]
                expected += torch.outer(torch.stack(patch), torch.stack(patch))
    conv = {"kernel_size": list(kernel), "stride": list(stride), "padding": list(padding)}
    torch.testing.assert_close(accumulate_cov(None, x, conv, mode), expected)


# T and projected gradients -------------------------------------------------------------------------------------


def covariance(size: int, rank: int, seed: int) -> Tensor:
    rows = draw(rank, size, seed=seed)
    return rows.T @ rows


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 6), st.floats(1e-3, 20.0))
def test_projection_shrinks_sharp_directions_and_blocks_none(seed: int, size: int, rank: int, tau: float) -> None:
    cov = covariance(size, rank, seed)
    matrix = projection_matrix(cov, tau)
    assert torch.equal(matrix, matrix.T)
    values = torch.linalg.eigvalsh(matrix)
    assert float(values[0]) == pytest.approx(math.exp(-tau), abs=1e-9)
    assert float(values[-1]) == pytest.approx(1, abs=1e-9)
    flattest, sharpest = torch.linalg.eigh(cov).eigenvectors[:, [0, -1]].T
    torch.testing.assert_close(matrix @ flattest, flattest, atol=1e-6, rtol=0)
    torch.testing.assert_close(matrix @ sharpest, math.exp(-tau) * sharpest, atol=1e-6, rtol=0)
    torch.testing.assert_close(projection_matrix(1e-6 * cov, tau), matrix, atol=1e-6, rtol=1e-6)
    gradient = draw(3, size, seed=seed + 1)
    projected = project_gradient(gradient, matrix)
    assert projected.norm() <= gradient.norm() * (1 + 1e-9)
    assert (projected * gradient).sum() > 0


def test_projection_of_a_known_matrix() -> None:
    turn = torch.tensor([[0.6, -0.8], [0.8, 0.6]], dtype=torch.float64)
    cov = turn @ torch.diag(torch.tensor([1.0, 5.0], dtype=torch.float64)) @ turn.T
    expected = turn @ torch.diag(torch.tensor([1.0, math.exp(-0.4)], dtype=torch.float64)) @ turn.T
    torch.testing.assert_close(projection_matrix(cov, 0.4), expected)
    skewed = cov + torch.tensor([[0.0, 7.0], [-7.0, 0.0]], dtype=torch.float64)
    torch.testing.assert_close(projection_matrix(skewed, 0.4), expected)
    assert projection_matrix(cov.float(), 0.4).dtype == torch.float32
    halfway = torch.diag(torch.tensor([1.0, 3.0, 5.0], dtype=torch.float64))
    torch.testing.assert_close(projection_matrix(halfway, 2.0).diagonal(), torch.tensor([0.0, -1, -2]).double().exp())


def test_projection_tends_to_the_identity_with_tau() -> None:
    cov = covariance(5, 3, 0)
    identity = torch.eye(5, dtype=cov.dtype)
    distances = [float((projection_matrix(cov, tau) - identity).norm()) for tau in (1.0, 1e-2, 1e-4)]
    assert distances[0] > distances[1] > distances[2]
    assert distances[2] < 1e-3


def test_projection_is_the_identity_where_nothing_can_be_told() -> None:
    identity = torch.eye(3)
    broken = identity.clone()
    broken[0, 1] = torch.nan
    for cov in (torch.zeros(3, 3), 7 * identity, broken, torch.full((3, 3), torch.inf)):
        assert torch.equal(projection_matrix(cov, 0.4), identity)
    assert torch.equal(projection_matrix(covariance(3, 2, 0).float(), 0.0), identity)
    with pytest.raises(ValueError, match="tau"):
        projection_matrix(identity, -0.1)


def test_project_gradient_multiplies_from_the_right_in_the_shape_of_the_weight() -> None:
    gradient, matrix = draw(2, 3, 2, 2), draw(12, 12, seed=1)
    expected = (gradient.reshape(2, 12) @ matrix).reshape(2, 3, 2, 2)
    assert torch.equal(project_gradient(gradient, matrix), expected)
    with pytest.raises(ValueError, match="12"):
        project_gradient(gradient, torch.eye(11))


def test_sam_perturbation_has_one_norm_or_one_a_tensor() -> None:
    grads = [torch.tensor([3.0, 0.0]), torch.tensor([[4.0]])]
    copies = [g.clone() for g in grads]
    joint = sam_perturbation(grads, 0.5)
    torch.testing.assert_close(joint, [torch.tensor([0.3, 0.0]), torch.tensor([[0.4]])])
    each = sam_perturbation(grads, 0.5, per_tensor=True)
    torch.testing.assert_close(each, [torch.tensor([0.5, 0.0]), torch.tensor([[0.5]])])
    assert all(torch.equal(g, c) for g, c in zip(grads, copies, strict=True))
    zeros = [torch.zeros(2), torch.zeros(1, 1)]
    assert all(torch.equal(e, z) for e, z in zip(sam_perturbation(zeros, 0.5), zeros, strict=True))
    partly = sam_perturbation([zeros[0], grads[1]], 0.5, per_tensor=True)
    torch.testing.assert_close(partly, [torch.zeros(2), torch.tensor([[0.5]])])


def test_source_modality_is_the_cyclic_predecessor() -> None:
    assert [source_modality(j, 2) for j in (1, 2)] == [2, 1]
    assert [source_modality(j, 3) for j in (1, 2, 3)] == [3, 1, 2]
    for j, m in ((1, 1), (0, 2), (3, 2)):
        with pytest.raises(ValueError, match="predecessor"):
            source_modality(j, m)


@pytest.mark.parametrize(
    ("counts", "scope", "expected"),
    [
        ([50, 30, 20], 0.0, [False, False, False]),
        ([50, 30, 20], -1.0, [False, False, False]),
        ([50, 30, 20], 0.01, [False, False, True]),
        ([50, 30, 20], 0.2, [False, False, True]),
        ([50, 30, 20], 0.21, [False, True, True]),
        ([50, 30, 20], 0.5, [False, True, True]),
        ([50, 30, 20], 1.0, [True, True, True]),
        ([1, 1, 1], 1 / 3, [False, False, True]),
        ([], 0.5, []),
    ],
)
def test_layers_in_scope(counts: list[int], scope: float, expected: list[bool]) -> None:
    assert layers_in_scope(counts, scope) == expected


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=8), st.floats(1e-3, 1.0))
def test_the_scope_is_the_shortest_end_that_reaches_the_share(counts: list[int], scope: float) -> None:
    marked = layers_in_scope(counts, scope)
    first = marked.index(True)
    assert marked == [position >= first for position in range(len(counts))]
    wanted = scope * sum(counts) * (1 - 1e-9)
    assert sum(counts[first:]) >= wanted
    assert sum(counts[first + 1 :]) < wanted


@given(st.integers(2, 9))
def test_every_modality_is_the_source_of_exactly_one_other(count: int) -> None:
    sources = [source_modality(j, count) for j in range(1, count + 1)]
    assert sorted(sources) == list(range(1, count + 1))
    assert all(source % count + 1 == j for j, source in enumerate(sources, 1))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.floats(1e-6, 10.0), st.booleans())
def test_perturbations_have_norm_rho_and_point_uphill(seed: int, rho: float, per_tensor: bool) -> None:
    grads = [draw(3, 2, seed=seed), draw(4, seed=seed + 1)]
    shifts = sam_perturbation(grads, rho, per_tensor)
    norms = [shift.norm() for shift in shifts]
    total = rho * math.sqrt(2) if per_tensor else rho
    assert float(torch.stack(norms).norm()) == pytest.approx(total)
    for grad, shift in zip(grads, shifts, strict=True):
        assert float((grad * shift).sum()) == pytest.approx(float(grad.norm() * shift.norm()))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5), st.sampled_from(["batch_mean", "samples"]))
def test_covariances_are_symmetric_positive_and_add_up(seed: int, size: int, mode: str) -> None:
    first, second = draw(size, 2, 4, seed=seed), draw(size, 2, 4, seed=seed + 1)
    cov = accumulate_cov(accumulate_cov(None, first, mode=mode), second, mode=mode)
    torch.testing.assert_close(cov, accumulate_cov(None, first, mode=mode) + accumulate_cov(None, second, mode=mode))
    torch.testing.assert_close(cov, cov.T)
    assert torch.linalg.eigvalsh(cov)[0] > -1e-9


# Which layers --------------------------------------------------------------------------------------------------


class Images(nn.Module):
    """A small convolutional encoder of [B, 1, 4, 4] images."""

    out_dim = 6

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.norm = SynchronizedBatchNorm(4)
        self.second = nn.Conv2d(4, 6, 2, stride=2, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.first(x)).relu()).mean((2, 3))


def image_dataset(samples: int = 20) -> Dataset:
    def split(size: int, seed: int) -> Split:
        inputs = {m: draw(size, 1, 4, 4, seed=seed + k).float() for k, m in enumerate(("rgb", "depth"))}
        return Split(inputs, torch.arange(size) % 3)

    return Dataset("images", ("rgb", "depth"), ("a", "b", "c"), split(samples, 0), split(6, 2), split(6, 4))


class Session:
    """A method on the image dataset with its context, epoch by epoch, as the training loop would call it."""

    def __init__(self, hyperparameters: dict[str, Any], groups: int = 1, epochs: int = 2, **recipe: Any) -> None:
        torch.manual_seed(1)
        self.dataset = image_dataset()
        chosen = IGMHyperparameters.model_validate({"out_iters": 1, **hyperparameters})
        self.method = IGM({m: Images(groups) for m in self.dataset.modalities}, 3, chosen, epochs)
        self.lines: list[str] = []
        settings = Recipe(**{"batch_size": 8, "lr": 0.1, **recipe})
        self.context = hand_driven_context(self.method, self.dataset, settings, 5, warn=self.lines.append)
        self.method.on_fit_start(self.context)

    def start(self, epoch: int) -> None:
        self.context.begin_epoch(epoch)

    def batches(self) -> Any:
        return self.context.training_batches(self.method.sampler(self.context), False)

    def epoch(self, number: int) -> None:
        self.start(number)
        for batch in self.batches():
            self.method.training_step(batch, self.context)
        self.method.on_epoch_end(self.context)

    def state(self) -> dict[str, Tensor]:
        return {k: v.clone() for k, v in self.method.state_dict().items() if torch.is_tensor(v)}


def test_the_published_head_is_1_3_percent_of_resnet18() -> None:
    modules = {m: nn.Linear(3, 512) for m in ("audio", "video")}
    for encoder in modules.values():
        encoder.out_dim = 512
    method = IGM(modules, 6, IGMHyperparameters(), 2)
    head = sum(p.numel() for p in method.heads["audio"].parameters())
    assert head == 148_166
    assert head / (11_176_512 + head) == pytest.approx(0.0131, abs=5e-5)
    assert method.modified["audio"] == ["head.0", "head.2", "head.3"]


@pytest.mark.parametrize(("scope", "first"), [(0.1, "layer4.1.conv2"), (0.5, "layer4.0"), (1.0, "conv1")])
def test_scope_of_a_resnet_reaches_back_from_its_output(scope: float, first: str) -> None:
    shapes = {"audio": (1, 33, 17), "video": (3, 32, 32)}
    modules = {m: encoders.build(encoders.resolve("resnet18"), shape) for m, shape in shapes.items()}
    method = IGM(modules, 6, IGMHyperparameters(gm_scope=scope), 2)
    layers = method.layers_in_scope("video")
    assert next(iter(layers)).startswith(f"encoder.backbone.{first}")
    assert list(layers)[-1] == "head.3"
    branch = method.branch("video")
    in_scope, total = (
        sum(p.numel() for x in part for p in x.parameters(recurse=False))
        for part in (layers.values(), branch.modules())
    )
    assert scope <= in_scope / total
    modified = method.modified["video"]
    assert modified == method.modified["audio"]
    assert [path for path in modified if not modifiable(layers[path])] == []
    # Batch norms count but stay; the first convolutions differ in their channels.
    assert "encoder.backbone.conv1" not in modified
    assert len(modified) == sum(modifiable(layer) for layer in layers.values()) - (scope == 1.0)


@pytest.mark.parametrize(
    ("scope", "in_scope", "modified"),
    [
        ("head", ["head.0", "head.2", "head.3"], ["head.0", "head.2", "head.3"]),
        (0.0, [], []),
        (0.5, ["head.2", "head.3"], ["head.2", "head.3"]),
        (
            1.0,
            ["encoder.first", "encoder.norm", "encoder.second", "head.0", "head.2", "head.3"],
            ["encoder.first", "encoder.second", "head.0", "head.2", "head.3"],
        ),
    ],
)
def test_scope_counts_normalisation_but_leaves_it_unmodified(
    scope: float | str, in_scope: list[str], modified: list[str]
) -> None:
    method = Session({"gm_scope": scope}).method
    assert list(method.layers_in_scope("rgb")) == in_scope
    assert method.modified["rgb"] == method.modified["depth"] == modified


def test_layers_without_a_partner_of_equal_shape_stay_unmodified() -> None:
    shapes, widths = toy_dataset().shapes(), {"audio": 8, "video": 5}
    spec = {m: encoders.resolve({"name": "mlp", "width": w}) for m, w in widths.items()}
    modules = {m: encoders.build(spec[m], shapes[m]) for m in widths}
    method = IGM(modules, 4, IGMHyperparameters(gm_scope=1.0), 2)
    assert method.modified["audio"] == method.modified["video"] == ["head.2", "head.3"]


@pytest.mark.parametrize(
    ("layer", "padding"),
    [
        (nn.Conv2d(2, 3, 3, padding=1), (1, 1)),
        (nn.Conv2d(2, 3, 3, padding="same"), (1, 1)),
        (nn.Conv2d(2, 3, (5, 7), padding="same"), (2, 3)),
        (nn.Conv2d(2, 3, 4, padding="valid"), (0, 0)),
        (nn.Conv2d(2, 3, 4, padding="same"), None),
        (nn.Conv2d(2, 4, 3, groups=2), None),
        (nn.Conv2d(2, 3, 3, dilation=2), None),
        (nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), None),
        (nn.Conv3d(2, 3, 3), None),
        (nn.Linear(2, 3), None),
    ],
)
def test_convolutions_that_can_be_modified(layer: nn.Module, padding: tuple[int, int] | None) -> None:
    found = convolution(layer)
    assert (found and found["padding"]) == padding
    if found is not None:
        x = draw(1, 2, 6, 6).float()
        patches = F.unfold(x, found["kernel_size"], padding=found["padding"], stride=found["stride"])
        by_hand = layer.weight.flatten(1) @ patches[0] + layer.bias.unsqueeze(1)
        torch.testing.assert_close(by_hand, layer(x)[0].flatten(1))


def test_kinds_that_stay_unmodified_are_named_once() -> None:
    grouped = Session({"gm_scope": 1.0, "use_sam": False}, groups=2)
    assert len(grouped.lines) == 1
    assert "Conv2d" in grouped.lines[0]
    assert "encoder.second" not in grouped.method.modified["rgb"]
    assert Session({"gm_scope": 1.0, "use_sam": False}).lines == []


# Phases --------------------------------------------------------------------------------------------------------


def test_phases_share_the_budget() -> None:
    phases = Session({"out_iters": 2}, epochs=5).method.phases
    assert [(p.name, p.epochs, p.groups, p.info) for p in phases] == [
        ("cycle 1 rgb", 2, {"rgb": 1.0}, Turn(1, 1, "rgb")),
        ("cycle 1 depth", 2, {"depth": 1.0}, Turn(2, 1, "depth")),
        ("cycle 2 rgb", 2, {"rgb": 1.0}, Turn(3, 2, "rgb")),
        ("cycle 2 depth", 2, {"depth": 1.0}, Turn(4, 2, "depth")),
    ]
    assert all(p.budget and p.name == p.optimizer_name == p.schedule_name for p in phases)
    assert total_epochs(Session({"out_iters": 6}, epochs=2).method.phases) == 12


def test_no_epoch_is_selectable_before_every_modality_has_its_turn() -> None:
    phases = turns(("a", "b", "c"), (1, 3, 2), 2, 0.5)
    assert [p.selectable for p in phases] == ["none", "none", "all", "all", "all", "all"]
    assert [p.epochs for p in phases] == [1, 3, 2] * 2
    training = toy_training("igm", {"inner_epochs": [2, 1]}, epochs=3)
    assert [record.selectable for record in training.epochs()] == [None, None, 1, 2, 3, 4]
    assert training.result().selected_epoch > 2


def test_inner_epochs_and_order_are_those_given() -> None:
    session = Session({"inner_epochs": [1, 3], "modality_order": ["depth", "rgb"], "out_iters": 2})
    phases = session.method.phases
    assert [p.epochs for p in phases] == [1, 3, 1, 3]
    places = [place_of(phases, epoch) for epoch in range(1, 6)]
    assert [place.phase.info.modality for place in places] == ["depth", "rgb", "rgb", "rgb", "depth"]
    assert [place.phase_epoch for place in places] == [1, 1, 2, 3, 1]
    assert [p.epochs for p in Session({"inner_epochs": [0.25, 0.5]}, epochs=8).method.phases] == [2, 4]


def test_each_phase_has_a_fresh_optimizer_over_one_branch() -> None:
    session = Session({"use_sam": False}, epochs=2)
    groups = session.context.groups
    session.epoch(1)
    first = groups.optimizer
    session.start(2)
    assert groups.optimizer is first
    session.start(3)
    assert groups.optimizer is not first
    assert not groups.optimizer.state
    trained = list(map(id, session.method.branch("depth").parameters()))
    assert [id(p) for group in groups.optimizer.param_groups for p in group["params"]] == trained
    assert list(map(id, groups.parameters)) == trained
    resting = session.method.branch("rgb")
    assert not any(p.requires_grad or p.grad is not None for p in resting.parameters())
    assert not any(module.training for part in resting.values() for module in part.modules())


def test_passes_are_counted() -> None:
    assert [p.passes for p in Session({"sam_pass": "always"}).method.phases] == [1, 1]
    assert [p.passes for p in Session({}).method.phases] == [0.5, 0.5]
    assert [p.passes for p in Session({"rho": {"rgb": 0.05, "depth": 1e-15}}).method.phases] == [1, 0.5]
    assert [p.passes for p in Session({"use_sam": False}).method.phases] == [0.5, 0.5]
    # Three phases of one epoch, two passes through one branch of three a step, one in the covariance pass after it.
    training = toy_training("igm", {"rho": 0.05, "out_iters": 1}, modalities=3, epochs=1)
    assert [record.forward_passes for record in training.epochs()] == pytest.approx([45, 90, 135])
    training = toy_training("igm", {"use_sam": False, "gm_scope": 0.0}, epochs=2)
    assert [record.forward_passes for record in training.epochs()][-1] == 4 * 45 / 2


@pytest.mark.parametrize("off", [{"gm_scope": 0.0}, {"tau": 0.0}, {"gm_from": {"rgb": False, "depth": False}}])
def test_without_sam_and_modification_this_is_alternating_unimodal_training(off: dict[str, Any]) -> None:
    session = Session({"use_sam": False, "out_iters": 2, **off}, epochs=2)
    by_hand = Session({"use_sam": False})
    by_hand.context.groups.wake()
    twin = by_hand.method
    for epoch, modality in enumerate(["rgb", "depth", "rgb", "depth"], 1):
        other = "depth" if modality == "rgb" else "rgb"
        before = session.state()
        session.epoch(epoch)
        for name, value in session.state().items():
            if f".{other}." in name:
                assert torch.equal(value, before[name])

        branch = nn.Sequential(twin.encoders[modality], twin.heads[modality]).train()
        optimizer = torch.optim.SGD(branch.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-4, fused=True)
        order = torch.randperm(20, generator=session.context.generator("order", epoch))
        for index in order.split(8):
            optimizer.zero_grad()
            F.cross_entropy(branch(session.dataset.train.inputs[modality][index]), index % 3).backward()
            optimizer.step()
    expected = twin.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in session.state().items())


# Sharpness-aware steps -----------------------------------------------------------------------------------------


def one_step(session: Session) -> dict[str, Tensor]:
    """Gradients that the first step of training leaves behind."""
    session.start(1)
    session.method.training_step(next(session.batches()), session.context)
    return {name: p.grad.clone() for name, p in session.method.branch("rgb").named_parameters() if p.grad is not None}


@pytest.mark.parametrize("per_tensor", [False, True])
def test_sam_step_comes_back_exactly_and_counts_statistics_once(per_tensor: bool) -> None:
    session, plain = Session({"rho": 0.3, "sam_per_tensor": per_tensor}), Session({"use_sam": False})
    before = {name: p.detach().clone() for name, p in session.method.named_parameters()}
    for each in (session, plain):
        each.start(1)
        for group in each.context.groups.optimizer.param_groups:
            group["lr"] = 0.0
        each.method.training_step(next(each.batches()), each.context)
    assert all(torch.equal(p, before[name]) for name, p in session.method.named_parameters())
    buffers = dict(plain.method.named_buffers())
    assert all(torch.equal(b, buffers[name]) for name, b in session.method.named_buffers())
    assert session.method.encoders["rgb"].norm.num_batches_tracked == 1
    assert session.method.diagnostics()["weights_moved"] > 0.5


def test_sam_gradient_is_taken_at_the_perturbed_weights() -> None:
    plain = one_step(Session({"use_sam": False}))
    reference = Session({"use_sam": False})
    reference.start(1)
    batch = next(reference.batches())
    shifts = sam_perturbation(list(plain.values()), 0.3)
    assert math.sqrt(sum(float(s.square().sum()) for s in shifts)) == pytest.approx(0.3)
    branch = reference.method.branch("rgb")
    with torch.no_grad():
        for parameter, shift in zip(branch.parameters(), shifts, strict=True):
            parameter += shift
    F.cross_entropy(reference.method.branch_logits("rgb", batch), batch.labels).backward()
    sharp = {name: p.grad for name, p in branch.named_parameters()}
    found, mixed = (
        one_step(Session({"rho": 0.3})),
        one_step(Session({"rho": {"rgb": 0.3, "depth": 9.0}, "flat_ratio": 0.3})),
    )
    for name in plain:
        torch.testing.assert_close(found[name], sharp[name])
        torch.testing.assert_close(mixed[name], 0.7 * plain[name] + 0.3 * sharp[name])
    assert not torch.allclose(sharp["head.0.weight"], plain["head.0.weight"], rtol=1e-2)


def test_a_radius_below_float32_is_reported_once_and_moves_almost_nothing() -> None:
    session = Session({"rho": {"rgb": 1e-12, "depth": 0.1}, "sam_pass": "always"})
    assert len(session.lines) == 1
    assert "1e-12" in session.lines[0]
    one_step(session)
    assert 0 < session.method.diagnostics()["weights_moved"] < 0.1
    assert Session({"rho": 0.05}).lines == Session({"use_sam": False}).lines == []


def test_a_pass_that_no_weight_would_notice_is_left_out_and_the_log_says_so() -> None:
    session = Session({"rho": {"rgb": 1e-12, "depth": 0.1}})
    assert session.method.unresolved == {"rgb"}
    (line,) = session.lines
    assert "1e-12" in line
    assert "rgb" in line
    assert "sam_pass: always" in line
    found, plain = one_step(session), one_step(Session({"use_sam": False}))
    assert all(torch.equal(found[name], gradient) for name, gradient in plain.items())
    assert session.method.diagnostics()["weights_moved"] == 0


def test_what_is_decided_at_the_start_holds_for_a_resumed_run() -> None:
    session, fresh = Session({}), Session({"rho": 0.05})
    with torch.no_grad():
        for parameter in session.method.parameters():
            parameter.mul_(1e-6)
    fresh.method.load_state_dict(session.method.state_dict())
    assert fresh.method.unresolved == session.method.unresolved == {"rgb", "depth"}
    assert fresh.method.phases == session.method.phases
    earlier = session.method.get_extra_state()[:2]
    fresh.method.set_extra_state(earlier)
    assert fresh.method.unresolved == frozenset()
    assert [phase.passes for phase in fresh.method.phases] == [1, 1]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_tensor_resolves_half_a_unit_in_its_last_place(dtype: torch.dtype) -> None:
    half = torch.finfo(dtype).eps / 2
    # Root mean squares of 1 and 1.5 have one last place; 4 weights share out a radius.
    for weights, smallest in (([1.0, -1.0, 1.0, -1.0], 2 * half), ([1.5], half), ([0.75], half / 2), ([2.0], 2 * half)):
        tensor = torch.tensor(weights, dtype=dtype)
        assert bool(resolves([tensor], smallest))
        assert not bool(resolves([tensor], 0.99 * smallest))
        assert bool(resolves([tensor, torch.full((1,), 1e-9, dtype=dtype)], 0.99 * smallest))
        # Zeros, as a bias begins, have no resolution of their own.
        assert not bool(resolves([tensor, torch.zeros(1, dtype=dtype)], half / 8))
    assert not bool(resolves([torch.zeros(3, dtype=dtype)], 0.0))


# Mixup ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sam", [{"use_sam": False}, {"rho": 0.3}])
def test_mixup_mixes_inputs_and_labels_alike_in_both_losses(sam: dict[str, Any]) -> None:
    session, reference = Session({"mixup_alpha": 0.7, **sam}), Session({"use_sam": False})
    found = one_step(session)
    reference.start(1)
    batch = next(reference.batches())
    alpha = session.method.hyperparameters.mixup_alpha
    mixed = mixed_batch(batch, "rgb", alpha, session.context)  # the first step is over, so this is another draw
    session.context.budget_step = 0
    again = mixed_batch(batch, "rgb", alpha, session.context)
    assert again.share != mixed.share
    assert 0 < again.share < 1

    partner = session.context.sample_numbers("igm mixup", 1).squeeze(1).argsort()
    assert not torch.equal(partner, torch.arange(8))
    x, y = batch.inputs["rgb"], batch.labels
    inputs = again.share * x + (1 - again.share) * x[partner]
    assert torch.equal(again.batch.inputs["rgb"], inputs)
    assert torch.equal(again.partner_labels, y[partner])
    assert torch.equal(again.batch.inputs["depth"], batch.inputs["depth"])
    soft = again.share * F.one_hot(y, 3) + (1 - again.share) * F.one_hot(y[partner], 3)
    branch = reference.method.branch("rgb")

    def gradient() -> dict[str, Tensor]:
        branch.zero_grad()
        F.cross_entropy(branch["head"](branch["encoder"](inputs)), soft).backward()
        return {name: p.grad.clone() for name, p in branch.named_parameters()}

    expected = gradient()
    if sam.get("use_sam", True):
        with torch.no_grad():
            for parameter, shift in zip(
                branch.parameters(), sam_perturbation(list(expected.values()), 0.3), strict=True
            ):
                parameter += shift
        expected = gradient()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-4)


def test_mixup_leaves_whole_numbers_alone() -> None:
    class Words(nn.Module):
        out_dim = 4

        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.table(x).mean(1)

    inputs = {m: torch.randint(9, (8, 5), generator=torch.Generator().manual_seed(k)) for k, m in enumerate("ab")}
    split = Split(inputs, torch.arange(8) % 3)
    dataset = Dataset("words", ("a", "b"), ("x", "y", "z"), split, split, split)
    method = IGM({m: Words() for m in "ab"}, 3, IGMHyperparameters(mixup_alpha=1.0), 2)
    lines: list[str] = []
    context = hand_driven_context(method, dataset, Recipe(), 5, warn=lines.append)
    batch = split.gather(torch.arange(8))
    for _ in range(2):
        mixed = mixed_batch(batch, "a", method.hyperparameters.mixup_alpha, context)
    assert mixed.batch is batch
    assert mixed.share == 1
    assert len(lines) == 1
    assert "mixup_alpha leaves a alone" in lines[0]


# Modification --------------------------------------------------------------------------------------------------


def gradients(session: Session, epoch: int, modality: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradients of an epoch's first step as the optimizer sees them, and as they were before modification."""
    session.start(epoch)
    batch = next(session.batches())
    branch = session.method.branch(modality)
    F.cross_entropy(session.method.branch_logits(modality, batch), batch.labels).backward()
    plain = {name: p.grad.clone() for name, p in branch.named_parameters()}
    session.method.training_step(batch, session.context)
    return {name: p.grad.clone() for name, p in branch.named_parameters()}, plain


@pytest.mark.parametrize("mode", ["batch_mean", "samples"])
def test_gradients_are_modified_by_the_predecessors_matrices(mode: str) -> None:
    session = Session({"use_sam": False, "gm_scope": 1.0, "cov_mode": mode, "cov_batch_size": 6}, epochs=1)
    found, plain = gradients(session, 1, "rgb")
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    session.epoch(1)

    inputs: dict[str, list[Tensor]] = {"encoder.second": [], "head.0": [], "head.3": []}
    method = session.method.eval()
    order = torch.randperm(20, generator=session.context.generator("igm covariance", 1))
    for index in order.split(6):
        encoder, head = method.encoders["rgb"], method.heads["rgb"]
        maps = encoder.norm(encoder.first(session.dataset.train.inputs["rgb"][index])).relu()
        inputs["encoder.second"].append(maps.detach())
        features = encoder.second(maps).mean((2, 3))
        inputs["head.0"].append(features.detach())
        inputs["head.3"].append(head[:3](features).detach())
    matrices = {}
    for path, batches in inputs.items():
        cov = None
        geometry = {"kernel_size": (2, 2), "stride": (2, 2), "padding": (0, 0)} if "second" in path else None
        for x in batches:
            cov = accumulate_cov(cov, x, geometry, mode)
        assert cov is not None
        matrices[path] = projection_matrix(cov, 0.4)
        torch.testing.assert_close(session.method.matrices[f"rgb.{path}"], matrices[path], atol=1e-4, rtol=1e-4)

    found, plain = gradients(session, 2, "depth")
    for path, matrix in matrices.items():
        expected = (plain[f"{path}.weight"].flatten(1) @ matrix).view_as(plain[f"{path}.weight"])
        torch.testing.assert_close(found[f"{path}.weight"], expected, atol=1e-5, rtol=1e-3)
        assert not torch.allclose(expected, plain[f"{path}.weight"], rtol=1e-2)
        assert torch.equal(found[f"{path}.bias"], plain[f"{path}.bias"])
    assert torch.equal(found["encoder.norm.weight"], plain["encoder.norm.weight"])


def test_modification_can_be_switched_off_by_where_it_comes_from() -> None:
    session = Session({"use_sam": False, "gm_from": {"rgb": False}, "out_iters": 2})
    session.epoch(1)
    found, plain = gradients(session, 2, "depth")
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    session.epoch(2)
    found, plain = gradients(session, 3, "rgb")
    assert not torch.equal(found["head.0.weight"], plain["head.0.weight"])


def test_the_covariance_pass_leaves_everything_as_it_was() -> None:
    session = Session({"gm_scope": 1.0, "rho": 0.05})
    session.epoch(1)
    before = session.state()
    noise = torch.get_rng_state()
    found = session.method.covariance_pass("rgb", session.context)
    assert all(torch.equal(value, before[name]) for name, value in session.state().items())
    assert torch.equal(torch.get_rng_state(), noise)
    assert session.method.training
    assert not any(module._forward_pre_hooks for module in session.method.modules())
    assert {path: len(cov) for path, cov in found.items()} == {
        "encoder.first": 9, "encoder.second": 16, "head.0": 6, "head.2": 256, "head.3": 64
    }  # fmt: skip


def test_covariances_are_of_inputs_however_few_the_outputs_are(monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session({"rho": 0.05})
    session.epoch(1)
    found = session.method.covariance_pass("rgb", session.context)
    weight = session.method.weight
    monkeypatch.setattr(session.method, "weight", lambda modality, path: weight(modality, path)[:1])
    for path, cov in session.method.covariance_pass("rgb", session.context).items():
        torch.testing.assert_close(cov, found[path])


def test_covariances_start_anew_or_accumulate_and_may_see_few_batches() -> None:
    base = {"rho": 0.05, "out_iters": 2, "cov_batch_size": 4}
    fresh, summed = Session(base), Session({**base, "cov_accumulate": True})
    few = Session({**base, "cov_batches": 2, "gm_scope": "head"})
    for session in (fresh, summed):
        session.epoch(1)
    assert torch.equal(fresh.method.matrices["rgb.head.0"], summed.method.matrices["rgb.head.0"])
    first = summed.method.covariances["rgb.head.0"]
    summed.epoch(2)
    summed.epoch(3)
    second = summed.method.covariance_pass("rgb", summed.context)["head.0"]
    torch.testing.assert_close(summed.method.covariances["rgb.head.0"], first + second)
    assert fresh.method.covariances == {}
    few.context.epoch = 1
    taken: list[int] = []
    few.method.encoders["rgb"].register_forward_pre_hook(lambda _, x: taken.append(len(x[0])))
    few.method.covariance_pass("rgb", few.context)
    assert taken == [4, 4]


def test_diagnostics_tell_the_phase_and_the_singular_values() -> None:
    session = Session({"rho": 0.05, "inner_epochs": [2, 1]})
    session.epoch(1)
    found = session.method.diagnostics()
    assert found.keys() == {"cycle", "phase", "phase_end", "modality", "weights_moved"}
    assert found["phase_end"] == 0
    session.epoch(2)
    found = session.method.diagnostics()
    assert found["phase_end"] == 1
    cov = session.method.covariance_pass("rgb", session.context)["head.3"]
    expected = float(torch.linalg.svdvals(cov.double()).mean())
    assert found["mean_singular_value_head.3"] == pytest.approx(expected, rel=1e-4)
    session.epoch(3)
    found = session.method.diagnostics()
    assert (found["cycle"], found["phase"], found["phase_end"], found["modality"]) == (1, 2, 1, 1)


def test_the_interaction_table_can_be_drawn_from_the_records() -> None:
    training = toy_training("igm", {"rho": 0.05, "inner_epochs": [1, 2]}, epochs=3)
    ends = [record for record in training.epochs() if record.diagnostics["phase_end"]]
    assert [record.epoch for record in ends] == [1, 3, 4, 6]
    stages = [(record.diagnostics["cycle"], record.diagnostics["modality"]) for record in ends]
    assert stages == [(1, 0), (1, 1), (2, 0), (2, 1)]
    columns = {"validation_accuracy", "validation_accuracy_audio", "validation_accuracy_video"}
    assert all(columns <= record.metrics.keys() for record in ends)
    # A phase trains one branch alone: the other's own accuracy stays.
    assert ends[0].metrics["validation_accuracy_audio"] == ends[1].metrics["validation_accuracy_audio"]
    assert ends[1].metrics["validation_accuracy_video"] == ends[2].metrics["validation_accuracy_video"]


def test_state_brings_back_the_matrices() -> None:
    session, fresh = (Session({"rho": 0.05, "cov_accumulate": True}, epochs=1) for _ in range(2))
    session.epoch(1)
    fresh.method.load_state_dict(session.method.state_dict())
    for kept, found in (
        (session.method.matrices, fresh.method.matrices),
        (session.method.covariances, fresh.method.covariances),
    ):
        assert kept.keys() == found.keys() == {"rgb.head.0", "rgb.head.2", "rgb.head.3"}
        assert all(torch.equal(kept[key], found[key]) for key in kept)


# Inference -----------------------------------------------------------------------------------------------------


def test_fused_predictions() -> None:
    for late_fusion in ("mla", "mean"):
        method = Session({"late_fusion": late_fusion}).method.eval()
        predicted = method.predict(image_dataset().test.gather(torch.arange(6)))
        fused = predicted["multi"].softmax(1)
        torch.testing.assert_close(fused.sum(1), torch.ones(6))
        own = torch.stack([predicted[m].softmax(1) for m in ("rgb", "depth")])
        if late_fusion == "mean":
            torch.testing.assert_close(fused, own.mean(0))
        else:
            weights = (own * own.log()).sum(2).softmax(0).unsqueeze(2)
            logits = torch.stack([predicted[m] for m in ("rgb", "depth")])
            torch.testing.assert_close(predicted["multi"], (weights * logits).sum(0))


def test_three_modalities_are_trained_in_a_cycle() -> None:
    training = toy_training("igm", {"rho": 0.05, "out_iters": 1}, modalities=3, epochs=1)
    records = list(training.epochs())
    assert [int(record.diagnostics["modality"]) for record in records] == [0, 1, 2]
    assert [record.phase for record in records] == [f"cycle 1 {m}" for m in ("audio", "video", "text")]
    assert {training.method.predecessor(m): m for m in ("audio", "video", "text")} == {
        "text": "audio", "audio": "video", "video": "text"
    }  # fmt: skip


# What is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hyperparameters", "modalities", "message"),
    [
        ({}, ("rgb",), "at least 2"),
        ({"rho": {"rgb": 0.1}}, ("rgb", "depth"), "rho"),
        ({"rho": {"rgb": 0.1, "dept": 0.1}}, ("rgb", "depth"), "dept"),
        ({"gm_from": {"audio": False}}, ("rgb", "depth"), "audio"),
        ({"modality_order": ["rgb"]}, ("rgb", "depth"), "modality_order"),
        ({"modality_order": ["rgb", "rgb"]}, ("rgb", "depth"), "modality_order"),
        ({"inner_epochs": [1]}, ("rgb", "depth"), "inner_epochs"),
    ],
)
def test_what_does_not_fit_the_modalities_is_refused(
    hyperparameters: dict[str, Any], modalities: tuple[str, ...], message: str
) -> None:
    with pytest.raises(MethodError, match=message):
        IGM.check(IGMHyperparameters.model_validate(hyperparameters), modalities)


@pytest.mark.parametrize(
    "wrong",
    [
        {"rho": -0.1}, {"rho": {"rgb": -1.0}}, {"tau": -1.0}, {"gm_scope": 1.5}, {"gm_scope": "tail"},
        {"out_iters": 0}, {"inner_epochs": [0, 1]}, {"inner_epochs": [1.5, 1]}, {"cov_batches": 0}, {"flat_ratio": 1.2},
        {"mixup_alpha": -1.0}, {"cov_batch_size": 0},
    ],
)  # fmt: skip
def test_values_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        IGMHyperparameters.model_validate(wrong)


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("igm")
