"""What the lists and folders of a dataset say, before any medium is opened: rows with their place in a file, the media
files of each row, a user's own table of samples, parts that are held out of training. Paths come in; a
:class:`Listing` goes out, and a DataError that names file, line and remedy for every mistake."""

from __future__ import annotations

from data.prepared.lists.folders import (
    explain_absence,
    files_by_stem,
    find_folder,
    folders_by_name,
    need_folder,
    open_root,
    pictures,
)
from data.prepared.lists.held_out import (
    carve,
    hold_out,
    whole_groups,
)
from data.prepared.lists.items import (
    SPLITS,
    Clip,
    Item,
    Listing,
    Medium,
    SplitName,
)
from data.prepared.lists.media_files import (
    AbsentError,
    Files,
    FrameFolders,
    find_media,
)
from data.prepared.lists.rows import (
    Line,
    Lists,
    Row,
    class_name,
    class_number,
    number,
    read_lines,
    read_table,
    read_text,
    refuse_repeats,
    tabs,
)
from data.prepared.lists.user_tables import (
    carve_splits,
    label_notes,
    number_labels,
    repeat_notes,
    split_name,
)
from data.prepared.lists.words import (
    letter_words,
    plain_words,
)
from data.prepared.lists.youtube import (
    ClipRow,
    ClipTree,
    clip_media,
    clip_row,
)

__all__ = [
    "SPLITS",
    "AbsentError",
    "Clip",
    "ClipRow",
    "ClipTree",
    "Files",
    "FrameFolders",
    "Item",
    "Line",
    "Listing",
    "Lists",
    "Medium",
    "Row",
    "SplitName",
    "carve",
    "carve_splits",
    "class_name",
    "class_number",
    "clip_media",
    "clip_row",
    "explain_absence",
    "files_by_stem",
    "find_folder",
    "find_media",
    "folders_by_name",
    "hold_out",
    "label_notes",
    "letter_words",
    "need_folder",
    "number",
    "number_labels",
    "open_root",
    "pictures",
    "plain_words",
    "read_lines",
    "read_table",
    "read_text",
    "refuse_repeats",
    "repeat_notes",
    "split_name",
    "tabs",
    "whole_groups",
]
