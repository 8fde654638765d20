"""The training recipe: the keys of ``train`` in a sweep. Everything here can change a result, so all of it belongs to
a run's identity."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class ScheduleSpec(_Strict):
    """Shape of the learning rate's fall, counted in epochs of the phase that the optimizer trains.

    step: times ``factor`` every ``every`` epochs (a value in (0, 1) is a share of the phase); cosine: to 0 over the
    phase; plateau: times ``factor`` when the training loss has not improved for ``patience`` epochs."""

    name: Literal["constant", "step", "cosine", "plateau"] = Field("constant", description="shape of the schedule")
    every: float = Field(0.7, gt=0, description="step: epochs, or a share of them, between two falls")
    factor: float = Field(0.1, gt=0, lt=1, description="step, plateau: what the learning rate is multiplied by")
    patience: int = Field(5, ge=0, description="plateau: epochs without improvement before a fall")


class Recipe(_Strict):
    """Optimizer, batches, precision: the same for every method of a sweep unless a sweep says otherwise."""

    optimizer: Literal["sgd", "adam", "adamw"] = Field("sgd", description="torch optimizer")
    lr: float = Field(0.05, gt=0, description="learning rate at the start")
    momentum: float = Field(0.9, ge=0, lt=1, description="sgd: momentum")
    betas: Annotated[list[float], Field(min_length=2, max_length=2)] = Field(
        [0.9, 0.999], description="adam, adamw: decay of the two moments"
    )
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty (adamw: decoupled)")
    batch_size: int = Field(64, ge=1, le=10_000_000, description="samples of a joint batch, over all workers")
    schedule: ScheduleSpec = Field(ScheduleSpec(), description="how the learning rate falls")
    gradient_clip: float | None = Field(None, gt=0, description="largest norm of the whole gradient; null: none")
    precision: Literal["fp32", "tf32", "bf16"] = Field(
        "fp32", description="tf32: products rounded to 10 bits on a GPU; bf16: autocast in forward passes and losses"
    )
    deterministic: bool = Field(
        False,
        description="a GPU adds up in one order (slower); what torch cannot do so fails",
        json_schema_extra={"as_before": False},
    )
    compile: bool = Field(
        False,
        description="encoders through torch.compile in steps on whole batches",
        json_schema_extra={"as_before": False},
    )
    cuda_graphs: bool = Field(
        False,
        description="steps recorded once an epoch and replayed by a GPU, for methods that allow it",
        json_schema_extra={"as_before": False},
    )
    threads: int = Field(1, ge=1, le=1_024, description="intra-op threads of torch on the CPU")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where the run has one")
