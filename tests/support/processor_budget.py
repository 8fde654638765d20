"""Processor seconds that the suite of all methods spends on each: measured, printed at the end, checked.

Forty methods are affordable where one takes at most 12 processor seconds and one variant of it 2. Only the calls of
tests count that have an argument ``variant``, with what their workers spend meanwhile; a method's own tests and the
start of processes do not.

Processor time does not depend on what else runs as the clock does. It still grows where a core is slow or shared. So
each of these tests is preceded by a small piece of fixed work: a method's limits grow by the factor by which that work
took longer around its tests than on the machine where the budget was set. They never shrink, and what is left of chance
is granted by a tolerance."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Generator, Iterable
from dataclasses import dataclass, field

import psutil
import pytest
from support.method_variants import Variant

METHOD_SECONDS = 12.0
VARIANT_SECONDS = 2.0
TOLERANCE = 2.0
"""How far above its budget a run of the tests fails: far enough that no machine does so by chance."""
FIXED_WORK_SECONDS = 0.003
"""Processor seconds of :func:`fixed_work` where the budget was set."""
SPENT = "processor seconds"


@dataclass
class MethodShare:
    """What the suite spent on one method."""

    variants: dict[str, float] = field(default_factory=dict)
    fixed_work: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return sum(self.variants.values())

    @property
    def slowness(self) -> float:
        """How much longer than where the budget was set anything took, at least 1."""
        return max(1.0, sum(self.fixed_work) / len(self.fixed_work) / FIXED_WORK_SECONDS)

    def dearest(self) -> tuple[str, float]:
        """Return the name and the seconds of the variant that took most."""
        return max(self.variants.items(), key=lambda item: item[1])

    def excesses(self, method: str) -> list[str]:
        """Return a sentence for each budget that is exceeded."""
        allowed = TOLERANCE * self.slowness
        spent = [(f"{method}-{name}", seconds, VARIANT_SECONDS) for name, seconds in self.variants.items()]
        return [
            f"{name} took {seconds:.1f} processor seconds, its budget is {budget:g} ({budget * allowed:.1f} with "
            "tolerance on this machine): train fewer epochs, smaller networks or fewer variants"
            for name, seconds, budget in [(method, self.seconds, METHOD_SECONDS), *spent]
            if seconds > budget * allowed
        ]


class ProcessorBudget:
    """The plugin. Under pytest-xdist the workers measure, and the controller, to which all reports come, sums up."""

    def __init__(self) -> None:
        self.shares: dict[str, MethodShare] = {}

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None]:
        variant = getattr(item, "callspec", None) and item.callspec.params.get("variant")  # type: ignore[attr-defined]
        if not isinstance(variant, Variant):
            return (yield)
        work = fixed_work()
        before = processor_seconds()
        try:
            return (yield)
        finally:
            spent = processor_seconds() - before
            item.user_properties.append((SPENT, (variant.method, variant.name, spent, work)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call":
            self.add(value for name, value in report.user_properties if name == SPENT)

    def add(self, spent: Iterable[tuple[str, str, float, float]]) -> None:
        """Count tests: method, variant, seconds, seconds of the fixed work before each."""
        for method, variant, seconds, work in spent:
            share = self.shares.setdefault(method, MethodShare())
            share.variants[variant] = share.variants.get(variant, 0.0) + seconds
            share.fixed_work.append(work)

    def excesses(self) -> list[str]:
        """Return a sentence for each budget that is exceeded."""
        return [line for method, share in sorted(self.shares.items()) for line in share.excesses(method)]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if session.exitstatus == pytest.ExitCode.OK and not hasattr(session.config, "workerinput") and self.excesses():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if not self.shares:
            return
        terminalreporter.section("processor seconds of each method in the suite")
        for line in self.table():
            terminalreporter.write_line(line)
        for line in self.excesses():
            terminalreporter.write_line(f"BUDGET EXCEEDED: {line}", red=True)

    def table(self) -> list[str]:
        """Return a line a method: its seconds, its dearest variant, how slow the machine was."""
        head = ("method", f"of {METHOD_SECONDS:g} s", "dearest variant", f"of {VARIANT_SECONDS:g} s", "slowness")
        rows = [head]
        for method, share in sorted(self.shares.items()):
            name, seconds = share.dearest()
            rows.append((method, f"{share.seconds:.1f}", name, f"{seconds:.2f}", f"{share.slowness:.2f}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]


def processor_seconds() -> float:
    """Return the processor seconds so far of this process, of its children that have ended, and of its workers."""
    ended = os.times()
    # Asked of each worker: to find children by their parents, psutil reads about every process of the machine.
    workers = (psutil.Process(worker.pid) for worker in multiprocessing.active_children())
    alive = sum(sum(worker.cpu_times()[:4]) for worker in workers)
    return time.process_time() + ended.children_user + ended.children_system + alive


def fixed_work() -> float:
    """Return the processor seconds of a piece of work that is always the same, of the kind that training is made of."""
    import torch  # seconds that tests of other things do without

    started = time.process_time()
    inputs, weights = torch.full((16, 8), 0.5), torch.full((8, 8), 0.1, requires_grad=True)
    for _ in range(20):
        (inputs @ weights).relu().square().mean().backward()
    return time.process_time() - started
