"""From a plan to finished runs: what to train next (agenda), who trains it (local, tune, distributed)."""
