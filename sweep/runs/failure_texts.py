"""Recorded failures in words, for the progress, ``show`` and the report."""

from __future__ import annotations

from collections.abc import Mapping

from sweep.runs.records import FinalRecord


def describe_causes(counts: Mapping[str, int]) -> str:
    """Put counts of failures by cause into words: "2 memory, 1 timeout"."""
    return ", ".join(
        f"{count} {cause}" for cause, count in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    )


def describe_failure(final: FinalRecord) -> str:
    """Describe in one line how a run failed or diverged: cause, reason, and what else earlier attempts failed of."""
    kind = f"{final.status} ({final.cause})" if final.cause else final.status
    others = [reason for reason in dict.fromkeys(final.failures) if reason != final.reason]
    return f"{kind}: {final.reason}" + (f" (before: {'; '.join(others)})" if others else "")
