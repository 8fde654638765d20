"""Runs of earlier code are told with the folders that have changed since."""

from __future__ import annotations

import pytest
from samples import make_environment

from sweep.code_changes import UNKNOWN, changed_folders, changes_text
from sweep.identity import code_digest, folder_digests


def test_the_folders_that_changed_are_named() -> None:
    then = {**folder_digests(), "models": "0", "sweep": "1"}
    environment = make_environment(code="before", folders=then)
    assert changed_folders(environment) == ("models/", "sweep/")
    assert changed_folders(make_environment(code=code_digest())) == ()
    assert changed_folders(make_environment(code="before", folders=folder_digests())) == (), "another method's file"
    assert changed_folders(make_environment(code="before", folders={})) == (UNKNOWN,)


def test_the_digest_of_a_folder_is_of_what_no_identity_covers(monkeypatch: pytest.MonkeyPatch) -> None:
    from sweep import identity

    now = identity.folder_digests()
    texts = identity._text_digests()
    changed = {}
    for file in ("methods/joint.py", "methods/__init__.py", "data/base.py", "models/__init__.py", "sweep/identity.py"):
        assert file in texts
        monkeypatch.setattr(identity, "_text_digests", lambda file=file: {**texts, file: "edited"})
        found = identity.folder_digests.__wrapped__()
        changed[file] = [name for name in now if now[name] != found[name]]
    assert changed == {
        "methods/joint.py": [],
        "methods/__init__.py": ["methods"],
        "data/base.py": ["data"],
        "models/__init__.py": ["models"],
        "sweep/identity.py": ["sweep"],
    }


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ([("sweep/",)], "sweep/"),
        ([("sweep/",), ("models/", "sweep/")], "models/ and sweep/"),
        ([("data/",), ("models/", "sweep/")], "data/, models/ and sweep/"),
    ],
)
def test_changes_are_told_in_words(changes: list[tuple[str, ...]], text: str) -> None:
    assert changes_text(changes) == text
