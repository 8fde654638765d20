"""Five steps of each method in our loop against the steps of its official code, in float64 and by plain gradient
descent; docs/parity.md tells of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from support import official_steps as official
from support.hand_driven_context import hand_driven_context, move_to
from torch import Tensor, nn

import methods
from data.base import Dataset, Split
from sweep.training.context import TrainingContext
from sweep.training.recipe import Recipe

PAGE = Path(__file__).parents[3] / "docs" / "parity.md"
STEPS, BATCH, WIDTH = 5, 6, 4
TOLERANCE = 1e-9

BRANCHES = {"Wa": "encoders.audio.0.weight", "ba": "encoders.audio.0.bias"}
BRANCHES |= {"Wv": "encoders.video.0.weight", "bv": "encoders.video.0.bias"}
HEAD = {"W": "fusion.head.weight", "b": "fusion.head.bias"}


def _two(names: str) -> dict[str, str]:
    """Name the roles of one head a modality."""
    return {f"{role}{m}": f"{names.format(k)}.{part}" for k, m in enumerate("av")
            for role, part in (("H", "weight"), ("c", "bias"))}  # fmt: skip


@dataclass(frozen=True)
class Parity:
    """A step of official code, and the options under which ours is the same. roles: of the parameters beside the
    branches, and their names."""

    method: str
    step: official.Step
    roles: dict[str, str]
    options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 1


_AUG = {"S": "shared_head.weight", "s": "shared_head.bias"}
_AUG |= {f"P{k}": f"classifiers.{k}.weight" for k in range(4)} | {f"p{k}": f"classifiers.{k}.bias" for k in range(4)}
_MIXED = {"W": "mixed_heads.0.weight", "b": "mixed_heads.0.bias"}
_SHARED = {"W": "head.weight", "b": "head.bias"}

_TURNS = {f"{role}{m[0]}": f"heads.{m}.{layer}.{part}" for m in ("audio", "video")
          for layer, roles in ((0, "Ll"), (2, "Mm"), (3, "Nn"))
          for role, part in zip(roles, ("weight", "bias"), strict=True)}  # fmt: skip
_IGM = {
    "rho": 0.05,
    "flat_ratio": 0.3,
    "sam_per_tensor": True,
    "out_iters": 1,
    "inner_epochs": [1, 1],
    "cov_batch_size": STEPS * BATCH,
}

CASES = [
    Parity("iprm", official.iprm, _two("unimodal_heads.{}") | _MIXED),
    Parity("bss", official.bss, _two("fusion.aux_heads.{}") | HEAD, {"weighting": "convex", "alpha": 0.1}),
    Parity(
        "aug",
        official.aug,
        _AUG,
        {"update": "alternate", "assignment": "fixed", "n_fixed": 3, "fixed_modality": "video", "hidden_dim": WIDTH},
    ),
    Parity("amss", official.amss, HEAD, {"sampling": "topk", "tau": 0.2}),
    Parity(
        "lfa",
        official.lfm,
        _two("fusion.heads.{}"),
        {"strategy": "constant", "alpha": 0.95, "alignment": "js", "loss_scale": 2.0, "fusion": "late",
         "late_train": "joint"},
    ),
    Parity("igm", official.igm, _TURNS, _IGM, epochs=2),
    Parity("ogm", official.ogm, HEAD, {"ge": False}),
    Parity("opm", official.opm, HEAD, {"q_from": "current", "q_base": 1.0, "p_exe": 1.0, "warmup_epochs": 0.0}),
    Parity("agm", official.agm, HEAD, {"clip_trigger": None}),
    Parity("pmr", official.pmr, HEAD, {"coefficients": "constant", "alpha": 2.0, "mu": 0.0, "proto_fraction": 1.0}),
    Parity("mmpareto", official.mmpareto, _two("fusion.aux_heads.{}") | HEAD, {"scope": "tensor"}),
    Parity("mla", official.released_mla, _SHARED, {"gradient_modification": False}),
    Parity("mla", official.mla, _SHARED),
    Parity("mmcosine", official.mmcosine, {"W": "fusion.head.weight"}),
    Parity("cggm", official.cggm, _two("classifiers.{}.last") | HEAD, {"direction": "weight", "cls_layers": 1}),
]  # fmt: skip


@pytest.fixture(autouse=True)
def _float64(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in float64, also where a method asks for full precision."""
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def _dataset() -> Dataset:
    """Waves in place of random numbers: the same under every version of torch."""
    n = torch.arange(STEPS * BATCH, dtype=torch.float64)
    audio, video = (
        (n[:, None] * (k + 1) * rate).sin() for k, rate in ((torch.arange(5.0), 0.7), (torch.arange(4.0), 1.3))
    )
    split = Split({"audio": audio, "video": video}, (n.long() * 7 // 3) % 3)
    return Dataset("waves", ("audio", "video"), ("a", "b", "c"), split, split, split)


def _branch(inputs: int) -> nn.Module:
    branch = nn.Sequential(nn.Linear(inputs, WIDTH), nn.Tanh())
    branch.out_dim = WIDTH
    return branch


def _start(case: Parity, dataset: Dataset) -> tuple[methods.Method, TrainingContext, official.Weights]:
    """Give a method and its context, and the weights that both begin with."""
    kind = methods.get(case.method)
    hyperparameters = kind.Hyperparameters.model_validate(case.options)
    method = kind({"audio": _branch(5), "video": _branch(4)}, 3, hyperparameters, case.epochs)
    named, roles = dict(method.named_parameters()), BRANCHES | case.roles
    assert set(named) == set(roles.values())
    weights = {}
    for place, (role, name) in enumerate(roles.items()):
        count = torch.arange(named[name].numel(), dtype=torch.float64)
        value = (1.2 * (1.7 * count + place + 0.3).sin() / named[name].shape[-1] ** 0.5).reshape(named[name].shape)
        named[name].data.copy_(value)
        weights[role] = value.requires_grad_()
    recipe = Recipe(lr=official.RATE, momentum=0.0, weight_decay=0.0, batch_size=BATCH)
    return method, hand_driven_context(method, dataset, recipe), weights


def _trained(case: Parity) -> tuple[list[float], list[float], float]:
    """Give the losses of our steps and of the official ones, and the largest difference of a weight after the last."""
    dataset = _dataset()
    method, context, weights = _start(case, dataset)
    method.on_fit_start(context)
    inputs = dataset.train.inputs
    memory: official.Memory = {"training set": ((inputs["audio"], inputs["video"]), dataset.train.labels)}
    ours, theirs = list[float](), list[float]()
    for epoch in range(1, case.epochs + 1):
        move_to(context, method, epoch)
        method.on_epoch_start(context)
        for batch in context.training_batches(torch.arange(context.train_size), drop_last=False):
            ours.append(method.training_step(batch, context).item())
            theirs.append(case.step(weights, batch.inputs["audio"], batch.inputs["video"], batch.labels, memory))
        method.on_epoch_end(context)
    named = dict(method.named_parameters())
    apart = max((named[name] - weights[role]).abs().max().item() for role, name in (BRANCHES | case.roles).items())
    return ours, theirs, apart


def _options_text(case: Parity) -> str:
    """Write the options as a sweep does."""
    text = yaml.safe_dump(case.options, default_flow_style=True, sort_keys=False, width=1000).strip()
    return f"`{text}`" if case.options else "the defaults"


def _rows() -> list[list[str]]:
    """Read the table of the page: method, options, losses, bound of the differences."""
    table = PAGE.read_text(encoding="utf-8").partition("<!-- losses -->\n")[2].partition("<!-- end of losses -->")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_the_page_has_every_method_with_its_options() -> None:
    written = [(name, options) for name, options, *_ in _rows()]
    assert written == [(f"[{c.method}](methods/{c.method}.md)", _options_text(c)) for c in CASES]


@pytest.mark.parametrize("place", range(len(CASES)), ids=[case.step.__name__ for case in CASES])
def test_five_steps_are_those_of_the_official_code_and_give_the_losses_on_the_page(place: int) -> None:
    ours, theirs, apart = _trained(CASES[place])
    _, _, losses, bound = _rows()[place]
    assert theirs == pytest.approx([float(number) for number in losses.split()], abs=TOLERANCE, rel=0)
    assert ours == pytest.approx(theirs, abs=float(bound), rel=0)
    assert apart <= float(bound) <= TOLERANCE
