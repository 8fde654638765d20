from pathlib import Path

import pytest
from support.small_runs import make_run

import data
import methods
from data.base import corrupted
from sweep.runs.identity import (
    choices_hash,
    code_digests,
    configuration_hash,
    dataset_key,
    run_hash,
    seed_hashes,
    source_digest,
)
from sweep.runs.records import Run
from sweep.training.recipe import Recipe

pytest_plugins = ["support.fake_declarations"]

RUN = Run(
    method="mixer",
    hyperparameters={"alpha": 0.5, "kind": "round", "steps": 3, "radius": 0.1},
    dataset="files",
    data={"root": "here", "size": 8},
    fingerprint="abc",
    encoders={"audio": {"name": "mlp", "width": 64}, "image": {"name": "mlp", "width": 64}},
    train=Recipe(),
    epochs=5,
    metric="accuracy",
    patience=None,
    test_peak=False,
    seed=0,
    source={"method": "m", "dataset": "d"},
)


def changed(**fields):
    return RUN.model_copy(update=fields)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    "fields",
    [
        {"data": {"root": "elsewhere", "size": 8}},
        {"train": Recipe(device="cpu")},
        {"workers": 2},
        {"hyperparameters": {"radius": 0.1, "steps": 3, "kind": "round", "alpha": 0.5}},
    ],
)
def test_what_cannot_change_the_result_is_no_part_of_a_run(fields):
    assert run_hash(changed(**fields)) == run_hash(RUN)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    "fields",
    [
        {"method": "ranker", "hyperparameters": {}},
        {"hyperparameters": {"alpha": 0.6, "kind": "round", "steps": 3, "radius": 0.1}},
        {"dataset": "toy", "data": {}},
        {"data": {"root": "here", "size": 9}},
        {"fingerprint": "abd"},
        {"encoders": {"audio": {"name": "mlp", "width": 32}, "image": {"name": "mlp", "width": 64}}},
        {"train": Recipe(lr=0.1)},
        {"train": Recipe(threads=2)},
        {"epochs": 6},
        {"metric": "map"},
        {"patience": 3},
        {"test_peak": True},
        {"source": {"method": "m2", "dataset": "d"}},
        {"source": {"method": "m", "dataset": "d2"}},
        {"numerics": 1},
    ],
)
def test_what_can_change_the_result_changes_both_hashes(fields):
    assert run_hash(changed(**fields)) != run_hash(RUN)
    assert configuration_hash(changed(**fields)) != configuration_hash(RUN)


@pytest.mark.usefixtures("fakes")
def test_a_configuration_is_a_run_without_its_seed():
    assert configuration_hash(changed(seed=7)) == configuration_hash(RUN)
    assert len({run_hash(changed(seed=seed)) for seed in range(5)}) == 5


def test_a_configuration_is_a_run_without_its_split() -> None:
    def of(**options: object) -> Run:
        return make_run(data={"train_samples": 100, **options})

    assert configuration_hash(of(split_seed=3)) == configuration_hash(of(split_seed=0))
    assert run_hash(of(split_seed=3)) != run_hash(of(split_seed=0))
    assert configuration_hash(of(split_seed=0, train_samples=101)) != configuration_hash(of(split_seed=0))


def test_runs_read_the_same_where_dataset_content_and_options_are_the_same() -> None:
    run = make_run(data={"a": 1, "b": 2.0})
    assert dataset_key(run) == dataset_key(make_run(data={"b": 2, "a": 1}, seed=3, method="iprm"))
    for other in ({"dataset": "mfeat"}, {"fingerprint": "g"}, {"data": {"a": 1, "b": 3}}):
        assert dataset_key(run.model_copy(update=other)) != dataset_key(run)


def test_the_code_that_corrupts_the_data_counts_where_they_are_corrupted() -> None:
    method, source = methods.get("iprm"), data.get("digits")
    plain = {"method": source_digest(method), "dataset": source_digest(source)}
    assert code_digests(method, source, source.Options()) == plain
    noisy = source.Options.model_validate({"corrupt": {"left": {"noise": 1}}})
    assert code_digests(method, source, noisy) == {**plain, "corruption": source_digest(corrupted)}


@pytest.mark.usefixtures("fakes")
def test_hashes_of_several_seeds_are_those_of_the_runs():
    seeds = [3, 0, 2**40]
    assert seed_hashes(changed(), seeds) == [run_hash(changed(seed=seed)) for seed in seeds]


@pytest.mark.usefixtures("fakes")
def test_what_was_chosen_for_a_run_is_neither_its_data_nor_its_code():
    run = RUN
    others = {"fingerprint": "of other labels", "source": {"method": "0", "dataset": "1"}, "numerics": 99}
    assert choices_hash(run.model_copy(update=others)) == choices_hash(run)
    assert choices_hash(run.model_copy(update={"seed": 7})) != choices_hash(run)
    assert choices_hash(run.model_copy(update={"epochs": 7})) != choices_hash(run)


@pytest.mark.usefixtures("fakes")
def test_the_number_of_workers_counts_where_it_matters():
    flat = changed(hyperparameters={**RUN.hyperparameters, "kind": "flat"})
    assert run_hash(flat.model_copy(update={"workers": 2})) != run_hash(flat)


def test_weights_to_start_from_count_by_their_content(tmp_path: Path) -> None:
    here, there, other = (tmp_path / name for name in ("here.pt", "there.pt", "other.pt"))
    here.write_bytes(b"weights")
    there.write_bytes(b"weights")
    other.write_bytes(b"others!")
    hashes = [run_hash(make_run(encoders={"left": {"pretrained": str(path)}})) for path in (here, there, other)]
    assert hashes[0] == hashes[1] != hashes[2]
    other.write_bytes(b"weights of another size")
    assert run_hash(make_run(encoders={"left": {"pretrained": str(other)}})) not in hashes
    named = [run_hash(make_run(encoders={"left": {"pretrained": name}})) for name in (None, "IMAGENET1K_V1")]
    assert len({*named, *hashes}) == 4


def test_a_pretrained_backbone_of_a_method_counts_by_its_content(tmp_path: Path) -> None:
    def of(content: str, name: str) -> str:
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(content)
        return run_hash(make_run(method="moka", hyperparameters={"pretrained": str(tmp_path / name)}))

    assert of("{}", "here") == of("{}", "there") != of("[]", "elsewhere")


def test_a_folder_of_weights_counts_by_its_files(tmp_path: Path) -> None:
    def folder(name: str, files: dict[str, str]) -> str:
        for file, text in files.items():
            path = tmp_path / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return run_hash(make_run(encoders={"left": {"pretrained": str(tmp_path / name)}}))

    files = {"config.json": "{}", "model.safetensors": "weights"}
    first = folder("first", files)
    assert folder("second", files) == first
    assert folder("cached", {**files, ".cache/lock": "1"}) == first
    assert folder("other", {**files, "config.json": "[]"}) != first
    assert folder("renamed", {"config.json": "{}", "other.safetensors": "weights"}) != first
    assert folder("second", {"model.safetensors": "weights of another size"}) != first
