"""Plans: the studies of a sweep, their configurations, the references beside them, and what a search looks for.

In comes a checked Sweep, out comes a :class:`Plan`. Nothing is trained here, and no result is read."""

from __future__ import annotations

from sweep.plan.build import plan
from sweep.plan.configurations import Configuration, Plan, Role, Study
from sweep.plan.not_applicable import NotApplicable, not_applicable
from sweep.plan.validate import validate

__all__ = ["Configuration", "NotApplicable", "Plan", "Role", "Study", "not_applicable", "plan", "validate"]
