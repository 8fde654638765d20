"""Decode media before anything is trained: which datasets a plan needs, and where each is prepared."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console

import data
from data.prepared.cache.decoding import prepare as prepare_here
from data.prepared.cache.pool import pool_runner, processors
from data.prepared.cache.preparation import Preparation
from data.prepared.cache.records import Meta
from data.prepared.source import PreparedSource
from sweep.engine.on_ray.session import RaySession
from sweep.engine.prepare_display import PreparationDisplay, preparation_name
from sweep.plan.configurations import Plan
from sweep.runs.later_options import with_later


def prepare_datasets(planned: Plan, local: bool, ray: RaySession, out: Console) -> None:
    """Prepare every dataset that the plan's runs are known to need. Raises DataError."""
    for work in _preparations(planned):
        prepare(work, local, ray, out)


def _preparations(planned: Plan) -> Iterator[Preparation]:
    templates = [c.template for c in planned.references]
    templates += [c.template for study in planned.studies for c in study.configurations]
    # What else a search proposes of the data's options is prepared when it is loaded.
    templates += [study.configuration(study.first[0]).template for study in planned.searches if study.first]
    seen = set[tuple[str, str]]()
    for run in templates:
        source = data.get(run.dataset)
        if issubclass(source, PreparedSource) and (run.dataset, run.fingerprint) not in seen:
            seen.add((run.dataset, run.fingerprint))
            yield source.preparation(source.Options.model_validate(with_later(source.Options, run.data)).clean())


def prepare(work: Preparation, local: bool, ray: RaySession, out: Console) -> Meta:
    """Make the cache where it is missing: in processes of this machine, or on every node of Ray's. Raises DataError;
    LostClusterError where the cluster ends meanwhile."""
    if local:
        with PreparationDisplay(out, work) as display:
            return prepare_here(work, pool_runner(processors()), display)
    ray.ensure()
    from sweep.engine.on_ray.prepare import prepare_nodes

    def stuck(what: str) -> None:
        out.print(f"{preparation_name(work)}: {what}; run the same command again to go on", style="red")

    with ray.watch(stuck).interrupting():
        return prepare_nodes(work, PreparationDisplay(out, work))
