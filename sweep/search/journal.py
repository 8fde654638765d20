"""The studies of a sweep in one journal file, which optuna-dashboard opens: mended after a kill, begun anew where what
they search has changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import BaseStorage, JournalStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from optuna.storages.journal._storage import JournalOperation
from optuna.trial import FrozenTrial, TrialState, create_trial

from sweep.config import ConfigError
from sweep.plan.configurations import Study
from sweep.plan.objectives import directions, objectives
from sweep.plan.space import Space
from sweep.search.samplers import distributions, from_optuna
from sweep.storage.files import StoreError, guarded, write_atomic

PROPOSAL = "proposal"
"""User attribute of a trial, written last: how it was proposed. A trial without it was not proposed to its end."""
SEARCHES = "searches"
"""User attribute of a study: what its values are values of."""
AGAIN = "again"
"""User attribute of a study: what an earlier one in its place had proposed, to be proposed again first."""

ATTRIBUTES = {JournalOperation.CREATE_TRIAL: "user_attrs", JournalOperation.SET_TRIAL_USER_ATTR: "user_attr"}
"""Operation on a trial -> what its line calls user attributes."""


def open_storage(journal: Path) -> BaseStorage:
    """Open the storage of a sweep's studies. The caller holds the sweep, so whatever a killed driver left half done is
    cleared away: a torn last line, a proposal that was not asked to its end, the lock on the file. Raises StoreError
    where the file is broken elsewhere."""
    for stale in journal.parent.glob(f"{journal.name}.lock*"):
        stale.unlink(missing_ok=True)
    if journal.exists():
        with guarded("read", journal):
            content = journal.read_bytes()
        whole = _intact_length(journal, content)
        if whole < len(content):
            write_atomic(journal, content[:whole])
    return _read_storage(journal, _Journal)


def open_read_only(journal: Path) -> BaseStorage:
    """Open the storage of a sweep that another process may be running: nothing is cleared away, and nothing can be
    written. Raises StoreError where the file is broken."""
    return _read_storage(journal, _ReadOnlyJournal)


def _read_storage(journal: Path, kind: type[_Journal]) -> BaseStorage:
    with damage_told(journal):
        return JournalStorage(kind(journal))


@contextmanager
def damage_told(journal: Path) -> Iterator[None]:
    """Turn whatever damaged operations of a journal lead to in Optuna into a StoreError that names the file."""
    try:
        yield
    except (StoreError, ConfigError):
        raise
    except Exception as error:
        raise _broken_journal(journal, f"it cannot be read ({type(error).__name__}: {error})") from error


def _broken_journal(journal: Path, what: str) -> StoreError:
    return StoreError(f"{journal}, {what}; delete the file: finished runs are kept, the search proposes anew")


class _Journal(JournalFileBackend):
    """Optuna's file, without its wait for the disk at each of the five or more lines of a proposal: what a power cut
    takes is asked for again, and comes out alike."""

    def __init__(self, journal: Path) -> None:
        self._journal, self._guard = journal, JournalFileSymlinkLock(str(journal))
        super().__init__(str(journal), self._guard)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        self._guard.acquire()
        try:
            with guarded("write", self._journal), self._journal.open("ab") as file:
                file.write("".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode())
        finally:
            self._guard.release()


class _ReadOnlyJournal(_Journal):
    """The file for those who only show it."""

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        raise StoreError(
            f"{self._journal} is open for reading only: the search of its sweep would follow what is written"
        )


def _intact_length(journal: Path, content: bytes) -> int:
    """Count the bytes to keep: those before a torn last line, and before a last trial that is not all there."""
    lines = content.splitlines(keepends=True)
    position, asked = 0, None
    for number, line in enumerate(lines, start=1):
        try:
            entry = json.loads(line)
            if not isinstance(entry, dict) or not isinstance(entry.get("op_code"), int):
                raise ValueError("it is no operation of a study")
            attributes = entry.get(ATTRIBUTES.get(entry["op_code"], ""), {})
            if not isinstance(attributes, dict):
                raise ValueError("its attributes are no mapping")
        except ValueError as error:
            if number == len(lines):
                break
            raise _broken_journal(journal, f"line {number} is broken ({error})") from error
        if not line.endswith(b"\n"):
            break
        if entry["op_code"] == JournalOperation.CREATE_TRIAL and PROPOSAL not in attributes:
            asked = position
        elif entry["op_code"] == JournalOperation.SET_TRIAL_USER_ATTR and PROPOSAL in attributes:
            asked = None
        position += len(line)
    return position if asked is None else asked


def open_study(storage: BaseStorage, study: Study) -> optuna.Study:
    """Open the study of one method on one dataset, made where it is missing.

    Where its space has changed it begins anew with those finished proposals that lie in the new space. Where its seeds
    have, it proposes the same again (user attribute ``again``), since the runs of the common seeds are there. Where
    anything else has that its values depend on (data, epochs, objectives), it begins with nothing."""
    searches = {"base": study.base, "objectives": objectives(study.sweep), "seeds": study.sweep.seeds}
    if study.name not in optuna.get_all_study_names(storage):
        return _create_study(storage, study, searches, [])
    found = optuna.load_study(study_name=study.name, storage=storage)
    # A driver that was killed as it made the study may have said nothing of it yet.
    before, known = found.user_attrs.get(SEARCHES, {}), distributions(study.space)
    fitting = [trial for trial in found.get_trials(deepcopy=False) if _fits(trial, study.space)]
    if before == searches:
        kept = [trial for trial in fitting if trial.distributions.items() <= known.items()]
        if len(kept) == len(found.get_trials(deepcopy=False)):
            return found
    optuna.delete_study(study_name=study.name, storage=storage)
    if before == searches:
        found = _create_study(storage, study, searches, [])
        found.add_trials([_move_trial(trial, known) for trial in fitting if trial.state == TrialState.COMPLETE])
        return found
    same = {**before, "seeds": None} == {**searches, "seeds": None}
    return _create_study(storage, study, searches, [trial.params for trial in fitting] if same else [])


def _create_study(
    storage: BaseStorage, study: Study, searches: dict[str, Any], again: list[dict[str, Any]]
) -> optuna.Study:
    wanted = directions(objectives(study.sweep))
    found = optuna.create_study(storage=storage, study_name=study.name, directions=wanted)
    found.set_user_attr(AGAIN, again)
    found.set_user_attr(SEARCHES, searches)
    return found


def _fits(trial: FrozenTrial, space: Space) -> bool:
    """Tell whether a search of ``space`` could propose just the names and values of a trial."""
    if not trial.params.keys() <= space.keys():
        return False
    try:
        return space.complete({name: from_optuna(space[name], held) for name, held in trial.params.items()})
    except ValueError:
        return False


def _move_trial(trial: FrozenTrial, known: dict[str, BaseDistribution]) -> FrozenTrial:
    own = {name: known[name] for name in trial.params}
    attributes = {PROPOSAL: {"moved_from": trial.number}}
    return create_trial(params=trial.params, distributions=own, values=trial.values, user_attrs=attributes)
