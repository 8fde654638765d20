"""A Ray of this machine for tests that join one, whatever other Rays run beside it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sweep.engine.on_ray.session import small_node, started_node


@contextmanager
def running_ray() -> Iterator[str]:
    """A running Ray with two CPUs, with the processes alone that training needs; its address."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_prestart_worker_first_driver", "0")  # trials use none of the workers that wait for work
        options = {"include_dashboard": False, "log_to_driver": False, "logging_level": logging.ERROR}
        with small_node():
            context = started_node(lambda: ray.init("local", num_cpus=2, **options))
        try:
            yield context.address_info["gcs_address"]
        finally:
            ray.shutdown()
