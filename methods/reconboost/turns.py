"""The phases of ReconBoost: modalities alone, where they are pretrained, then stages of a turn and of all together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from methods.base import Phase
from methods.base.hyperparameters import in_epochs
from methods.reconboost.equations import stage_plan
from methods.reconboost.hyperparameters import ReconBoostHyperparameters

HEAD, RATE = "head", "boost_rate"


@dataclass(frozen=True)
class Turn:
    """What a phase trains."""

    part: Literal["pretrain", "boost", "rectify"]
    stage: int
    """Counted from 0; of a pretraining the place of its modality."""
    modality: str
    previous: str | None = None
    """The modality of the stage before."""
    rest: tuple[str, ...] = ()
    """The learners of the ensemble beside that of ``modality``."""


def own_head(modality: str) -> str:
    """Name the parameter group of a head that a modality has only before its first turn."""
    return f"{modality} alone"


def stages(epochs: int, boost: int, rectify: int) -> Iterator[tuple[int, int]]:
    """Cut a budget into stages of boosting and rectifying epochs; its last epoch rectifies unless ``rectify`` is 0."""
    while epochs > 0:
        if rectify and epochs <= boost:
            yield epochs - 1, 1
        else:
            yield min(boost, epochs), min(rectify, max(0, epochs - boost))
        epochs -= boost + rectify


def phases(hp: ReconBoostHyperparameters, modalities: tuple[str, ...], epochs: int) -> list[Phase]:
    """List the phases of a budget. Selectable are the ends of stages in which all have had a turn, and the last
    epoch."""
    found, count = list[Phase](), len(modalities)
    if hp.use_pretrain:
        own = epochs if hp.pretrain_epochs is None else in_epochs(hp.pretrain_epochs, epochs)
        found += [_pretraining(k, m, own, hp.shared_head, count) for k, m in enumerate(modalities)]
    lengths = list(stages(epochs, hp.epochs_boost, hp.epochs_rectify))
    head = (HEAD,) if hp.shared_head else ()
    for stage, (boost, rectify) in enumerate(lengths):
        k, previous = stage_plan(stage, count)
        members = modalities if hp.use_pretrain or stage >= count else modalities[: stage + 1]
        before = None if previous is None else modalities[previous]
        told = stage, modalities[k], before, tuple(m for m in members if m != modalities[k])
        turn = dict.fromkeys((modalities[k], *head), hp.boost_lr_ratio)
        together = dict.fromkeys((*members, *head, RATE), hp.rectify_lr_ratio)
        whole = stage >= count - 1 or stage == len(lengths) - 1
        for part, groups, length, ends in (
            ("boost", turn, boost, whole and not rectify),
            ("rectify", together, rectify, whole),
        ):
            found.append(
                Phase(
                    f"{part} {stage} {modalities[k]}",
                    length,
                    groups,
                    schedule="run",
                    selectable="last" if ends else "none",
                    passes=len(members) / count,
                    info=Turn(part, *told),  # type: ignore[arg-type]
                )
            )
    return found


def _pretraining(place: int, modality: str, epochs: int, shared_head: bool, count: int) -> Phase:
    groups = {modality: 1.0, **({own_head(modality): 1.0} if shared_head else {})}
    info, name = Turn("pretrain", place, modality), f"pretrain {modality}"
    return Phase(name, epochs, groups, selectable="none", budget=False, passes=1 / count, info=info)
