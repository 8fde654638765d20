from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.small_runs import make_run

import data
import methods
from data.base import corrupted
from sweep.runs import code_texts, identity
from sweep.runs.identity import (
    canonical,
    choices_hash,
    code_digest,
    code_digests,
    configuration_hash,
    dataset_key,
    digest,
    folder_digests,
    read_code_digest,
    run_hash,
    seed_hashes,
    source_digest,
)
from sweep.runs.module_imports import PACKAGES
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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1, "1"),
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e-15, "1e-15"),
        (1e22, "10000000000000000000000"),
        (True, "true"),
        (None, "null"),
        ("1", '"1"'),
        ("ω", '"ω"'),
        ((1, 2.0), "[1,2]"),
        (np.int64(3), "3"),
        (np.uint8(3), "3"),
        (np.int64(2**60 + 1), "1152921504606846977"),
        (np.float32(0.5), "0.5"),
        (np.float64(2.0), "2"),
        (2**60 + 1, "1152921504606846977"),
        ({"b": [1.5, {}], "a": None}, '{"a":null,"b":[1.5,{}]}'),
    ],
)
def test_the_canonical_form_of_a_value(value, text):
    assert canonical(value) == text


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (float("nan"), ValueError),
        (float("inf"), (ValueError, OverflowError)),
        ({1: 2}, TypeError),
        ({1, 2}, TypeError),
        (np.array([1]), TypeError),
        (np.bool_(True), TypeError),
        (1j, TypeError),
    ],
)
def test_what_has_no_canonical_form(value, error):
    with pytest.raises(error):
        canonical(value)


@given(st.dictionaries(st.text(), st.integers(-(2**53), 2**53), max_size=6))
def test_neither_order_nor_the_type_of_a_number_counts(values):
    turned = {key: float(value) for key, value in reversed(values.items())}
    assert canonical(turned) == canonical(values)


@given(st.floats(allow_nan=False, allow_infinity=False), st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_agree_exactly_where_they_are_equal(a, b):
    assert (canonical(a) == canonical(b)) == (a == b)


def test_digests_have_sixteen_digits():
    # printf '{"a":1}' | sha256sum
    assert digest({"a": 1.0}) == "015abd7f5cc57a2d"


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


def test_the_code_has_one_digest():
    assert code_digest() == code_digest()
    assert read_code_digest() == code_digest()
    assert len(code_digest()) == 16


def test_the_digest_of_a_folder_is_of_what_no_identity_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = folder_digests()
    texts = identity._text_digests()
    changed = {}
    for file in (
        "methods/joint.py",
        "methods/__init__.py",
        "data/base/dataset.py",
        "models/__init__.py",
        "sweep/runs/identity.py",
    ):
        assert file in texts
        monkeypatch.setattr(identity, "_text_digests", lambda file=file: {**texts, file: "edited"})
        found = identity.folder_digests.__wrapped__()
        changed[file] = [name for name in now if now[name] != found[name]]
    assert changed == {
        "methods/joint.py": [],
        "methods/__init__.py": ["methods"],
        "data/base/dataset.py": ["data"],
        "models/__init__.py": ["models"],
        "sweep/runs/identity.py": ["sweep"],
    }


def test_files_of_editors_are_no_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in PACKAGES:
        (tmp_path / package).mkdir()
    (tmp_path / "sweep" / "runs").mkdir()
    (tmp_path / "methods" / "mine.py").write_bytes(b"x = '\xc3")  # half a character, as of a file that is being written
    monkeypatch.setattr(code_texts, "__file__", str(tmp_path / "sweep" / "runs" / "code_texts.py"))
    before = read_code_digest()
    (tmp_path / "methods" / ".#mine.py").symlink_to("user@host.1234")
    assert read_code_digest() == before
    (tmp_path / "methods" / "mine.py").write_text("x = 'é'")
    assert read_code_digest() != before


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
