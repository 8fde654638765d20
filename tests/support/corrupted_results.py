"""Results of a sweep that varies severities, written through the records that a real run leaves behind."""

from __future__ import annotations

from pathlib import Path

from support.synthetic_results import Results, noisy

NOISE = "data.digits.corrupt.profile.noise"


def noisier_and_noisier(path: Path, severities: tuple[float, ...] = (0, 1, 4)) -> Path:
    """results/noise: joint training, iprm with two values of alpha and igm at each severity, three seeds. Everywhere
    alpha 0.9 is the better one; joint and igm lose 8 points from a severity to the next, iprm 1."""
    results = Results(path)
    results.sweep("noise", "methods: [joint, iprm, igm]\nseeds: [0, 1, 2]\n")
    for step, severity in enumerate(severities):
        value = {NOISE: severity}
        for seed in range(3):
            plain = {"unimodal_loss_weight": 0.0}
            level = noisy(seed, 0.9 - 0.08 * step, 0.8, 0.5, 0.002)
            results.run("noise", "joint", seed, level, values=value, hyperparameters=plain)
            for alpha in (0.1, 0.9):
                level = noisy(seed, 0.89 - 0.01 * step + 0.03 * alpha, 0.8, 0.5, 0.002)
                results.run("noise", "iprm", seed, level, values=value | {"alpha": alpha})
            results.run("noise", "igm", seed, noisy(seed, 0.88 - 0.08 * step, 0.8, 0.5, 0.002), values=value)
    return path / "noise"
