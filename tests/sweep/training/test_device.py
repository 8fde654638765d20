"""The device: what a run asks of it, what stays a user's own, and what of the data lives there."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.toy_dataset import toy_dataset, toy_training
from torch import Tensor, nn

from data.base import Dataset
from sweep.training import device as device_module
from sweep.training.device import (
    ResidentDataset,
    pick_device,
    placed_dataset,
    placed_method,
    put_channels_last,
    reads_from_host,
    set_up,
)
from sweep.training.recipe import Recipe

META, CPU, CUDA = torch.device("meta"), torch.device("cpu"), torch.device("cuda")


def stored(dataset: Dataset) -> int:
    """Bytes of all inputs of a dataset."""
    return sum(split.nbytes for split in (dataset.train, dataset.validation, dataset.test))


def places(dataset: Dataset) -> set[str]:
    """Types of the devices where the inputs of a dataset lie."""
    splits = (dataset.train, dataset.validation, dataset.test)
    return {x.device.type for split in splits for x in split.inputs.values() if isinstance(x, torch.Tensor)}


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """What of torch a run sets, put back afterwards; "share" where it takes a share of a GPU's memory."""
    found = dict[str, Any]()
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(device_module, "_deterministic_runs", False)
    monkeypatch.setattr(device_module, "_bounded_memory", False)
    monkeypatch.setattr(
        torch.cuda, "set_per_process_memory_fraction", lambda share, device: found.update(share=(share, device))
    )
    matmul, cudnn = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    yield found
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, cudnn


@pytest.mark.parametrize(
    ("asked", "available", "picked"),
    [("auto", False, "cpu"), ("auto", True, "cuda:3"), ("cpu", True, "cpu"), ("cuda", True, "cuda:3")],
)
def test_auto_takes_a_gpu_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, asked: Any, available: bool, picked: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    assert pick_device(Recipe(device=asked)) == torch.device(picked)


def test_asking_for_a_gpu_without_one_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device is cuda but torch sees no GPU"):
        toy_training("joint", device="cuda")


@pytest.mark.parametrize(("precision", "rounded"), [("fp32", False), ("tf32", True), ("bf16", False)])
def test_products_are_rounded_for_tf32_alone_in_matrices_and_convolutions(
    settings: dict[str, Any], precision: Any, rounded: bool
) -> None:
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = not rounded
    set_up(CUDA, Recipe(precision=precision))
    assert torch.backends.cuda.matmul.allow_tf32 is rounded
    assert torch.backends.cudnn.allow_tf32 is rounded


def test_on_a_cpu_a_run_leaves_what_is_a_gpus_alone(settings: dict[str, Any]) -> None:
    before = torch.backends.cuda.matmul.allow_tf32
    set_up(CPU, Recipe(precision="tf32"), share=0.5)
    assert torch.backends.cuda.matmul.allow_tf32 is before
    assert settings == {}


@pytest.mark.parametrize(("share", "taken"), [(1.0, {}), (0.25, {"share": (0.25, CUDA)})])
def test_a_run_that_shares_a_gpu_takes_its_share_of_the_memory(
    settings: dict[str, Any], share: float, taken: dict[str, Any]
) -> None:
    set_up(CUDA, Recipe(), share)
    assert settings == taken


def test_runs_of_one_process_may_differ_in_their_share(settings: dict[str, Any]) -> None:
    for share in (0.25, 1.0):
        set_up(CUDA, Recipe(), share)
        assert settings == {"share": (share, CUDA)}
    settings.clear()
    set_up(CUDA, Recipe())
    assert settings == {}


def test_runs_of_one_process_may_differ_in_being_deterministic(settings: dict[str, Any]) -> None:
    seen = list[bool]()
    for asked in (True, True, False, True, False):
        set_up(CPU, Recipe(deterministic=asked))
        seen.append(torch.are_deterministic_algorithms_enabled())
    assert seen == [True, True, False, True, False]


def test_what_a_user_has_made_deterministic_stays(settings: dict[str, Any]) -> None:
    torch.use_deterministic_algorithms(True)
    for asked in (False, True, False):
        set_up(CPU, Recipe(deterministic=asked))
        assert torch.are_deterministic_algorithms_enabled()


# Networks ----------------------------------------------------------------------------------------------------------


def test_channels_last_is_another_layout_of_the_same_network() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())
    pictures = torch.randn(2, 3, 9, 9)
    before, state = network(pictures), {name: x.clone() for name, x in network.state_dict().items()}
    put_channels_last(network)
    assert all(torch.equal(state[name], x) for name, x in network.state_dict().items())
    assert network[0](pictures).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(network(pictures), before)


def test_a_single_channel_is_said_to_come_last() -> None:
    """By its strides: torch reads there how a convolution's output and its gradient lie."""
    torch.manual_seed(0)
    network, spectrogram = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)), torch.randn(2, 1, 9, 7)
    turned = spectrogram.transpose(2, 3)
    before = network(spectrogram), network(turned), network(spectrogram[0])
    seen = list[tuple[int, ...]]()
    put_channels_last(network)
    for convolution in network:
        convolution.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].stride()))
    after = network(spectrogram), network(turned), network(spectrogram[0])
    torch.testing.assert_close(after, before)
    assert seen[0] == (63, 1, 7, 1)
    assert seen[1][1] == 1
    assert seen[2] == turned.stride()


@pytest.mark.parametrize(
    ("device", "precision", "last"),
    [(CUDA, "fp32", False), (CUDA, "tf32", True), (CUDA, "bf16", True), (CPU, "bf16", False)],
)
def test_a_gpu_has_channels_last_where_its_tensor_cores_compute(
    monkeypatch: pytest.MonkeyPatch, device: torch.device, precision: Any, last: bool
) -> None:
    moved, laid = list[torch.device](), list[object]()
    method = SimpleNamespace(encoders={})
    method.to = lambda device: moved.append(device) or method
    monkeypatch.setattr(device_module, "put_channels_last", laid.append)
    assert placed_method(method, device, Recipe(precision=precision)) is method  # type: ignore[arg-type,comparison-overlap]
    assert (moved, laid) == ([device], [method] * last)


def test_encoders_are_compiled_once_each_for_whole_batches_and_train_as_plain_ones_do(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of 40 samples in batches of 16 the last has 8, and the splits that are scored have 22."""
    sizes = list[int]()

    def compiler(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
        sizes.extend(len(x) for x in inputs if not isinstance(x, nn.Parameter))
        return graph.forward

    monkeypatch.setattr(device_module, "COMPILER", compiler)
    compiled, plain = (
        toy_training("joint", samples=40, batch_size=16, epochs=2, compile=asked) for asked in (True, False)
    )
    results = list[dict[str, float]]()
    for training in (compiled, plain):
        list(training.epochs())
        results.append(training.result().test)
    assert sizes == [16] * len(compiled.method.encoders)
    assert results[0] == pytest.approx(results[1])


# Data --------------------------------------------------------------------------------------------------------------


def test_a_dataset_that_fits_lives_on_the_device_with_all_its_splits() -> None:
    dataset = toy_dataset()
    placed = ResidentDataset().place(dataset, META, limit=stored(dataset))
    assert places(placed) == {"meta"}
    assert {split.labels.device for split in (placed.train, placed.validation, placed.test)} == {META}


def test_of_one_that_does_not_fit_the_labels_live_there_alone() -> None:
    dataset, resident = toy_dataset(), ResidentDataset()
    placed = resident.place(dataset, META, limit=stored(dataset) - 1)
    assert places(placed) == {"cpu"}
    assert {split.labels.device for split in (placed.train, placed.validation, placed.test)} == {META}
    assert resident.place(dataset, META, limit=stored(dataset) - 1) is not placed


def test_the_next_run_that_reads_the_dataset_finds_it_there_and_another_takes_its_place() -> None:
    first, second, resident = toy_dataset(), toy_dataset(3), ResidentDataset()
    placed = resident.place(first, META, limit=stored(second))
    assert resident.place(first, META, limit=0) is placed
    assert resident.place(first, CPU, limit=stored(second)) is not placed
    other = resident.place(second, META, limit=stored(second))
    assert other.modalities == second.modalities
    assert resident.place(first, META, limit=stored(second)) is not placed


def test_with_the_dataset_goes_what_lives_on_the_device() -> None:
    first, second, resident = toy_dataset(), toy_dataset(), ResidentDataset()
    limit = stored(first)
    resident.place(first, META, limit)
    placed = resident.place(second, META, limit)
    del first
    gc.collect()
    assert resident.place(second, META, limit) is placed
    del second
    gc.collect()
    assert resident._placed is None


def test_on_a_cpu_a_dataset_stays_what_it_is() -> None:
    dataset = toy_dataset()
    assert placed_dataset(dataset, CPU) is dataset


@pytest.mark.parametrize(("share", "there"), [(1.0, "meta"), (0.5, "cpu")])
def test_what_fits_is_decided_by_the_runs_share_of_the_card(
    monkeypatch: pytest.MonkeyPatch, share: float, there: str
) -> None:
    dataset = toy_dataset()

    class Card:
        total_memory = stored(dataset) / device_module.DATA_SHARE

    class OnMeta(ResidentDataset):
        def place(self, dataset: Dataset, device: torch.device, limit: float) -> Dataset:
            return super().place(dataset, META, limit)

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Card)
    monkeypatch.setattr(device_module, "_resident", OnMeta())
    placed = placed_dataset(dataset, CUDA, share)
    assert places(placed) == {there}
    assert reads_from_host(placed, CUDA) is (there == "cpu")
    assert not reads_from_host(placed, CPU)
