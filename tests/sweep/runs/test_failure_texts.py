"""Recorded failures in words."""

from __future__ import annotations

from sweep.runs.failure_texts import describe_causes, describe_failure
from sweep.runs.records import FinalRecord


def test_a_failure_is_described_with_what_else_earlier_attempts_failed_of() -> None:
    final = FinalRecord(status="failed", cause="memory", reason="b", failures=["a", "b", "c", "a"])
    assert describe_failure(final) == "failed (memory): b (before: a; c)"
    assert describe_failure(FinalRecord(status="diverged", reason="nan", failures=["nan"])) == "diverged: nan"


def test_the_most_frequent_cause_is_counted_first_and_of_equal_ones_the_first_by_name() -> None:
    assert describe_causes({"error": 1, "timeout": 2, "memory": 5, "data": 2}) == "5 memory, 2 data, 2 timeout, 1 error"
    assert describe_causes({}) == ""
