"""Tables of sines and cosines: by hand, and every position another row."""

from __future__ import annotations

import math

import torch

from models.positions import grid_sines, sines


def test_the_first_half_are_sines_the_second_cosines_of_falling_frequency() -> None:
    table = sines(torch.tensor([0, 1, 3]), 4)
    assert table.dtype == torch.float32
    expected = [
        [math.sin(p), math.sin(p / 100), math.cos(p), math.cos(p / 100)] for p in (0, 1, 3)
    ]  # frequencies 1 and 10000^(-1/2)
    torch.testing.assert_close(table, torch.tensor(expected))


def test_a_place_of_a_grid_has_its_column_first_then_its_row() -> None:
    table = grid_sines(2, 3, 8)
    assert table.shape == (6, 8)
    columns, rows = sines(torch.tensor([0, 1, 2]), 4), sines(torch.tensor([0, 1]), 4)
    for place, (row, column) in enumerate((r, c) for r in range(2) for c in range(3)):
        assert torch.equal(table[place], torch.cat([columns[column], rows[row]]))
    assert len(table.unique(dim=0)) == 6
