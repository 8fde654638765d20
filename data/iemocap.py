"""IEMOCAP: emotions in dialogues of ten actors, heard, seen and read (Busso et al., 2008; USC SAIL, by release form).

Four classes, 5,531 utterances; splits are the lists of MLA
(Cecile-hi/Multimodal-Learning-with-Alternating-Unimodal-Adaptation, `data`). Its validation part was never published:
it is what its lists leave of the corpus, 1,106 utterances."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator

from data.base import AbsentDataError, require_modalities
from data.prepared import Form, Listing, Medium, SplitName
from data.prepared.forms import FilterBank, Frames, Image, Tokens
from data.prepared.lists.folders import explain_absence, files_by_stem, find_folder, folders_by_name, open_root
from data.prepared.lists.media_files import Files, FrameFolders, find_media
from data.prepared.lists.rows import Lists
from data.prepared.source import PreparedOptions, PreparedSource
from data.readers.iemocap import (
    CLASSES,
    SESSIONS,
    Utterance,
    find_session,
    read_corpus,
    read_list,
    split_lists,
    split_session,
)

MODALITIES = ("audio", "video", "text")
_LISTS = ("", "data")
_ORIGIN = "Cecile-hi/Multimodal-Learning-with-Alternating-Unimodal-Adaptation, data"


class IEMOCAPOptions(PreparedOptions):
    """Options of ``iemocap``."""

    root: str = Field(min_length=1, description="folder with Session1 to 5 and faces (or subaudio and subvideo)")
    lists: str | None = Field(None, min_length=1, description="folder of MLA's lists (null: in root)")
    profile: Literal["mla", "light"] = Field(
        "mla", description="mla: log-mel, face of 256, 256 word pieces; light: for small encoders from scratch"
    )
    modalities: list[str] = Field(list(MODALITIES), description="of audio, video, text")
    test_session: int | None = Field(None, ge=1, le=5, description="test on this session alone (null: MLA's lists)")
    tokenizer: str = Field("google-bert/bert-base-uncased", min_length=1, description="hub name or local folder")

    @field_validator("modalities")
    @classmethod
    def _known(cls, modalities: list[str]) -> list[str]:
        return list(require_modalities(modalities, MODALITIES))


class IEMOCAP(PreparedSource[IEMOCAPOptions]):
    """``audio``: log-mel [1, 1024, 128]; ``video``: one face, [3, 256, 256] (mla) or [3, 1, 224, 224] (light);
    ``text``: ids and mask [2, length].

    Both splits of MLA have all speakers on both sides; ``test_session`` leaves one session out instead.
    Papers report accuracy and macro-F1; the largest class has 30.7 % of MLA's test."""

    name = "iemocap"
    paper = "Busso et al., 2008"
    title = "IEMOCAP (acted emotions, four classes, three modalities)"
    terms = "signed release form; no redistribution"
    paths = frozenset({"root", "lists"})
    recipe: ClassVar[Mapping[str, Any]] = {
        "optimizer": "sgd",
        "lr": 0.001,
        "batch_size": 16,
        "schedule": {"name": "step", "every": 70},
        "epochs": 100,
    }

    @classmethod
    def modalities(cls, options: IEMOCAPOptions) -> tuple[str, ...]:
        return tuple(options.modalities)

    @classmethod
    def encoders(cls, options: IEMOCAPOptions) -> dict[str, Any]:
        known = {
            "mla": {"audio": "cav_mae", "video": "m3ae_image", "text": "m3ae_text"},
            "light": {"audio": "resnet18", "video": "resnet18", "text": "bert"},
        }[options.profile]
        return {modality: known[modality] for modality in options.modalities}

    @classmethod
    def forms(cls, options: IEMOCAPOptions) -> dict[str, Form]:
        name = options.tokenizer
        forms: dict[str, Form]
        if options.profile == "mla":
            forms = {
                "audio": FilterBank(),  # the encoder standardises
                "video": Image(size=256, normalise="m3ae"),
                "text": Tokens(tokenizer=name, length=256, special_tokens=False),
            }
        else:
            forms = {
                "audio": FilterBank(mean=-5.081, deviation=4.4849),
                "video": Frames(frames=1, most=4),
                "text": Tokens(tokenizer=name, length=64),
            }
        return {modality: forms[modality] for modality in options.modalities}

    @classmethod
    def listing(cls, options: IEMOCAPOptions) -> Listing:
        root = open_root(
            options.root, "set `root` to the folder that holds Session1 to Session5, or subaudio and faces"
        )
        splits, note = cls._splits(options, root)
        take: dict[str, Callable[[Utterance], Medium]] = {"text": lambda row: row.text}
        if "audio" in options.modalities:
            sounds = cls._sounds(root)
            take["audio"] = lambda row: sounds[row.id]
        if "video" in options.modalities:
            take["video"] = cls._faces(options, root, [row.id for rows in splits.values() for row in rows])
        items, missing = find_media(
            splits, lambda row: {name: take[name](row) for name in options.modalities}, options.allowed_missing
        )
        return Listing(CLASSES, items, missing, (note,))

    @staticmethod
    def _splits(options: IEMOCAPOptions, root: Path) -> tuple[dict[SplitName, list[Utterance]], str]:
        lists = Lists.under(root, options.lists, _LISTS, _ORIGIN)
        corpus = read_corpus(root, lists)
        if options.test_session and corpus:
            return split_session(corpus.values(), options.test_session, options.split_seed)
        train, test = (read_list(lists.need(f"my_{part}_iemo.txt")) for part in ("train", "test"))
        if options.test_session:
            return split_session([*train, *test], options.test_session, options.split_seed)
        return split_lists(train, test, corpus, options.split_seed)

    @staticmethod
    def _sounds(root: Path) -> Files[str]:
        """Find ``subaudio/<id>.wav``, or ``Session<n>/sentences/wav/<dialogue>/<id>.wav``."""
        if cut := find_folder(root, "subaudio"):
            return Files(files_by_stem(cut, {".wav"}), "subaudio/*.wav")
        sessions = [find_session(root, session, "sentences/wav") for session in SESSIONS]
        if not any(sessions):
            raise AbsentDataError(
                f"{root}: no sound; expected subaudio or Session1/sentences/wav. {explain_absence(root)}"
            )
        sounds = [files_by_stem(folder, {".wav"}, deep=True) for folder in sessions if folder]
        return Files({stem: path for part in sounds for stem, path in part.items()}, "wav file")

    @staticmethod
    def _faces(options: IEMOCAPOptions, root: Path, ids: list[str]) -> Callable[[Utterance], Medium]:
        """Find ``faces/<id>/*.jpg``, for mla the middle one; the profile light takes ``subvideo/<id>.mp4`` too."""
        cut = find_folder(root, "subvideo")
        if folder := find_folder(root, "faces"):
            faces = FrameFolders(folders_by_name(folder), ids, "faces")
            if options.profile == "mla":
                return lambda row: faces[row.id][len(faces[row.id]) // 2]
            return lambda row: faces[row.id]
        if cut and options.profile == "light":
            films = Files(files_by_stem(cut, {".mp4"}), "subvideo/*.mp4")
            return lambda row: films[row.id]
        other = "as profile mla cannot take subvideo" if cut else "or, for profile light, subvideo/<utterance>.mp4"
        raise AbsentDataError(
            f"{root}: no faces; expected faces/<utterance>/*.jpg (crops, to be made with a face detector), {other}. "
            "Or leave video out, by modalities: [audio, text]"
        )
