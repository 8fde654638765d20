"""AMSS: its equations against computations by hand and by loops, its draws, and what is masked in training."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.method_pages import assert_page_says_what_is_declared
from support.method_variants import Variant
from support.toy_dataset import CLASSES, toy_dataset, toy_training
from torch import Tensor, nn
from torch.nn import functional as F

from data.base import Dataset, Split
from methods.amss import (
    AMSS,
    AMSSHyperparameters,
    Layer,
    Units,
    accumulate,
    batch_statistics,
    mask_values,
    maskable_units,
    sample_units,
    significance,
    unit_scores,
    update_ratios,
)
from methods.base import Method, MethodError
from methods.base.fusion_hyperparameters import check_fusion
from models import encoders
from sweep.training.loop import Training
from sweep.training.recipe import Recipe

VARIANTS = [
    Variant("rows", {"plus": False, "mi_momentum": 0.9, "linear_unit": "row"}),
    Variant(
        "official",
        {"weighting": "official", "weight_offset": 0.2, "mask_backbone": False, "unimodal_source": "native"},
    ),
    Variant("uniform", {"sampling": "uniform", "plus": False, "fixed_ratios": [0.2, 1.0], "mask_classifier": False}),
    Variant("largest", {"sampling": "topk", "fusion": "late", "mask_exclude": ["video.*"], "ratio_bias": 0.1}),
    Variant("three", {"tau": 0.5, "mi_shift": 1.0}, modalities=3),
    Variant(
        "gated", {"plus": False, "fusion": "gated", "fixed_ratios": [0.5, 0.8, 1.0]}, modalities=3, epochs_to_learn=8
    ),
]

INF, NAN = math.inf, math.nan


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# How much of a modality is updated -----------------------------------------------------------------------------


def test_batch_statistics_of_a_batch_by_hand() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)], [0.0, 0.0], [5.0, 5.0]])
    features = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1e4, 0.0, 0.0, 0.0], [1.0, 1.0, -1e4, -1e4]])
    found = batch_statistics(logits, features, torch.tensor([1, 0, 1]), 4)
    assert float(found["log_likelihood"]) == pytest.approx((math.log(0.75) + 2 * math.log(0.5)) / 3)
    assert float(found["feature_entropy"]) == pytest.approx((math.log(4) + math.log(2)) / 3)
    assert torch.equal(found["label_counts"], torch.tensor([1, 2, 0, 0]))
    assert found["log_likelihood"].shape == found["feature_entropy"].shape == ()


def test_batch_statistics_keep_single_precision_under_bf16() -> None:
    logits, features, labels = draw(8, 3).bfloat16(), draw(8, 5, seed=1).bfloat16(), torch.arange(8) % 3
    found, exact = (
        batch_statistics(x, y, labels, 3) for x, y in ((logits, features), (logits.double(), features.double()))
    )
    for key in ("log_likelihood", "feature_entropy"):
        assert found[key].dtype == torch.float32
        assert float(found[key]) == pytest.approx(float(exact[key]), rel=1e-5)


def test_significance_is_information_over_entropy() -> None:
    counts = torch.tensor([2, 1, 1, 0])
    entropy = 0.5 * math.log(2) + 2 * 0.25 * math.log(4)
    expected = (-0.7 + entropy + 0.5) / 2.5
    assert float(significance(-0.7, counts, 2.5)) == pytest.approx(expected)
    found = significance(torch.tensor(-0.7), counts, torch.tensor(2.5))
    assert float(found) == pytest.approx(expected)
    assert found.shape == ()
    assert float(significance(-0.7, counts, 2.5, shift=0.0)) == pytest.approx((-0.7 + entropy) / 2.5)


def test_significance_at_its_edges() -> None:
    one_class = torch.tensor([6, 0, 0])
    assert float(significance(-0.25, one_class, 1.0, 0.0)) == pytest.approx(-0.25)
    assert float(significance(0.0, one_class, 0.0, 1.0)) == pytest.approx(1e12)
    normaliser = math.log(math.e**0.5 + 2 * math.e**0.25 + 1)
    official = -(0.5 * (0.5 - normaliser) + 2 * 0.25 * (0.25 - normaliser))
    found = significance(0.0, torch.tensor([2, 1, 1, 0]), 1.0, 0.0, "official")
    assert float(found) == pytest.approx(official)
    with pytest.raises(ValueError, match="'shanon', nearest is 'shannon'"):
        significance(0.0, one_class, 1.0, label_entropy="shanon")


def test_update_ratios_give_the_stronger_modality_less() -> None:
    u = torch.tensor([1.0, 0.5])
    share = math.exp(4.0) / (math.exp(4.0) + math.exp(2.0))
    assert update_ratios(u, 0.25, 0.0, 1.0).tolist() == pytest.approx([1 - share, share])
    assert update_ratios(u, 0.25, 0.0, 1.0, bias=0.05).tolist() == pytest.approx([1.05 - share, share + 0.05])
    assert update_ratios(u, 0.25).tolist() == pytest.approx([1 - share, share])
    assert update_ratios(u, 0.05).tolist() == pytest.approx([0.1, 0.9])
    assert update_ratios(u, 0.25, bias=0.2).tolist() == pytest.approx([1.2 - share, 0.9])
    assert update_ratios(torch.tensor([2.0, 1.0, 3.0]), 1.0).argsort().tolist() == [2, 0, 1]


@pytest.mark.parametrize("count", [2, 3, 5])
def test_equal_modalities_and_an_infinite_temperature_give_equal_ratios(count: int) -> None:
    expected = [1 - 1 / count] * count
    assert update_ratios(torch.full((count,), 0.7), 0.25).tolist() == pytest.approx(expected)
    assert update_ratios(torch.rand(count, generator=seeded()) + 0.1, 1e9).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("entry", [0.0, -0.1, NAN, INF, -INF])
def test_an_unusable_significance_gives_half_to_all(entry: float) -> None:
    u = torch.tensor([0.4, entry, 0.2])
    assert update_ratios(u, 0.25, bias=0.3).tolist() == [0.5] * 3
    assert update_ratios(u, 0.25, low=0.6).tolist() == pytest.approx([0.6] * 3)
    assert update_ratios(u, 0.25, high=0.2).tolist() == pytest.approx([0.2] * 3)


def test_update_ratios_stay_finite_and_refuse_a_temperature_of_zero() -> None:
    assert update_ratios(torch.tensor([1e30, 1.0]), 1e-10).tolist() == pytest.approx([0.1, 0.9])
    with pytest.raises(ValueError, match="tau"):
        update_ratios(torch.tensor([1.0, 1.0]), 0.0)


def test_accumulate_is_a_moving_average_that_outlives_what_is_not_finite() -> None:
    current = torch.tensor([1.0, 2.0])
    first = accumulate(None, current, 0.9)
    assert torch.equal(first, current)
    assert first.data_ptr() != current.data_ptr()
    previous = torch.tensor([3.0, 4.0])
    assert accumulate(previous, current, 0.75).tolist() == [2.5, 3.5]
    assert torch.equal(accumulate(previous, current, 0.0), current)
    assert torch.equal(accumulate(previous, current, 1.0), previous)
    for broken in (NAN, INF, -INF):
        assert accumulate(previous, torch.tensor([broken, 2.0]), 0.75).tolist() == [3.0, 3.5]
        assert accumulate(torch.tensor([broken, 4.0]), current, 0.0).tolist() == [1.0, 2.0]


# Which units are -----------------------------------------------------------------------------------------------


def test_unit_scores_are_sums_of_squares() -> None:
    filters = torch.arange(24.0).view(2, 3, 2, 2)
    assert unit_scores(filters, "filter").tolist() == [sum(i * i for i in range(12)), sum(i * i for i in range(12, 24))]
    matrix = torch.tensor([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, 8.0]])
    assert unit_scores(matrix, "filter").tolist() == [30.0, 174.0]
    assert unit_scores(matrix, "head_rows", 2).tolist() == [30.0, 174.0]
    assert unit_scores(matrix, "head_rows", 1).tolist() == [204.0]
    assert unit_scores(matrix, "head_cols", 2).tolist() == [1 + 4 + 25 + 36.0, 9 + 16 + 49 + 64.0]
    assert torch.equal(unit_scores(-matrix, "element"), matrix * matrix)


@pytest.mark.parametrize(("unit", "heads"), [("neuron", None), ("head_rows", None), ("head_cols", 3), ("head_rows", 0)])
def test_unit_scores_refuse(unit: str, heads: int | None) -> None:
    with pytest.raises(ValueError, match=unit):
        unit_scores(torch.ones(2, 4), unit, heads)


def naive_inclusion(scores: list[float], count: int) -> list[float]:
    """Item 7 as it is written: fix at 1 what reaches 1, share the rest, again."""
    positive = [j for j, score in enumerate(scores) if score > 0]
    if len(positive) <= count:
        rest = (count - len(positive)) / max(1, len(scores) - len(positive))
        return [1.0 if score > 0 else rest for score in scores]
    fixed: set[int] = set()
    while True:
        free = sum(score for j, score in enumerate(scores) if j not in fixed)
        chance = [1.0 if j in fixed else (count - len(fixed)) * score / free for j, score in enumerate(scores)]
        reached = {j for j, q in enumerate(chance) if q >= 1} - fixed
        if not reached:
            return chance
        fixed |= reached


score_lists = st.lists(st.floats(0.0, 1e3).map(lambda x: x if x > 1e-3 else 0.0), min_size=1, max_size=12)


@settings(max_examples=80, deadline=None)
@given(score_lists, st.floats(0.0, 1.2), st.sampled_from(["successive", "systematic"]), st.integers(0, 99))
def test_exactly_k_units_are_drawn_and_zeros_only_fill_up(
    scores: list[float], ratio: float, sampler: str, seed: int
) -> None:
    n = len(scores)
    count = min(n, max(1, math.ceil(ratio * n - 1e-9)))
    given_scores = torch.tensor(scores)
    for form in (ratio, torch.tensor(ratio, dtype=torch.float64)):
        selected = sample_units(given_scores, form, seeded(seed), sampler)
        assert selected.dtype == torch.bool
        assert int(selected.sum()) == count
        positive = int((given_scores > 0).sum())
        assert int((selected & (given_scores > 0)).sum()) == min(count, positive)
    rows = sample_units(torch.stack([given_scores, given_scores.flip(0)]), ratio, seeded(seed), sampler)
    assert rows.sum(1).tolist() == [count, count]


def test_a_ratio_in_single_precision_rounds_as_the_number_that_was_meant() -> None:
    for percent in range(5, 101, 5):
        for n in (10, 20, 64, 100, 512, 1000):
            expected = -(-percent * n // 100)
            found = sample_units(torch.ones(n), torch.tensor(percent / 100), seeded())
            assert int(found.sum()) == int(sample_units(torch.ones(n), percent / 100, seeded()).sum()) == expected


def frequencies(scores: Tensor, ratio: float, sampler: str, draws: int = 40000) -> Tensor:
    """Share of draws in which each unit was taken: many rows are many draws."""
    return sample_units(scores.expand(draws, -1), ratio, seeded(3), sampler).double().mean(0)


def test_systematic_draws_meet_their_probabilities() -> None:
    scores = torch.tensor([5.0, 0.1, 1.0, 2.0, 0.0, 1.5, 0.4, 3.0])
    for ratio in (0.25, 0.5, 0.75):
        expected = naive_inclusion(scores.tolist(), round(8 * ratio))
        assert frequencies(scores, ratio, "systematic").tolist() == pytest.approx(expected, abs=0.012)


def test_successive_draws_are_successive() -> None:
    p = [0.6, 0.3, 0.1]
    pairs = {(i, j): p[i] * p[j] / (1 - p[i]) for i in range(3) for j in range(3) if i != j}
    expected = [sum(chance for pair, chance in pairs.items() if unit in pair) for unit in range(3)]
    assert frequencies(torch.tensor(p), 2 / 3, "successive").tolist() == pytest.approx(expected, abs=0.012)
    assert frequencies(torch.tensor(p), 1 / 3, "successive").tolist() == pytest.approx(p, abs=0.012)


@pytest.mark.parametrize("sampler", ["successive", "systematic"])
def test_draws_at_their_edges(sampler: str) -> None:
    assert frequencies(torch.zeros(4), 0.5, sampler).tolist() == pytest.approx([0.5] * 4, abs=0.012)
    few = torch.tensor([0.0, 7.0, 0.0, 0.0, 1e-30])
    taken = frequencies(few, 0.6, sampler)
    assert taken.tolist() == pytest.approx([1 / 3, 1, 1 / 3, 1 / 3, 1], abs=0.012)
    assert sample_units(few, 1.0, seeded(), sampler).all()
    assert sample_units(few, 0.0, seeded(), sampler).tolist().count(True) == 1
    wide = torch.tensor([1e-38, 1e38, 1.0])
    assert int(sample_units(wide, 2 / 3, seeded(), sampler).sum()) == 2
    scores = torch.rand(6, generator=seeded())
    one, other = (sample_units(scores, 0.5, seeded(5), sampler) for _ in range(2))
    assert torch.equal(one, other)
    assert int(sample_units(scores, 0.5, None, sampler).sum()) == 3


def test_sample_units_refuses_another_sampler() -> None:
    with pytest.raises(ValueError, match="systematic"):
        sample_units(torch.ones(3), 0.5, None, "poisson")


def test_mask_values_of_each_scheme() -> None:
    scores, selected = torch.tensor([4.0, 1.0, 3.0, 0.0]), torch.tensor([True, False, True, False])
    assert mask_values(scores, selected).tolist() == [1.0, 0.0, 1.0, 0.0]
    # k = 2: 2 p = 1, 1/4, 3/4: the first is fixed at 1, the others share one draw by 1 : 3.
    assert mask_values(scores, selected, "inclusion").tolist() == pytest.approx([1.0, 0.0, 4 / 3, 0.0])
    official = [1 / (0.5 + 0.25 + 0.2), 0.0, 1 / (0.375 + 0.25 + 0.2), 0.0]
    assert mask_values(scores, selected, "official", 0.2).tolist() == pytest.approx(official)
    assert mask_values(scores, selected, "official").dtype == scores.dtype
    with pytest.raises(ValueError, match="scheme"):
        mask_values(scores, selected, "unbiased")


@settings(max_examples=60, deadline=None)
@given(score_lists, st.floats(0.05, 1.0), st.integers(0, 99))
def test_inclusion_values_are_one_over_the_probabilities(scores: list[float], ratio: float, seed: int) -> None:
    given_scores = torch.tensor(scores, dtype=torch.float64)
    selected = sample_units(given_scores, ratio, seeded(seed), "systematic")
    chance = naive_inclusion(scores, int(selected.sum()))
    expected = [1 / q if taken else 0.0 for q, taken in zip(chance, selected.tolist(), strict=True)]
    assert mask_values(given_scores, selected, "inclusion").tolist() == pytest.approx(expected, rel=1e-6)


def test_mask_values_at_their_edges() -> None:
    everything = torch.ones(3, 5, dtype=torch.bool)
    for scores in (torch.rand(3, 5, generator=seeded()), torch.zeros(3, 5), torch.eye(3, 5)):
        assert torch.equal(mask_values(scores, everything, "inclusion"), torch.ones(3, 5))
    zeros, two = torch.zeros(4), torch.tensor([True, False, False, True])
    assert mask_values(zeros, two, "inclusion").tolist() == [2.0, 0.0, 0.0, 2.0]
    assert mask_values(zeros, two, "official").tolist() == [2.0, 0.0, 0.0, 2.0]
    # By row: as many selected as each row has.
    scores = torch.tensor([[1.0, 1.0, 2.0], [1.0, 1.0, 2.0]])
    rows = mask_values(scores, torch.tensor([[True, False, False], [True, True, False]]), "inclusion")
    assert rows.tolist() == [[4.0, 0.0, 0.0], [2.0, 2.0, 0.0]]
    impossible = mask_values(torch.tensor([1.0, 1.0, 0.0]), torch.tensor([False, False, True]), "inclusion")
    assert impossible.isfinite().all()
    # 1 / π beyond single precision, of a unit that is not drawn and of one that is.
    tiny = torch.tensor([1.0, 1e-42, 1.0, 1.0])
    assert mask_values(tiny, torch.tensor([True, False, False, False]), "inclusion").tolist() == [3.0, 0.0, 0.0, 0.0]
    assert mask_values(tiny, torch.tensor([False, True, False, False]), "inclusion").isfinite().all()


def test_amss_plus_is_unbiased_and_amss_is_not() -> None:
    gradient = draw(8)
    scores = gradient.square().expand(40000, -1)

    def mean(scheme: str, sampler: str) -> Tensor:
        return (mask_values(scores, sample_units(scores, 0.5, seeded(), sampler), scheme) * gradient).mean(0)

    torch.testing.assert_close(mean("inclusion", "systematic"), gradient, atol=0.02, rtol=0.02)
    assert float((mean("binary", "successive") - gradient).abs().max()) > 0.2


# Which weights have which units --------------------------------------------------------------------------------


def found_units(encoder: nn.Module, **options: Any) -> list[list[tuple[str, str]]]:
    return [[(each.name, each.unit) for each in units] for units in maskable_units(encoder, **options)]


def test_units_of_plain_encoders() -> None:
    mlp = encoders.build("mlp", (5,))
    assert found_units(mlp) == [[("layers.1.weight", "element")], [("layers.3.weight", "element")]]
    assert found_units(mlp, linear_unit="row") == [[("layers.1.weight", "filter")], [("layers.3.weight", "filter")]]
    cnn = found_units(encoders.build("cnn", (1, 8, 8)))
    assert [unit for units in cnn for _, unit in units] == ["filter"] * 3 + ["element"]
    assert found_units(nn.Sequential(nn.BatchNorm1d(3), nn.Embedding(4, 3), nn.LSTM(3, 3))) == []
    assert found_units(nn.Linear(2, 3)) == [[("weight", "element")]]


def test_units_of_encoders_of_sequences() -> None:
    convolutions = found_units(encoders.build({"name": "conv1d", "width": 2}, (3, 8)))
    assert [unit for units in convolutions for _, unit in units] == ["filter"] * 9
    for name, shape in (("patch_transformer", (3, 20)), ("vit", (3, 8, 8))):
        blocks = found_units(encoders.build({"name": name, "depth": 2}, shape))
        assert [[unit for _, unit in block] for block in blocks] == [["head_rows"] * 3 + ["head_cols"]] * 2
    assert found_units(encoders.build("gru", (3, 8))) == []


def test_an_encoder_in_which_nothing_is_masked_is_told() -> None:
    parts = {"audio": encoders.build("gru", (3, 8)), "video": encoders.build("conv1d", (3, 8))}
    method, told = AMSS(parts, 3, AMSSHyperparameters(), 1), list[str]()
    method.on_fit_start(SimpleNamespace(warn=told.append))  # type: ignore[arg-type]
    assert told == ["amss finds nothing to mask in the encoder of audio, which is trained as a whole"]


class BertAttention(nn.Module):
    """The layout of BERT: output projection beside the attention proper."""

    def __init__(self) -> None:
        super().__init__()
        self.self = nn.Module()
        self.self.num_attention_heads = 2
        for name in ("query", "key", "value"):
            self.self.add_module(name, nn.Linear(4, 4))
        self.output = nn.Module()
        self.output.dense = nn.Linear(4, 4)


def test_units_of_transformers_are_the_heads_of_each_layer_under_one_draw() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    vision = nn.Sequential(nn.Conv2d(3, 8, 4, stride=4), layer, nn.Linear(8, 8))
    rows = [("1.self_attn.in_proj_weight", "head_rows")] * 3
    assert found_units(vision) == [[*rows, ("1.self_attn.out_proj.weight", "head_cols")]]
    bert = nn.ModuleDict({"attention": BertAttention(), "intermediate": nn.Linear(4, 8)})
    names = [f"attention.self.{name}.weight" for name in ("query", "key", "value")]
    assert found_units(bert) == [
        [*((name, "head_rows") for name in names), ("attention.output.dense.weight", "head_cols")]
    ]
    # A convolution that cuts no patches is one like any other.
    assert found_units(nn.Sequential(nn.Conv1d(3, 8, 3), layer))[1] == [("0.weight", "filter")]


def test_an_attention_layer_adds_the_scores_of_its_matrices_and_masks_whole_heads() -> None:
    attention = nn.MultiheadAttention(4, 2)
    for parameter in attention.parameters():
        parameter.grad = draw(*parameter.shape, seed=parameter.numel())
    rows, out = attention.in_proj_weight.grad, attention.out_proj.weight.grad
    assert rows is not None
    assert out is not None
    before_rows, before_out = rows.clone(), out.clone()
    bias = attention.in_proj_bias.grad.clone()  # type: ignore[union-attr]
    (units,) = maskable_units(attention)
    layer = Layer(0, tuple(units))
    first = sum(float(rows[start : start + 2].square().sum()) for start in (0, 4, 8)) + float(out[:, :2].square().sum())
    total = float(rows.square().sum() + out.square().sum())
    assert layer.scores().tolist() == [pytest.approx([first, total - first])]
    layer.multiply(torch.tensor([[0.0, 3.0]]))
    kept = torch.tensor([0.0, 0.0, 3.0, 3.0])
    torch.testing.assert_close(rows, before_rows * kept.repeat(3).unsqueeze(1))
    torch.testing.assert_close(out, before_out * kept)
    assert torch.equal(attention.in_proj_bias.grad, bias)


# Method --------------------------------------------------------------------------------------------------------


def image_training(hyperparameters: dict[str, Any], **options: Any) -> Training:
    """Two small convolutional encoders on random images."""
    random = seeded(1)
    split = Split({m: torch.randn(8, 1, 8, 8, generator=random) for m in ("audio", "video")}, torch.arange(8) % 3)
    dataset = Dataset("images", ("audio", "video"), ("a", "b", "c"), split, split, split)
    torch.manual_seed(2)
    parts = {m: encoders.build({"name": "cnn", "width": 5}, (1, 8, 8)) for m in dataset.modalities}
    method = AMSS(parts, 3, AMSSHyperparameters.model_validate(hyperparameters), 1)
    return Training(method, dataset, Recipe(batch_size=8, lr=0.1), seed=0, **options)


def one_step(training: Training, masked: bool = True) -> dict[str, Tensor]:
    """Gradients by name after one step on the whole training split; without masking, those of joint training."""
    method: Any = training.method
    context: Any = training._context
    if not masked:
        method.layers = []
    method.train()
    method.on_epoch_start(context)
    (batch,) = context.training_batches(torch.arange(8), drop_last=False)
    method.training_step(batch, context)
    return {name: p.grad for name, p in method.named_parameters()}


@pytest.mark.parametrize("fusion", ["concat", "sum", "late", "gated"])
def test_after_masking_a_share_of_the_units_has_a_gradient(fusion: str) -> None:
    hyperparameters = {"plus": False, "fixed_ratios": [0.3, 0.7], "fusion": fusion}
    plain, masked = one_step(image_training(hyperparameters), masked=False), one_step(image_training(hyperparameters))
    ratios = {"audio": 0.3, "video": 0.7}
    for name, gradient in masked.items():
        modality = next((m for m in ratios if m in name), None)
        if gradient.ndim == 4:
            dead = (gradient == 0).flatten(1).all(1)
            assert int(dead.sum()) == len(gradient) - math.ceil(ratios[str(modality)] * len(gradient))
            assert torch.equal(gradient[~dead], plain[name][~dead])
        elif modality is None and fusion in ("concat", "sum", "late") and gradient.ndim == 2:
            blocks = gradient.split(20, dim=1)
            shares = list(ratios.values()) if fusion == "concat" else [list(ratios.values())["heads.1" in name]]
            for block, ratio in zip(blocks, shares, strict=True):
                # A feature that no sample shows has no gradient to begin with, and is drawn last.
                assert ((block != 0).sum(1) <= math.ceil(20 * ratio)).all()
                assert (block != 0).any(1).all()
            assert not torch.equal(gradient, plain[name])
        elif gradient.ndim < 2 or modality is None:
            assert torch.equal(gradient, plain[name])


@pytest.mark.parametrize("sampling", ["adaptive", "uniform", "topk"])
@pytest.mark.parametrize("plus", [False, True])
def test_ratios_of_one_are_joint_training_bit_for_bit(sampling: str, plus: bool) -> None:
    hyperparameters = {"ratio_low": 1.0, "ratio_high": 1.0, "sampling": sampling, "plus": plus}
    amss, joint = toy_training("amss", hyperparameters, epochs=3), toy_training("joint", epochs=3)
    assert [r.loss for r in amss.epochs()] == [r.loss for r in joint.epochs()]
    expected = dict(joint.method.named_parameters())
    for name, parameter in amss.method.named_parameters():
        assert torch.equal(parameter, expected[name])


def test_the_official_weights_alone_mask_nothing_and_change_the_step() -> None:
    whole = {"fixed_ratios": [1.0, 1.0], "weighting": "official", "weight_offset": 0.2}
    plain, weighted = one_step(image_training(whole), masked=False), one_step(image_training(whole))
    name = "encoders.audio.layers.0.weight"
    energy = plain[name].square().flatten(1).sum(1)
    factors = 1 / (energy / energy.sum() + 1 / 5 + 0.2)
    torch.testing.assert_close(weighted[name], plain[name] * factors.view(-1, 1, 1, 1))


def test_topk_keeps_the_largest_and_equal_scores_keep_the_lower_index() -> None:
    training = image_training({"sampling": "topk", "fixed_ratios": [0.4, 0.4]})
    method: Any = training.method
    scores = torch.tensor([[1.0, 3.0, 3.0, 3.0, 0.0], [0.0, 0.0, 0.0, 0.0, 9.0]])
    masks = method.masks(scores, torch.full((2, 1), 0.4), seeded())
    assert masks.tolist() == [[0.0, 1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0]]


def test_uniform_sampling_knows_no_scores() -> None:
    method: Any = image_training({"sampling": "uniform", "fixed_ratios": [0.5, 0.5]}).method
    scores = torch.tensor([100.0, 1.0, 0.0, 0.0]).expand(20000, -1)
    numbers = torch.rand(20000, 4, dtype=torch.float64, generator=seeded())
    kept = method.masks(scores, torch.full((20000, 1), 0.5), numbers).mean(0)
    assert kept.tolist() == pytest.approx([0.5] * 4, abs=0.02)


def test_the_first_step_follows_the_paper() -> None:
    training = toy_training("amss", {"tau": 0.5, "mi_shift": 0.7, "mi_momentum": 0.6}, epochs=1)
    method, context = training.method, training._context
    assert isinstance(method, AMSS)
    before: list[float] | None = None
    history, sizes = [], []
    for batch in context.training_batches(torch.arange(40), drop_last=False):
        outputs = method(batch)
        head = method.fusion.get_submodule("head")
        u = []
        for k, feature in enumerate(outputs.features):
            logits = feature @ head.weight[:, 8 * k : 8 * k + 8].T + head.bias  # type: ignore[index, union-attr, operator]
            torch.testing.assert_close(outputs.unimodal_logits[k], logits)
            likelihood = -F.cross_entropy(logits, batch.labels).item()
            p = feature.softmax(1)
            u.append((likelihood + math.log(CLASSES) + 0.7) / -(p * p.log()).sum(1).mean().item())
        before = u if before is None else [0.6 * old + 0.4 * new for old, new in zip(before, u, strict=True)]
        loss = method.training_step(batch, context)
        torch.testing.assert_close(loss, F.cross_entropy(outputs.logits, batch.labels).detach())
        assert method.significance.tolist() == pytest.approx(before, rel=1e-4)
        shares = [math.exp(x / 0.5) for x in before]
        history.append((before, [1 - x / sum(shares) for x in shares]))
        sizes.append(len(batch))
        assert method.ratios.tolist() == pytest.approx(history[-1][1], rel=1e-4)
        assert not method.ratios.requires_grad
    assert sizes == [16, 16, 8]
    method.on_epoch_end(context)
    expected = {"fallback": 0.0}
    for k, m in enumerate(("audio", "video")):
        for name, of_step in (("significance", 0), ("ratio", 1)):
            total = sum(size * step[of_step][k] for size, step in zip(sizes, history, strict=True))
            expected[f"{name}_{m}"] = pytest.approx(total / 40, rel=1e-4)
    found = context.logged()
    assert found == expected
    quotient = found["significance_audio"] / found["significance_video"]
    assert method.diagnostics() == {"imbalance_audio_video": pytest.approx(quotient)}


def test_official_unimodal_logits_hold_a_share_of_the_bias() -> None:
    for source, share in (("native", 2.0), ("zero", 1.0)):
        method = toy_training("amss", {"unimodal_source": source}).method
        head: Any = method.fusion.get_submodule("head")  # type: ignore[union-attr]
        nn.init.ones_(head.bias)
        zeros = method.classify([torch.zeros(1, 8), torch.zeros(1, 8)])
        assert zeros["audio"].tolist() == [[1 / share] * CLASSES]


def test_masks_differ_by_step_and_leave_the_global_generator_alone() -> None:
    training = image_training({"plus": False, "fixed_ratios": [0.5, 0.5]})
    state = torch.get_rng_state()
    first, second = (one_step(training)["fusion.head.weight"] != 0 for _ in range(2))
    assert not torch.equal(first, second)
    assert torch.equal(torch.get_rng_state(), state)


def test_backbone_and_classifier_are_masked_apart() -> None:
    for backbone, classifier in ((True, False), (False, True), (False, False)):
        hyperparameters = {"mask_backbone": backbone, "mask_classifier": classifier, "plus": False}
        plain, masked = (
            one_step(image_training(hyperparameters), masked=False),
            one_step(image_training(hyperparameters)),
        )
        changed = {name for name, gradient in masked.items() if not torch.equal(gradient, plain[name])}
        assert ("fusion.head.weight" in changed) is classifier
        assert bool(changed - {"fusion.head.weight"}) is backbone
        assert all(name.endswith("weight") for name in changed)


def test_excluded_weights_keep_their_gradient() -> None:
    hyperparameters = {"mask_exclude": ["*.layers.0.*", "video.*"], "fixed_ratios": [0.5, 0.5]}
    plain, masked = one_step(image_training(hyperparameters), masked=False), one_step(image_training(hyperparameters))
    changed = {name for name, gradient in masked.items() if not torch.equal(gradient, plain[name])}
    assert {"encoders.audio.layers.4.weight", "encoders.audio.layers.8.weight"} <= changed
    assert not any("video" in name or ".layers.0." in name for name in changed)
    with pytest.raises(MethodError, match=r"'text\.\*'.*audio\.layers"):
        image_training({"mask_exclude": ["text.*", "*.layers.0.*"]})


def test_parameters_without_gradient_rest() -> None:
    training = image_training({})
    frozen = training.method.get_parameter("encoders.audio.layers.0.weight").requires_grad_(False)
    before = frozen.clone()
    one_step(training)
    assert frozen.grad is None
    assert torch.equal(frozen, before)


def test_an_encoder_without_units_is_named_and_so_are_ratios_that_never_differ() -> None:
    lines: list[str] = []
    dataset = toy_dataset()

    class Plain(nn.Module):
        out_dim = 6

        def forward(self, x: Tensor) -> Tensor:
            return x[:, :6]

    parts: dict[str, nn.Module] = {"audio": Plain(), "video": encoders.build("mlp", (7,))}
    method: Method = AMSS(parts, CLASSES, AMSSHyperparameters(mi_shift=0.0, mask_classifier=False), 2)
    training = Training(method, dataset, Recipe(batch_size=16, lr=1e-6), seed=0, warn=lines.append)
    records = list(training.epochs())
    assert records[-1].diagnostics["fallback"] > 0.5
    assert any("audio" in line and "video" not in line for line in lines)
    assert any("mi_shift" in line for line in lines)


@pytest.mark.parametrize(
    ("hyperparameters", "message"),
    [
        ({"fixed_ratios": [0.5]}, "audio, video"),
        ({"ratio_low": 0.8, "ratio_high": 0.2}, "0.8"),
        ({"unimodal_source": "aux"}, "auxiliary"),
        ({"aux_detach": True}, "auxiliary"),
        ({"fusion": "gated", "mask_backbone": False}, "gated"),
        ({"fusion": "etmc"}, "etmc"),
        ({"fusion": "channel", "channel_mode": "cen"}, "cen"),
    ],
)
def test_check_refuses(hyperparameters: dict[str, Any], message: str) -> None:
    with pytest.raises(MethodError, match=message):
        AMSS.check(AMSSHyperparameters.model_validate(hyperparameters), ("audio", "video"))


def test_declared_bounds_are_kept() -> None:
    for wrong in ({"tau": 0.0}, {"fixed_ratios": [0.0, 1.0]}, {"fixed_ratios": [0.5, 1.5]}, {"mi_momentum": 1.5}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            AMSSHyperparameters.model_validate(wrong)
    AMSS.check(AMSSHyperparameters(ratio_low=0.95, fixed_ratios=[0.2, 1.0]), ("audio", "video"))


def test_joint_gates_between_stages_are_trained_whole() -> None:
    check_fusion(AMSSHyperparameters(fusion="channel"), ("audio", "video"), side_by_side=True)
    hyperparameters = {"fusion": "channel", "plus": False, "fixed_ratios": [0.5, 0.5]}
    plain, masked = one_step(image_training(hyperparameters), masked=False), one_step(image_training(hyperparameters))
    changed = {n for n, g in masked.items() if g is not None and not torch.equal(g, plain[n])}
    assert changed == {f"encoders.{m}.layers.{k}.weight" for m in ("audio", "video") for k in (0, 4, 8)}


def test_units_of_a_part_of_a_weight_leave_the_rest() -> None:
    weight = nn.Parameter(torch.zeros(2, 5))
    weight.grad = torch.ones(2, 5)
    layer = Layer(1, (Units("head", weight, "element", (slice(None), slice(1, 3))),), by_row=True)
    assert layer.scores().tolist() == [[1.0, 1.0], [1.0, 1.0]]
    layer.multiply(torch.tensor([[0.0, 2.0], [3.0, 0.0]]))
    assert weight.grad.tolist() == [[1, 0, 2, 1, 1], [1, 3, 0, 1, 1]]


def test_the_page_says_what_is_declared() -> None:
    assert_page_says_what_is_declared("amss")
