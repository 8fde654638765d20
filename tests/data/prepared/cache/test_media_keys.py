"""Media are known by what they hold."""

from __future__ import annotations

import json
import os
import pwd
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from data.prepared.cache import media_keys
from data.prepared.cache.folder import CacheError, CacheFolder
from data.prepared.cache.media_keys import file_digest, medium_key, remembered_digests
from data.prepared.lists.items import Clip


def written(path: Path, content: bytes, seconds_ago: float = 10.0) -> Path:
    path.write_bytes(content)
    then = path.stat().st_mtime_ns - int(seconds_ago * 1e9)
    os.utime(path, ns=(then, then))
    return path


def test_equal_media_have_equal_keys_and_others_have_not(tmp_path: Path) -> None:
    a, b, c = (written(tmp_path / name, content) for name, content in (("a", b"1"), ("b", b"1"), ("c", b"2")))
    assert medium_key(a) == medium_key(b)
    others = [
        a,
        c,
        (a,),
        (a, b),
        (a, c),
        (c, a),
        Clip(a, 0, 2),
        Clip(a, 1, 2),
        Clip(c, 0, 2),
        "1",
        "2",
        tmp_path / "no",
    ]
    # One picture is a clip of one frame.
    assert len({medium_key(medium) for medium in others}) == len(others) - 1
    assert len(medium_key("caf\udce9")) == 16


@pytest.mark.parametrize("place", [0, 100, 2**12 - 1])
def test_a_large_file_is_known_by_pieces_from_end_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    monkeypatch.setattr(media_keys, "_PIECE", 128)
    monkeypatch.setattr(media_keys, "_PIECES", 4)
    content = bytearray(2**12)
    before = file_digest(written(tmp_path / "a", content))
    content[place] = 1
    assert file_digest(written(tmp_path / "b", content)) != before
    assert file_digest(written(tmp_path / "c", bytes(2**12 + 1))) != before
    assert file_digest(written(tmp_path / "d", bytes(2**12))) == before


def test_files_are_read_again_only_where_they_may_have_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, digest = list[str](), media_keys.file_digest

    def told(path: Path) -> bytes:
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(media_keys, "file_digest", told)
    monkeypatch.setattr(media_keys, "_SETTLED", -(10**12))  # times of changes cannot be set back
    paths = [written(tmp_path / name, name.encode()) for name in "abc"]
    first = remembered_digests(tmp_path, [*paths, *paths])
    assert sorted(read) == ["a", "b", "c"]
    assert remembered_digests(tmp_path, paths) == first
    assert len(read) == 3
    written(paths[1], b"x")
    second = remembered_digests(tmp_path, [*paths, tmp_path / "absent"])
    assert sorted(read[3:]) == ["absent", "b"]
    assert second[paths[1]] != first[paths[1]]
    assert second[paths[0]] == first[paths[0]]
    (memory,) = CacheFolder("media-digests").path.iterdir()
    stats = {path: path.stat() for path in paths}
    assert json.loads(memory.read_bytes()) == {  # nothing of a file that is not there
        str(path): [1, stat.st_mtime_ns, stat.st_ctime_ns, second[path].hex()] for path, stat in stats.items()
    }


def test_what_has_just_changed_may_change_again_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media_keys, "_SETTLED", 10**15)
    path = written(tmp_path / "a", b"1")
    before, stat = remembered_digests(tmp_path, [path]), path.stat()
    path.write_bytes(b"2")
    os.utime(path, ns=(stat.st_mtime_ns, stat.st_mtime_ns))
    assert remembered_digests(tmp_path, [path]) != before


def test_what_is_remembered_may_be_damaged_or_impossible_to_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caches: Path
) -> None:
    monkeypatch.setattr(media_keys, "_SETTLED", -(10**12))
    path = written(tmp_path / "a", b"1")
    found = remembered_digests(tmp_path, [path])
    (memory,) = (caches / "media-digests").iterdir()
    memory.write_bytes(b"{cut")
    assert remembered_digests(tmp_path, [path]) == found

    def refuse(file: Path, content: bytes) -> None:
        raise PermissionError

    memory.unlink()
    monkeypatch.setattr(media_keys, "write_atomic", refuse)
    assert remembered_digests(tmp_path, [path]) == found


def test_without_a_folder_of_caches_nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a", b"1")
    for name in ("SWEEP_CACHE", "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", {}.__getitem__)
    assert remembered_digests(tmp_path, [path]) == {path: file_digest(path)}


def test_digests_that_others_may_write_are_not_taken(tmp_path: Path, caches: Path) -> None:
    (caches / "media-digests").mkdir(parents=True)
    (caches / "media-digests").chmod(0o777)
    with pytest.raises(CacheError, match="not to be trusted"):
        remembered_digests(tmp_path, [written(tmp_path / "a", b"1")])


def test_a_key_is_the_digest_of_the_parts_and_their_lengths(tmp_path: Path) -> None:
    """Another key makes every user decode everything again."""

    def short(*parts: bytes) -> bytes:
        return sha256(b"".join(len(part).to_bytes(8) + part for part in parts)).digest()[:16]

    a, b = written(tmp_path / "a", b"one"), written(tmp_path / "b", b"")
    of_a, of_b, gone = short(bytes(7) + b"\x03", b"one"), short(bytes(8), b""), tmp_path / "gone"
    assert (file_digest(a), file_digest(b)) == (of_a, of_b)
    assert file_digest(gone) == short(b"unreadable", os.fsencode(gone))
    assert medium_key((a, b)) == short(b"", of_a, of_b)
    assert medium_key(Clip(a, 3, 13)) == short(b"frames 3 to 13", of_a)
    assert medium_key("café") == short(b"text", "café".encode())
    assert medium_key(a, digest=lambda path: path.name.encode()) == short(b"", b"a")


def test_a_large_file_is_known_by_64_pieces_from_its_first_byte_to_its_last(tmp_path: Path) -> None:
    size = 2**22 + 1  # a byte more than is read as a whole
    path = tmp_path / "large"
    content, starts = np.random.default_rng(0).bytes(size), [k * (size - 2**16) // 63 for k in range(64)]
    path.write_bytes(content)
    parts = [size.to_bytes(8), *(content[start : start + 2**16] for start in starts)]
    assert file_digest(path) == sha256(b"".join(len(part).to_bytes(8) + part for part in parts)).digest()[:16]
    path.write_bytes(content[:-1])
    parts = [(size - 1).to_bytes(8), content[:-1]]
    assert file_digest(path) == sha256(b"".join(len(part).to_bytes(8) + part for part in parts)).digest()[:16]
