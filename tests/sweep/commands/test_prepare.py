"""The command that prepares a dataset: what it says, what it refuses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from support.binary_files_dataset import write_pictures
from support.command_desk import Desk
from support.running_ray import running_ray

from data.base import DataError
from data.manifest import Manifest, ManifestOptions
from data.prepared.cache.folder import CacheFolder
from data.prepared.cache.preparation import Preparation
from sweep.commands.prepare import prepare_dataset
from sweep.config import ConfigError
from sweep.engine import prepare
from sweep.engine.on_ray.session import RaySession

PHOTO = {"photo": {"kind": "image", "size": 16, "crop_scale": None}}
WORD = "modalities={photo: {kind: image, size: 16, crop_scale: null}}"


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "caches"))
    monkeypatch.setattr(prepare, "processors", lambda: 1)
    return tmp_path / "caches"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "set")


def work(file: Path) -> Preparation:
    return Manifest.preparation(ManifestOptions.model_validate({"root": str(file), "modalities": PHOTO}))


def command(dataset: str, root: Path | None, *words: str) -> list[str]:
    out = io.StringIO()
    prepare_dataset(dataset, root, words, True, RaySession(), Console(file=out, width=160))
    return out.getvalue().splitlines()


def test_preparing_tells_what_it_does_and_where_the_cache_is(file: Path) -> None:
    first, second, third = command("manifest", file, WORD)
    folder = work(file).folder
    assert first == "manifest (own): preparing 20 of 20 samples"
    assert second.startswith("manifest (own): 20 of 20 samples prepared, ")
    assert "a second" in second
    assert third.startswith(f"manifest (own): 20 of 20 samples in {folder.path.parent}, ")
    assert third.endswith("KiB")
    assert command("manifest", file, WORD) == [third]

    file.write_text(file.read_text().replace("1.png,bright", "1.png,dark"))
    again, last = command("manifest", file, WORD)
    assert again == f"manifest (own): all 20 samples are there; changed since the cache {folder.name[-16:]}: manifest"
    assert last == third
    file.write_text(file.read_text().replace("2.png,dark,train\n", ""))
    (file.parent / "2.png").rename(file.parent / "new.png")
    Image.new("RGB", (20, 16), (1, 2, 3)).save(file.parent / "new.png")
    file.write_text(file.read_text() + "new.png,dark,train\n")
    assert command("manifest", file, WORD)[0].startswith("manifest (own): preparing 1 of 20 samples; changed since")


def test_files_that_are_left_out_are_listed(file: Path) -> None:
    (file.parent / "3.png").write_bytes(b"no picture")
    (file.parent / "4.png").unlink()
    with pytest.raises(DataError, match=r"2 of 20 samples .*line 6.*line 5"):
        command("manifest", file, WORD, "allowed_missing=0.05")
    *_, kept, missing, corrupt = command("manifest", file, WORD, "data.manifest.allowed_missing=0.1")
    assert "18 of 20 samples in" in kept
    assert missing.startswith("  left out: line 6 (")
    assert corrupt.startswith("  left out: line 5 (")
    assert "3.png" in corrupt


def test_classes_that_a_split_lacks_are_listed(file: Path) -> None:
    file.write_text(file.read_text() + "0.png,dusky,test\n")
    *_, noted = command("manifest", file, WORD, "allow_repeats=true")
    assert noted == "  test: 1 class ('dusky') that no training sample has, and no model can learn"


def test_datasets_that_need_no_preparation_are_loaded() -> None:
    assert command("digits", None, "train_samples=50") == [
        "digits: ready, 50 training, 324 validation, 395 test samples"
    ]


@pytest.mark.parametrize(
    ("dataset", "words", "message"),
    [
        ("manifesto", [], "no dataset called 'manifesto'; did you mean manifest?"),
        ("manifest", ["modalitys={}"], "command line: modalitys={}: no option of manifest called 'modalitys'; did you"),
        ("manifest", [WORD, "profile=20s"], "command line: profile=20s: "),
        ("manifest", [WORD, "profile"], "command line: profile: expected key=value"),
        ("manifest", [WORD, "label=x", "label.y=2"], "label is no mapping"),
        ("manifest", [WORD, "modalities.photo.size=3"], "expected a number at least 8, not 3"),
    ],
)
def test_mistakes_in_the_command_are_named(file: Path, dataset: str, words: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as found:
        command(dataset, file, *words)
    assert message in str(found.value)


def test_without_a_root_the_option_is_asked_for() -> None:
    with pytest.raises(ConfigError, match=r"data.manifest.root: is missing: the CSV file"):
        command("manifest", None, WORD)


@pytest.mark.ray
def test_every_node_of_a_cluster_prepares_what_it_lacks(tmp_path: Path, file: Path) -> None:
    desk = Desk(tmp_path)
    with running_ray() as address:
        words = ("prepare", "manifest", "--root", str(file), WORD, "--address", address)
        code, out, err = desk.run(*words)
        assert (code, err) == (0, "")
        assert "manifest (own): 20 of 20 samples prepared" in out
        assert f"20 of 20 samples in {work(file).folder.path.parent}" in out
        assert len(work(file).shards) == 3
        meta = CacheFolder(work(file).folder.name).meta()
        assert meta is not None
        assert meta.samples == {"train": 12, "validation": 4, "test": 4}
        (file.parent / "3.png").write_bytes(b"no picture")
        code, out, err = desk.run(*words)
    assert code == 2
    assert "1 of 20 samples cannot be used" in err
    assert "Traceback" not in err
    assert 'File "' not in err  # nor one of Ray's, which lacks that heading
