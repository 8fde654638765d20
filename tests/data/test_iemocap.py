from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from support.dataset_folders import counts, ids, lines, touch
from support.declarations import assert_declared, assert_paths_have_names

from data.base import DataError
from data.iemocap import IEMOCAP, IEMOCAPOptions
from data.prepared import Listing
from data.readers.iemocap import CLASSES

CODES = ("ang", "hap", "neu", "sad", "exc", "fru", "xxx")
WORDS = {"ang": "Angry", "hap": "Happy", "exc": "Happy", "neu": "Neutral", "sad": "Sad"}
DIALOGUES = [f"Ses0{session}{name}" for session in range(1, 6) for name in ("F_impro01", "M_script01_1")]
CORPUS = {
    f"{dialogue}_{speaker}{number:03d}": CODES[(number + 3 * (speaker == "M")) % 7]
    for dialogue in DIALOGUES
    for speaker in "FM"
    for number in range(7)
}
FOUR = [id for id, code in CORPUS.items() if code in WORDS]
PARTS = {"train": FOUR[0::5] + FOUR[1::5] + FOUR[2::5], "validation": FOUR[3::5], "test": FOUR[4::5]}


def list_line(id: str, end: str = ".mp4") -> str:
    return f"{id}{end} [split|sign] I will call {id[-4:]} . [split|sign] {WORDS[CORPUS[id]]}"


def write_release(root: Path) -> None:
    for dialogue in DIALOGUES:
        folder = root / f"Session{dialogue[4]}" / "dialog"
        own = [id for id in CORPUS if id.startswith(dialogue + "_")]
        labels = [
            f"[{n}.5000 - {n + 1}.2500]\t{id}\t{CORPUS[id]}\t[2.5000, 2.5000, 2.5000]" for n, id in enumerate(own)
        ]
        noise = [
            "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]",
            "",
            "C-E2:\tNeutral;\t()",
            "A-E3:\tval 3;\t()",
        ]
        lines(folder / "EmoEvaluation" / f"{dialogue}.txt", [*noise, *labels])
        touch(folder / "EmoEvaluation" / f"._{dialogue}.txt", content=b"\x00\x05\x16\x07\xff")
        touch(folder / "EmoEvaluation" / "Categorical" / f"{dialogue}_e2_cat.txt", content=b"\xff")
        spoken = [f"{id} [{n:03d}.5000-{n + 1:03d}.2500]: I will call {id[-4:]} ." for n, id in enumerate(own)]
        lines(folder / "transcriptions" / f"{dialogue}.txt", [*spoken, "M: (laughs)"])


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """The release, MLA's two lists in `data`, and its cut faces."""
    write_release(tmp_path)
    for part in ("train", "test"):
        lines(tmp_path / "data" / f"my_{part}_iemo.txt", [list_line(id) for id in PARTS[part]])
    for id in FOUR:
        sound = tmp_path / f"Session{id[4]}" / "sentences" / "wav" / id.rsplit("_", 1)[0] / f"{id}.wav"
        touch(sound, *(tmp_path / "faces" / id / f"{frame:04d}.jpg" for frame in range(3)))
    return tmp_path


def listing(root: Path, **options: Any) -> Listing:
    return IEMOCAP.listing(IEMOCAPOptions(root=str(root), **options))


def test_validation_is_what_the_lists_leave_of_the_corpus(tree: Path) -> None:
    found = listing(tree)
    assert found.classes == ("Angry", "Happy", "Neutral", "Sad")
    assert {split: set(names) for split, names in ids(found).items()} == {p: set(names) for p, names in PARTS.items()}
    for items in found.splits.values():
        assert all(CLASSES[item.label] == WORDS[CORPUS[item.id]] for item in items)
    assert found.notes == ("validation: what the lists leave of the corpus",)
    first = found.splits["validation"][0]
    assert first.media == {
        "audio": tree / "Session1" / "sentences" / "wav" / first.id.rsplit("_", 1)[0] / f"{first.id}.wav",
        "video": tree / "faces" / first.id / "0001.jpg",
        "text": f"I will call {first.id[-4:]} .",
    }


def test_session_lists_stand_in_for_the_corpus(tree: Path) -> None:
    expected = ids(listing(tree))
    for session in range(1, 6):
        shutil.rmtree(tree / f"Session{session}" / "dialog")
        own = [id for id in FOUR if id[4] == str(session)]
        lines(
            tree / f"Session{session}.txt",
            [list_line(f"/data1/IEMOCAP/Session{session}/{id}"[-len(id) :], ".wav") for id in own],
        )
    assert ids(listing(tree)) == expected


def test_without_the_corpus_validation_is_carved(tree: Path) -> None:
    for session in range(1, 6):
        shutil.rmtree(tree / f"Session{session}" / "dialog")
    found = listing(tree)
    assert set(ids(found)["train"] + ids(found)["validation"]) == set(PARTS["train"])
    wanted = [sum(WORDS[CORPUS[id]] == name for id in PARTS["train"]) for name in CLASSES]
    assert counts(found)["validation"] == {label: max(1, round(0.1 * count)) for label, count in enumerate(wanted)}
    assert found.notes[0].startswith("validation: 10% of each class of the training list, as the corpus' labels")


@pytest.mark.parametrize("corpus", [True, False])
def test_one_session_is_left_out_with_whole_dialogues_for_validation(tree: Path, corpus: bool) -> None:
    if not corpus:
        for session in range(1, 6):
            shutil.rmtree(tree / f"Session{session}" / "dialog")
    found = listing(tree, test_session=3)
    known = FOUR if corpus else PARTS["train"] + PARTS["test"]
    assert set(ids(found)["test"]) == {id for id in known if id[4] == "3"}
    dialogues = {split: {item.group for item in items} for split, items in found.splits.items()}
    assert not dialogues["train"] & dialogues["validation"]
    assert sum(len(names) for names in ids(found).values()) == len(known)
    assert found.notes[0].startswith("test: session 3; validation: dialogues")


def test_trees_of_cut_utterances(tree: Path) -> None:
    for id in CORPUS:
        touch(tree / "subaudio" / f"{id}.wav", tree / "subvideo" / f"{id}.mp4")
    faces = listing(tree, profile="light").splits["test"][0]
    assert faces.media["audio"] == tree / "subaudio" / f"{faces.id}.wav"
    assert faces.media["video"] == tuple(tree / "faces" / faces.id / f"000{n}.jpg" for n in range(3))
    shutil.rmtree(tree / "faces")
    assert listing(tree, profile="light").splits["test"][0].media["video"] == tree / "subvideo" / f"{faces.id}.mp4"
    with pytest.raises(
        DataError, match=r"no faces; expected faces/.*as profile mla cannot take subvideo.*\[audio, text\]"
    ):
        listing(tree)
    shutil.rmtree(tree / "subvideo")
    with pytest.raises(DataError, match=r"no faces; .*for profile light, subvideo/"):
        listing(tree)
    assert set(listing(tree, modalities=["audio", "text"]).splits["test"][0].media) == {"audio", "text"}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("Ses01F_impro01_F004.mp4 [split|sign] Neutral", r"2 fields between ' \[split\|sign\] ', expected 3"),
        (f"{list_line(FOUR[4])} [split|sign] x", r"4 fields between"),
        (list_line(FOUR[4]).replace("Ses01", "Ses06"), r"'Ses06F_impro01_F004' is not of the form Ses01F_impro01_F000"),
        (
            list_line(FOUR[4])[: -len(WORDS[CORPUS[FOUR[4]]])] + "Angri",
            r"unknown label 'Angri'; did you mean 'Angry'\?",
        ),
        (f"{list_line(FOUR[4])}\n{list_line(FOUR[4])}", r"my_test_iemo\.txt, line 1"),
        (list_line(FOUR[0]), r"stands also in .*my_train_iemo\.txt, line 1"),
        (list_line(FOUR[4]).replace("impro01", "impro99"), r"is not among the corpus' utterances of the four classes"),
        (
            "Ses01F_impro01_M001.mp4 [split|sign] x [split|sign] Sad",
            r"label Sad, but (Angry|Happy|Neutral) in .*EmoEval",
        ),
    ],
)
def test_a_wrong_line_is_named(tree: Path, row: str, message: str) -> None:
    lines(tree / "data" / "my_test_iemo.txt", [row])
    with pytest.raises(DataError, match=message) as caught:
        listing(tree)
    assert "my_test_iemo.txt, line" in str(caught.value)


def test_what_is_not_there_is_explained(tree: Path) -> None:
    missing = PARTS["test"][0]
    shutil.rmtree(tree / "faces" / missing)
    with pytest.raises(DataError, match=rf"test: 1 of \d+ samples .*{missing}: no folder of faces"):
        listing(tree)
    path = tree / "Session2" / "dialog" / "transcriptions" / "Ses02F_impro01.txt"
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(
        DataError, match=r"EmoEvaluation/Ses02F_impro01\.txt, line \d+: Ses02F_impro01_F\d+ has no transcr"
    ):
        listing(tree)
    for session in range(1, 6):
        shutil.rmtree(tree / f"Session{session}")
    with pytest.raises(DataError, match=r"no sound; expected subaudio or Session1/sentences/wav\. Set `root`"):
        listing(tree)
    (tree / "data" / "my_test_iemo.txt").unlink()
    with pytest.raises(DataError, match=r"no file my_test_iemo\.txt; looked in .*Cecile-hi/Multimodal"):
        listing(tree)


def test_encoders_and_the_recipe_are_those_of_the_papers() -> None:
    assert_declared(
        IEMOCAP,
        {"root": "r"},
        {"audio": "cav_mae", "video": "m3ae_image", "text": "m3ae_text"},
        100,
        optimizer="sgd",
        lr=0.001,
        batch_size=16,
    )
    assert_declared(
        IEMOCAP,
        {"root": "r", "profile": "light", "modalities": ["audio", "text"]},
        {"audio": "resnet18", "text": "bert"},
        100,
        optimizer="sgd",
        lr=0.001,
        batch_size=16,
    )


def test_paths_have_names() -> None:
    assert_paths_have_names(IEMOCAP)
