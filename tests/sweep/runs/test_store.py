"""Run folders: the commit is a rename, torn files lose nothing but themselves, locks end with their process."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from support.forked_programs import Program
from support.prepared_commands import commands
from support.small_runs import make_run

from sweep.runs.environment import record_environment
from sweep.runs.store import Store
from sweep.storage.files import LockedError, StoreError
from sweep.storage.leases import Lease, Leases

FORBIDDEN = """
import os, sys
from pathlib import Path
from filelock import FileLock
from support.small_runs import make_epoch, make_run
from sweep.runs.index import Index
from sweep.runs.environment import record_environment
from sweep.runs.records import FinalRecord, IndexEntry
from sweep.runs.open_store import join_store
from sweep.runs.store import Store
from sweep.storage.files import StoreError
store, environment = Store(Path(sys.argv[1])), record_environment(1)
fields = {"method": "joint", "label": "joint", "dataset": "digits", "role": "sweep", "configuration": "c"}
entry = IndexEntry(hash="a", values={}, seed=0, **fields)
if os.getuid() == 0:
    os.setuid(12345)
folder = store.run("abc")
for act in (
    lambda: store.lock("s"), lambda: store.claim("abc"), lambda: store.claim("new"), store.mark,
    lambda: folder.open(make_run(), environment), lambda: folder.append(make_epoch(1)), lambda: folder.log("x"),
    folder.note_start, folder.forget, lambda: folder.commit(FinalRecord(status="done")),
    lambda: Index(Path(sys.argv[1]) / "s" / "index.jsonl").add(entry),
):
    try:
        act()
        print("nothing was refused")
    except StoreError as error:
        print(error)
"""


@pytest.fixture
def readable() -> Iterator[Path]:
    """A folder that every user may read: pytest's own are their user's."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_folder_that_may_not_be_written_is_named_with_the_remedy(readable: Path) -> None:
    folder = Store(readable).run("abc")
    folder.open(make_run(), record_environment(1))
    (readable / "s").mkdir()
    (folder.path / "final.json").write_text("")
    for path in (folder.path, readable / "runs", readable / "s", readable):
        path.chmod(0o555)
    _, out, err = commands.run_code(FORBIDDEN, str(readable))
    for path in (readable, readable / "s", readable / "runs", folder.path):
        path.chmod(0o755)
    assert err == ""
    said = out.splitlines()
    assert len(said) == 11
    for line in said:
        assert str(readable) in line
        assert line.endswith("Permission denied; make it writable or choose another --results")


HOLD = """
import signal, sys
from pathlib import Path
from sweep.runs.store import Store
held = Store(Path(sys.argv[1])).lock("s"), Store(Path(sys.argv[1])).claim("abc")
print("held", flush=True)
signal.pause()
"""


def test_locks_hold_against_another_process_and_end_with_it(tmp_path: Path) -> None:
    holder = Program(HOLD, str(tmp_path))
    assert holder.stdout.readline() == "held\n"
    store = Store(tmp_path)
    with pytest.raises(LockedError, match="sweep s is being run by another process"):
        store.lock("s")
    assert store.claim("abc") is None
    holder.kill()
    store.lock("s").release()
    claim = store.claim("abc")
    assert claim is not None
    claim.release()


def test_a_results_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    with pytest.raises(StoreError, match="choose another --results"):
        Store(tmp_path / "results").sweep("s")
    with pytest.raises(StoreError, match="choose another --results"):
        Store(tmp_path / "results").claim("abc")


def test_leases_stand_in_where_the_file_system_knows_no_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: FileLock, blocking: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)
    one, other = Store(tmp_path), Store(tmp_path)
    held = one.lock("s")
    with pytest.raises(LockedError, match=rf"process {os.getpid()} on .* last seen"):
        other.lock("s")
    claim = one.claim("abc")
    assert claim is not None
    assert other.claim("abc") is None
    claim.release()
    held.release()
    again = other.claim("abc")
    assert again is not None
    other.lock("s").release()
    again.release()


def test_a_sweep_is_asked_for_several_times_and_a_run_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drivers that start together must not all give up; of runs there are others."""
    asked = list[tuple[str, int]]()

    def refuse(self: FileLock, blocking: bool) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    def acquire(self: Leases, key: str, attempts: int = 1) -> Lease:
        asked.append((key, attempts))
        return Lease(self, key)

    monkeypatch.setattr(FileLock, "acquire", refuse)
    monkeypatch.setattr(Leases, "acquire", acquire)
    store = Store(tmp_path)
    store.lock("s")
    assert store.claim("abc") is not None
    assert asked == [("s/.locks", 4), ("runs/abc/.claims", 1)]


def test_the_folder_of_a_sweep_is_made_and_one_of_no_name_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "results")
    assert store.sweep("s") == tmp_path / "results" / "s"
    assert store.sweep("s").is_dir()
    with pytest.raises(StoreError, match=r"'\.\./s' names no sweep"):
        store.sweep("../s")


def test_a_store_is_shown_as_it_was_named_and_opened_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store(Path("results"))
    assert str(store) == "results"
    assert store.address == str(tmp_path / "results")


def test_results_keep_the_mark_that_they_were_given_first(tmp_path: Path) -> None:
    mark = Store(tmp_path).mark()
    assert Store(tmp_path).mark() == mark
    assert Store(tmp_path).is_marked(mark)
    assert not Store(tmp_path).is_marked(f"{mark}0")


def test_what_names_no_sweep_cannot_be_locked(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"'\.\./s' names no sweep"):
        Store(tmp_path / "results").lock("../s")


def test_a_folder_that_was_used_by_a_uri_is_not_locked_as_a_path(tmp_path: Path) -> None:
    (tmp_path / "s/.lock").mkdir(parents=True)
    with pytest.raises(StoreError, match=f"used as file://{tmp_path}, .*; name it so again"):
        Store(tmp_path).lock("s")
