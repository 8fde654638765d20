"""The best epoch of a module that has a phase of its own."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class BestEpoch:
    """Weights of the epoch with the largest score so far, the first of equals: for what is trained beside the budget,
    as teachers are, since the loop selects among the epochs of the budget alone. Belongs into the method's state."""

    def __init__(self) -> None:
        self.score: float | None = None
        self._weights: dict[str, Tensor] = {}

    def keep(self, module: nn.Module, score: float) -> float:
        """Keep a copy of the module's weights where no epoch before had this score. Returns the best so far."""
        if self.score is None or score > self.score:
            self.score = score
            self._weights = {name: value.clone() for name, value in module.state_dict().items()}
        return self.score

    def restore(self, module: nn.Module) -> None:
        """Bring the module back to its best epoch, and forget that."""
        module.load_state_dict(self._weights)
        self.score, self._weights = None, {}

    def state_dict(self) -> dict[str, Any]:
        return {"score": self.score, "weights": dict(self._weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.score, self._weights = state["score"], dict(state["weights"])
