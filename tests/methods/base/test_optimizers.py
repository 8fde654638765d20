"""Optimizers without torch's compiler: they are torch's own, take the same steps, and leave gradients alone."""

from __future__ import annotations

import pytest
import torch
from support.forked_programs import printed

from methods.base.optimizers import without_compiler

KINDS = [torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW]


@pytest.mark.parametrize("kind", KINDS)
def test_steps_and_states_are_those_of_torch(kind: type[torch.optim.Optimizer]) -> None:
    derived = without_compiler(kind)
    assert issubclass(derived, kind)
    assert derived.__name__ == kind.__name__
    ours, theirs = (torch.nn.Parameter(torch.arange(4.0)) for _ in range(2))
    pairs = [(derived([ours], lr=0.1), ours), (kind([theirs], lr=0.1), theirs)]
    for _ in range(3):
        for optimizer, parameter in pairs:
            parameter.square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert torch.equal(ours, theirs)
    assert ours.requires_grad
    assert ours.grad is None
    first, second = (optimizer.state_dict() for optimizer, _ in pairs)
    assert first["param_groups"] == second["param_groups"]
    assert first["state"].keys() == second["state"].keys()


def test_an_optimizer_makes_no_process_import_torchs_compiler() -> None:
    program = """
import sys, torch
from methods.base.optimizers import without_compiler
parameter = torch.nn.Parameter(torch.ones(2))
before = "torch._dynamo" in sys.modules
optimizer = without_compiler(torch.optim.SGD)([parameter], lr=0.1)
optimizer.zero_grad()
parameter.sum().backward()
optimizer.step()
optimizer.load_state_dict(optimizer.state_dict())
print(before, "torch._dynamo" in sys.modules, parameter.tolist())
"""
    assert printed(program).split()[:2] == ["False", "False"]
