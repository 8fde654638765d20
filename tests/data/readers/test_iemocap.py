"""IEMOCAP's lists and the corpus' own files: rows, their places, and how they are split."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from support.dataset_folders import lines, touch

from data.base import DataError
from data.prepared.lists.rows import Lists
from data.readers.iemocap import (
    CLASSES,
    Utterance,
    find_session,
    read_corpus,
    read_list,
    split_lists,
    split_session,
    utterance,
)


def row(number: int, session: int = 1, label: int = 0, dialogue: str = "F_impro01") -> Utterance:
    return utterance(f"Ses0{session}{dialogue}_F{number:03d}", label, "words", f"here, line {number}")


def test_an_id_says_session_and_dialogue() -> None:
    found = utterance("Ses03M_script01_1_F012", 2, "I see", "a.txt, line 3")
    assert (found.session, found.dialogue, found.group) == (3, "Ses03M_script01_1", "")
    assert (found.label, found.text, found.where) == (2, "I see", "a.txt, line 3")
    for id in ("Ses06F_impro01_F000", "Ses01X_impro01_F000", "Ses01F_impro01", "xSes01F_impro01_F000"):
        with pytest.raises(DataError, match=rf"a\.txt, line 3: '{id}' is not of the form Ses01F_impro01_F000"):
            utterance(id, 2, "", "a.txt, line 3")


def test_a_line_of_a_list_has_a_path_or_an_id_what_is_said_and_a_label(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.txt", [
        "/x/Ses01F_impro01_F000.mp4 [split|sign] Yes . [split|sign] Sad",
        "Ses02F_impro01_M001.wav [split|sign]  No  [split|sign] Angry",
    ])  # fmt: skip
    first, second = read_list(path)
    assert (first.id, first.text, CLASSES[first.label], first.where) == (
        "Ses01F_impro01_F000", "Yes .", "Sad", f"{path}, line 1",
    )  # fmt: skip
    assert (second.id, second.text, CLASSES[second.label]) == ("Ses02F_impro01_M001", "No", "Angry")
    lines(path, ["Ses01F_impro01_F000 [split|sign] Yes [split|sign] Sad"] * 2)
    with pytest.raises(DataError, match="Ses01F_impro01_F000 stands also in"):
        read_list(path)


# The corpus -------------------------------------------------------------------------------------------------------


def write_session(root: Path, session: int, codes: dict[str, str], silent: str = "") -> None:
    folder, name = root / f"Session{session}/dialog", f"Ses0{session}F_impro01"
    labelled = [f"[6.29 - 8.24]\t{name}_{place}\t{code}\t[2.5, 2.5, 2.5]" for place, code in codes.items()]
    lines(folder / f"EmoEvaluation/{name}.txt", ["% [START_TIME - END_TIME]", *labelled])
    spoken = [f"{name}_{place} [006.29-008.24]: Word {place} " for place in codes if place != silent]
    lines(folder / f"transcriptions/{name}.txt", [*spoken, "M: (laughs)"])
    touch(folder / "transcriptions/readme.doc", content=b"\xff")


def corpus(root: Path) -> dict[str, Utterance]:
    return read_corpus(root, Lists((root / "lists",), "MLA"))


@pytest.mark.parametrize("release", ["", "IEMOCAP_full_release"])
def test_the_corpus_gives_the_utterances_of_four_classes_where_all_sessions_are_there(
    tmp_path: Path, release: str
) -> None:
    codes = {"F000": "ang", "F001": "exc", "M000": "fru", "M001": "neu", "M002": "hap", "F002": "sad"}
    for session in range(1, 5):
        write_session(tmp_path / release, session, codes)
    assert corpus(tmp_path) == {}
    write_session(tmp_path / release, 5, codes)
    found = corpus(tmp_path)
    assert len(found) == 5 * 5
    own = {id[-4:]: each for id, each in found.items() if each.session == 4}
    assert {place: CLASSES[each.label] for place, each in own.items()} == {
        "F000": "Angry", "F001": "Happy", "M001": "Neutral", "M002": "Happy", "F002": "Sad",
    }  # fmt: skip
    assert own["M001"].text == "Word M001"
    assert own["M001"].where.endswith("Ses04F_impro01.txt, line 5")
    assert find_session(tmp_path, 2, "dialog") == tmp_path / release / "Session2/dialog"
    assert find_session(tmp_path, 2, "sentences") is None


def test_an_utterance_of_the_four_classes_needs_its_words(tmp_path: Path) -> None:
    for session in range(1, 6):
        write_session(tmp_path, session, {"F000": "ang", "F001": "xxx"}, silent="F001")
    assert len(corpus(tmp_path)) == 5
    write_session(tmp_path, 2, {"F000": "ang", "F001": "sad"}, silent="F001")
    with pytest.raises(DataError, match=r"impro01\.txt, line 3: Ses02F_impro01_F001 has no transcript under .*transcr"):
        corpus(tmp_path)


def test_lists_of_sessions_go_before_the_corpus_where_there_is_one_of_each(tmp_path: Path) -> None:
    for session in range(1, 6):
        write_session(tmp_path, session, {"F000": "ang"})
    for session in range(1, 6):
        assert {each.text for each in corpus(tmp_path).values()} == {"Word F000"}
        row = f"Ses0{session}F_impro01_F009 [split|sign] Listed [split|sign] Sad"
        lines(tmp_path / f"lists/Session{session}.txt", [row])
    assert {each.text for each in corpus(tmp_path).values()} == {"Listed"}
    lines(tmp_path / "lists/Session5.txt", ["Ses01F_impro01_F009 [split|sign] Again [split|sign] Sad"])
    with pytest.raises(DataError, match="Ses01F_impro01_F009 stands also in"):
        corpus(tmp_path)


# Splits -----------------------------------------------------------------------------------------------------------

ROWS = [row(number, label=number % 2) for number in range(60)]
ALL = {each.id: each for each in ROWS}


def test_what_the_lists_leave_of_the_corpus_is_validation_by_id() -> None:
    splits, note = split_lists(ROWS[:40], ROWS[40:50], dict(reversed(ALL.items())), 0)
    assert splits == {"train": ROWS[:40], "validation": ROWS[50:], "test": ROWS[40:50]}
    assert note == "validation: what the lists leave of the corpus"
    with pytest.raises(DataError, match="the two lists name every utterance of the corpus; none is left"):
        split_lists(ROWS[:50], ROWS[50:], ALL, 0)


def test_lists_that_contradict_the_corpus_are_refused() -> None:
    with pytest.raises(DataError, match="line 45: Ses01F_impro01_F045 is not among the corpus' utterances of the four"):
        split_lists(ROWS[:40], ROWS[40:50], {id: each for id, each in ALL.items() if each is not ROWS[45]}, 0)
    other = {**ALL, ROWS[7].id: replace(ROWS[7], label=3, where="there, line 9")}
    with pytest.raises(DataError, match="line 7: label Happy, but Sad in there, line 9"):
        split_lists(ROWS[:40], ROWS[40:50], other, 0)


def test_without_a_corpus_a_tenth_of_each_class_of_the_training_list_is_validation() -> None:
    splits, note = split_lists(ROWS[:40], ROWS[40:], {}, 3)
    assert [sum(each.label == label for each in splits["validation"]) for label in (0, 1)] == [2, 2]
    assert sorted(each.id for part in ("train", "validation") for each in splits[part]) == [r.id for r in ROWS[:40]]
    assert splits["test"] == ROWS[40:]
    assert note == (
        "validation: 10% of each class of the training list, as the corpus' labels are not in root (seed 3)"
    )
    assert split_lists(ROWS[:40], ROWS[40:], {}, 4)[0]["validation"] != splits["validation"]


def test_a_session_is_the_test_and_whole_dialogues_of_the_others_validation() -> None:
    rows = [row(n, s, n % 2, f"F_impro{d:02d}") for s in (1, 2, 3) for d in range(10) for n in range(4)]
    splits, note = split_session(rows[::-1], 2, 0)
    assert [each.id for each in splits["test"]] == [each.id for each in rows if each.session == 2]
    assert {each.session for part in ("train", "validation") for each in splits[part]} == {1, 3}
    held, kept = ({each.group for each in splits[part]} for part in ("validation", "train"))
    assert held
    assert not held & kept
    assert len(splits["validation"]) == 8
    assert note == "test: session 2; validation: dialogues with 10% of the others (seed 0)"
    assert {each.id for each in split_session(rows, 2, 1)[0]["validation"]} != {e.id for e in splits["validation"]}
