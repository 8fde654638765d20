"""All of Ray, in seven modules: the session, the Tune executor, its actors, their groups of workers, what processes are
forked from, preparation.

In come an agenda and the display, for which :func:`sweep.engine.on_ray.tune.run_tuned` trains; out come run folders
that the actors have ended, as in every executor. Ray's trials are runs, its searcher hands out the agenda's tasks, and
nothing of Ray's own bookkeeping is kept. Importing :mod:`sweep.engine.on_ray.session` imports no Ray; nothing else of
this room may be imported before it is known that Ray is needed. No module outside imports Ray."""

from sweep.engine.first_imports import without_collection

with without_collection():  # in a process that Ray has started for a run, the first of ours that is imported
    from sweep.engine.on_ray.session import RaySession

__all__ = ["RaySession"]
