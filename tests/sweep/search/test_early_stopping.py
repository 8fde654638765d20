"""Early stopping compares runs at equal epochs, in any order, through interruptions."""

from __future__ import annotations

from collections import Counter

import pytest

from sweep.config import SchedulerSpec
from sweep.search.early_stopping import StoppingRule


def rule(name: str, epochs: int = 9, grace: int = 1, reduction: int = 3) -> StoppingRule:
    return StoppingRule(SchedulerSpec(name=name, grace=grace, reduction=reduction), epochs)  # type: ignore[arg-type]


def run(found: StoppingRule, name: str, value: float, epochs: int = 9) -> int | None:
    """Train a run of a constant quality; the epoch at which it is stopped."""
    for epoch in range(1, epochs + 1):
        if found.observe(name, epoch, value):
            found.close(name)
            return epoch
    found.close(name)
    return None


def test_hyperband_has_brackets_of_the_published_sizes_with_later_and_later_first_rungs() -> None:
    found = rule("hyperband", epochs=9)
    # R = 9, eta = 3: 9, 5 and 3 configurations begin with 1, 3 and 9 epochs (Li et al., JMLR 2018, Table 1 scaled).
    assert [size for _, size in found._brackets] == [9, 5, 3]
    names = [f"run{n}" for n in range(3400)]
    shares = Counter(found.bracket(name) for name in names)
    assert [shares[b] / 200 for b in range(3)] == pytest.approx([9, 5, 3], rel=0.15)
    assert [rule("hyperband").bracket(name) for name in names] == [found.bracket(name) for name in names]
    assert len(rule("asha")._brackets) == len(rule("hyperband", epochs=2)._brackets) == 1


def test_hyperband_stops_within_a_bracket_at_its_own_rungs() -> None:
    found = rule("hyperband")
    names = {b: [f"run{n}" for n in range(200) if found.bracket(f"run{n}") == b] for b in range(3)}
    for bracket, first_rung in ((0, 1), (1, 3), (2, 9)):
        assert run(found, names[bracket][0], 0.9) is None
        assert run(found, names[bracket][1], 0.8) == first_rung
    # A bad run is not compared with the good ones of another bracket.
    fresh = rule("hyperband")
    assert run(fresh, names[0][0], 0.9) is None
    assert run(fresh, names[1][0], 0.1) is None


def test_an_epoch_that_is_trained_again_counts_once_and_a_resumed_run_is_compared_at_equal_epochs() -> None:
    whole, parts = rule("asha"), rule("asha")
    for found in (whole, parts):
        assert run(found, "good", 0.9) is None
    assert run(whole, "late", 0.5) == 1
    # Interrupted after epoch 1, where the earlier driver had not yet acted on the rule: ended at its next epoch.
    parts.learn("late", [(1, 0.5)])
    assert parts.observe("late", 1, 0.5)
    # Started from nothing after three epochs: nothing is decided until it is where it was.
    parts.learn("better", [(1, 0.95), (2, 0.95), (3, 0.2)])
    assert [parts.observe("better", epoch, value) for epoch, value in [(1, 0.95), (2, 0.95), (3, 0.2)]] == [
        False, False, True
    ]  # fmt: skip


def test_the_median_rule_learns_from_runs_that_ended() -> None:
    found = rule("median", grace=1)
    for n in range(4):
        assert run(found, f"good{n}", 0.8 + n / 100) is None
    assert run(found, "bad", 0.5) == 1


def test_the_median_rule_lets_a_run_train_its_grace_and_waits_for_four_that_have_ended() -> None:
    found = rule("median", grace=3)
    for n in range(3):
        assert run(found, f"good{n}", 0.8 + n / 100) is None
    assert run(found, "too early", 0.5) is None
    assert run(found, "bad", 0.4) == 3
    asha = rule("asha", grace=3)
    assert run(asha, "good", 0.9) is None
    assert run(asha, "bad", 0.5) == 3


def test_what_an_earlier_driver_pruned_is_compared_with_as_what_it_trained_to_the_end() -> None:
    found = rule("asha", epochs=9, reduction=2)
    found.learn("pruned", [(1, 0.9)])
    found.close("pruned")
    assert found.observe("later", 1, 0.5)
    found.close("later")
    found.close("never begun")


@pytest.mark.parametrize("grace", [1, 2])
def test_successive_halving_stops_at_its_rungs_alone(grace: int) -> None:
    found = rule("asha", epochs=18, grace=grace)
    assert run(found, "best", 0.9, epochs=18) is None
    assert run(found, "bad", 0.5, epochs=18) == grace
    # Good until the second rung.
    for epoch in range(1, 3 * grace):
        assert not found.observe("falling", epoch, 0.95)
    assert found.observe("falling", 3 * grace, 0.2)
