"""What a cache says of itself is what it is read back as, and no record can be changed."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from data.prepared.cache.records import Content, Marker, Meta, Skipped

CONTENT = Content(manifest="a", media="b", forms="c")
SKIPPED = Skipped(split="train", row=3, id="clip-3", reason="the file is empty")
META = Meta(dataset="d", profile="p", key="k", content=CONTENT, forms={"face": "Image() version 1"},
            samples={"train": 4}, bytes=7, skipped=(SKIPPED,), notes=("read from a list",))  # fmt: skip


@pytest.mark.parametrize("name", ["manifest", "media", "forms", "layout"])
def test_a_change_of_the_content_is_named(name: str) -> None:
    other = CONTENT.model_copy(update={name: "z"})
    assert CONTENT.changes(other) == other.changes(CONTENT) == [name]


def test_equal_contents_have_no_change_and_several_changes_are_all_named() -> None:
    assert CONTENT.changes(Content(manifest="a", media="b", forms="c")) == []
    assert CONTENT.changes(Content(manifest="b", media="c", forms="a")) == ["manifest", "media", "forms"]
    assert CONTENT.changes(Content(manifest="x", media="b", forms="y")) == ["manifest", "forms"]


def test_records_are_read_back_as_they_were_written() -> None:
    marker = Marker(skipped=(SKIPPED,))
    assert Marker.model_validate_json(marker.model_dump_json()) == marker
    assert Meta.model_validate_json(META.model_dump_json()) == META


def test_a_marker_of_a_shard_without_skipped_samples_and_a_cache_from_before_notes_are_read() -> None:
    assert Marker.model_validate_json("{}") == Marker() == Marker(skipped=())
    least = Meta.model_validate_json(
        '{"dataset": "d", "profile": "p", "key": "k", "content": {"manifest": "a", "media": "b", "forms": "c"}, '
        '"samples": {"train": 4}, "bytes": 7}'
    )
    assert (least.content, least.forms, least.skipped, least.notes) == (CONTENT, {}, (), ())


@pytest.mark.parametrize("text", ["{", "[]", '{"skipped": [{"split": "train", "row": "third"}]}'])
def test_what_is_no_record_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Marker.model_validate_json(text)


@pytest.mark.parametrize(
    ("record", "name"),
    [
        pytest.param(CONTENT, "media", id="Content"),
        pytest.param(SKIPPED, "row", id="Skipped"),
        pytest.param(Marker(), "skipped", id="Marker"),
        pytest.param(META, "bytes", id="Meta"),
    ],
)
def test_records_cannot_be_changed(record: Content | Skipped | Marker | Meta, name: str) -> None:
    with pytest.raises(ValidationError, match="frozen"):
        setattr(record, name, getattr(record, name))
