"""Reading the lists of a dataset: every row with its place, every mistake named by file and line."""

from __future__ import annotations

import csv
import difflib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from data.base import AbsentDataError, DataError
from data.base.files import read_bytes


@dataclass(frozen=True)
class Row:
    """One sample of a list, before its media are looked for. where: "file, line 3"; group: what must stay on one side
    of a split, "" where there is nothing."""

    id: str
    label: int
    where: str
    group: str = ""


@dataclass(frozen=True)
class Line:
    """The fields of one line and its place, "file, line 3"."""

    where: str
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Lists:
    """Folders in which the lists of a dataset may lie, the first that has one wins. origin: where they come from."""

    folders: tuple[Path, ...]
    origin: str

    @classmethod
    def under(cls, root: Path, lists: str | None, places: Sequence[str], origin: str) -> Lists:
        """Look in ``places``, folders under ``root``; or the folder ``lists`` alone, where the user names one."""
        if lists is None:
            return cls(tuple(root / place for place in places), origin)
        folder = Path(lists).expanduser()
        if not folder.is_dir():
            remedy = f"set `lists` to the folder that holds the lists of {origin}"
            raise AbsentDataError(f"{folder}: no such folder; {remedy}")
        return cls((folder,), origin)

    def find(self, *names: str) -> Path | None:
        """Find the first of ``names`` in the first folder that has one."""
        try:
            return next((f / name for f in self.folders for name in names if (f / name).is_file()), None)
        except OSError as error:
            raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    def need(self, *names: str) -> Path:
        """Find a list as :meth:`find` does. Raises DataError saying which files were looked for, and where."""
        if found := self.find(*names):
            return found
        places = ", ".join(str(folder) for folder in self.folders)
        raise AbsentDataError(
            f"no file {' or '.join(names)}; looked in {places}. The lists come from {self.origin}: copy them there, or "
            "set `lists` to their folder"
        )


# Lines ----------------------------------------------------------------------------------------------------------------


def read_text(path: Path) -> str:
    """Read the whole file, UTF-8 with or without a byte order mark. Raises DataError naming the first line that is
    not."""
    content = read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        coding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "LATIN1"
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{content[error.start]:02x} is not UTF-8; convert the file, "
            f"as by: iconv -f {coding} -t UTF-8 {path.name}"
        ) from error


def read_lines(path: Path) -> Iterator[tuple[str, str]]:
    """(place, text) of each line that is not blank; ends of lines may be LF or CRLF."""
    for number, line in enumerate(read_text(path).split("\n"), 1):
        if line.strip():
            yield f"{path}, line {number}", line.removesuffix("\r")


def _commas(line: str) -> Sequence[str]:
    return next(csv.reader([line], strict=True))


def tabs(line: str) -> Sequence[str]:
    """Split into the fields between tabs; quotation marks are part of the text."""
    return line.split("\t")


def read_table(
    path: Path,
    columns: Sequence[str],
    header: Callable[[Sequence[str]], bool] = lambda fields: False,
    split: Callable[[str], Sequence[str]] = _commas,
) -> list[Line]:
    """Read the lines of a table without names of columns, read by position.

    columns: what the fields of a line are, for messages. header: whether the fields of the first line are one.
    Raises DataError for a line with another number of fields, and for an empty table."""
    lines: list[Line] = []
    for number, (where, text) in enumerate(read_lines(path)):
        try:
            fields = tuple(field.strip() for field in split(text))
        except csv.Error as error:
            raise DataError(f"{where}: not comma-separated ({error}); a quoted field must be closed") from error
        if number == 0 and header(fields):
            continue
        if len(fields) != len(columns):
            found = f"{len(fields)} column{'s' if len(fields) > 1 else ''}"
            raise DataError(f"{where}: {found}, expected {len(columns)} ({', '.join(columns)})")
        lines.append(Line(where, fields))
    if not lines:
        raise DataError(f"{path}: no rows; copy or download it again")
    return lines


# Values ---------------------------------------------------------------------------------------------------------------


def number(text: str, where: str, what: str) -> int:
    """Read a whole number, from 0. Raises DataError."""
    if not (text.isascii() and text.isdigit()):
        raise DataError(f"{where}: {what} {text!r} is not a whole number")
    return int(text)


def class_number(text: str, count: int, where: str, first: int = 0) -> int:
    """Read the index, from 0, of a class that the list numbers from ``first``. Raises DataError out of range."""
    value = number(text, where, "label")
    if not first <= value < first + count:
        raise DataError(f"{where}: label {value} is out of range; labels go from {first} to {first + count - 1}")
    return value - first


def class_name(text: str, classes: Sequence[str], where: str) -> int:
    """Find the index of a class by its name. Raises DataError with the nearest name for an unknown one."""
    if text in classes:
        return classes.index(text)
    near = difflib.get_close_matches(text, classes, 1)
    known = f"there are: {', '.join(classes[:12])}{', ...' if len(classes) > 12 else ''}"
    hint = f"did you mean {near[0]!r}?" if near else known
    raise DataError(f"{where}: unknown label {text!r}; {hint}")


def refuse_repeats(rows: Iterable[Row]) -> None:
    """Refuse repeats: raises DataError for a sample that is listed twice, in one split or in two."""
    places: dict[str, str] = {}
    for row in rows:
        if row.id in places:
            raise DataError(
                f"{row.where}: {row.id} stands also in {places[row.id]}; a sample may appear once: remove one of them"
            )
        places[row.id] = row.where
