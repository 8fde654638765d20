"""A proposer that knows its configurations gives them in their order, and needs no answer."""

from __future__ import annotations

from pathlib import Path

from support.small_runs import make_plan

from sweep.search.proposals import ListProposer, Nothing


def test_listed_configurations_are_proposed_in_order_and_counted(tmp_path: Path) -> None:
    listed = make_plan(tmp_path, vary={"alpha": {"grid": [0.1, 0.2]}}).studies[0].configurations
    proposer = ListProposer(listed)
    assert proposer.remaining() == 2
    assert proposer.propose(new=False) is listed[0]
    proposer.tell(listed[0], {})
    assert proposer.propose() is listed[1]
    assert (proposer.remaining(), proposer.propose()) == (0, Nothing.LEFT)
