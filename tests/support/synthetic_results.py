"""Synthetic results, written through the records that a real run leaves behind."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import methods
from sweep.analysis.parts import Parts
from sweep.results.tables import load
from sweep.runs.records import EnvironmentRecord, FinalRecord, IndexEntry, Run, TestRecord
from sweep.training.epoch_record import EpochRecord
from sweep.training.recipe import Recipe

ENVIRONMENT = EnvironmentRecord(
    packages={"torch": "2.11.0", "optuna": "5.0.0"},
    python="3.11.9",
    code="c0de",
    git="abc1234",
    hostname="host",
    platform="Linux",
    processor="x86",
    cpus=2,
    gpus=[],
    command=["python", "-m", "sweep"],
    workers=1,
    started="2026-01-01T00:00:00+00:00",
)

TEST_SAMPLES = 200

Levels = Mapping[str, float]


class Results:
    """A results folder being filled; every run gets the number of its making as hash."""

    def __init__(self, path: Path, dataset: str = "digits", modalities: tuple[str, ...] = ("left", "profile")) -> None:
        self.path, self.dataset, self.modalities, self._made = path, dataset, modalities, 0

    def sweep(self, name: str, text: str = "title: A sweep\n") -> None:
        (self.path / name).mkdir(parents=True, exist_ok=True)
        (self.path / name / "sweep.yaml").write_text(text)
        (self.path / name / "index.jsonl").touch()

    def run(
        self,
        sweep: str,
        method: str,
        seed: int,
        accuracy: Levels | None = None,
        *,
        label: str | None = None,
        role: str = "sweep",
        values: Mapping[str, Any] | None = None,
        hyperparameters: Mapping[str, Any] | None = None,
        status: str = "done",
        reason: str | None = None,
        epochs: int = 3,
        peak: float | None = None,
        diagnostics: Callable[[int], dict[str, float]] = lambda epoch: {},
        number: int | None = None,
        configuration: str | None = None,
        imbalance: float = 0.4,
        **final: Any,
    ) -> Path:
        """One run. accuracy: "multi" and modality -> test accuracy (validation is 0.01 higher, MAP 0.02, macro-F1 0.01
        lower). status missing: an index line alone; running: no final.json. final: fields of FinalRecord."""
        self._made += 1
        run_hash, values = f"{self._made:012d}", dict(values or {})
        entry = IndexEntry(
            hash=run_hash,
            method=method,
            label=label or method,
            dataset=self.dataset,
            role=role,
            values=values,
            seed=seed,
            configuration=configuration or f"{self.dataset}-{label or method}-{json.dumps(values)}",
            number=number,
        )
        with (self.path / sweep / "index.jsonl").open("a") as file:
            file.write(entry.model_dump_json() + "\n")
        folder = self.path / "runs" / run_hash
        if status == "missing":
            return folder
        folder.mkdir(parents=True)
        own = {k.removeprefix(f"{method}."): v for k, v in values.items() if not k.startswith(("train.", "data."))}
        recipe = Recipe(**{k.removeprefix("train."): v for k, v in values.items() if k.startswith("train.")})
        config = Run(
            method=method,
            hyperparameters={**(hyperparameters or {}), **own},
            dataset=self.dataset,
            data={"train_samples": 600},
            fingerprint="f00d",
            encoders={m: {"name": "mlp", "width": 64} for m in self.modalities},
            train=recipe,
            epochs=epochs,
            metric="accuracy",
            patience=None,
            test_peak=peak is not None,
            seed=seed,
            source={},
        )
        self._write(folder, config=config, environment=ENVIRONMENT)
        accuracy = accuracy or dict.fromkeys(("multi", *self.modalities), 0.5)
        lines = [self._epoch(e, epochs, accuracy, diagnostics(e)).model_dump_json() for e in range(1, epochs + 1)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        (folder / "log.txt").write_text("")
        if status == "running":
            return folder
        if status == "done":
            test = self._metrics("test", accuracy) | {"test_imbalance": 0.3, "test_shapley_left": 0.5}
            if peak is not None:
                test["test_peak_accuracy"] = accuracy["multi"] + peak
            self._write(folder, test=TestRecord(metrics=test, samples=TEST_SAMPLES))
        metrics = (
            {**self._metrics("validation", accuracy, 0.01), "validation_imbalance": imbalance}
            if status == "done"
            else {}
        )
        known: dict[str, Any] = {
            "status": status,
            "reason": reason,
            "selected_epoch": epochs if status == "done" else None,
            "epochs_trained": epochs,
            "metrics": metrics,
            "seconds": 3.0,
            "seconds_per_epoch": 1.0,
            "samples": 600 * epochs,
            "forward_passes": 600.0 * epochs,
            "samples_per_second": 600.0,
            "peak_memory_mib": 100.0,
        }
        self._write(folder, final=FinalRecord(**{**known, **final}))
        return folder

    def _epoch(self, epoch: int, epochs: int, accuracy: Levels, diagnostics: dict[str, float]) -> EpochRecord:
        reached = {name: level * (1 - 0.6 * np.exp(-3 * epoch / epochs)) for name, level in accuracy.items()}
        return EpochRecord(
            epoch=epoch,
            epochs=epochs,
            loss=1 / epoch,
            learning_rate=0.05,
            seconds=1.0,
            samples=600 * epoch,
            forward_passes=600.0 * epoch,
            samples_per_second=600.0,
            peak_memory_mib=100.0,
            metrics=self._metrics("validation", reached, 0.01),
            diagnostics=diagnostics,
        )

    def _metrics(self, split: str, accuracy: Levels, shift: float = 0.0) -> dict[str, float]:
        found = {}
        for name, level in accuracy.items():
            suffix = "" if name == "multi" else f"_{name}"
            for metric, offset in (("accuracy", 0.0), ("map", 0.02), ("macro_f1", -0.01)):
                found[f"{split}_{metric}{suffix}"] = level + shift + offset
        return found

    def _write(self, folder: Path, **records: Any) -> None:
        for name, record in records.items():
            (folder / f"{name}.json").write_text(record.model_dump_json())


def noisy(seed: int, fused: float, left: float, profile: float, noise: float = 0.01) -> dict[str, float]:
    """Accuracies around the given levels that depend on the seed, alike in every configuration up to a little."""
    shared, own = np.random.default_rng(seed), np.random.default_rng([seed, int(1e6 * fused)])
    shift = noise * (shared.standard_normal(3) + 0.5 * own.standard_normal(3))
    return dict(zip(("multi", "left", "profile"), (np.array([fused, left, profile]) + shift).tolist(), strict=True))


def references(results: Results, sweep: str, seeds: range) -> None:
    """The two baselines that every sweep carries."""
    for seed in seeds:
        results.run(
            sweep,
            "joint",
            seed,
            noisy(seed, 0.895, 0.80, 0.21),
            role="reference",
            hyperparameters={"unimodal_loss_weight": 0.0},
        )
        results.run(
            sweep,
            "joint",
            seed,
            noisy(seed + 100, 0.911, 0.86, 0.60),
            role="reference",
            label="joint + unimodal losses",
            hyperparameters={"unimodal_loss_weight": 1.0},
        )


def alpha_sweep(path: Path, seeds: range = range(3), *, failing: bool = True) -> Results:
    """results/iprm-alpha: nine values of alpha, of which 0.4 has a failed, 0.5 a diverged and 0.6 a missing seed."""
    results = Results(path)
    title = "IPRM: sensitivity to the weight of the moving average"
    results.sweep("iprm-alpha", f'title: "{title}"\nreproduces: "IPRM, IJCAI 2025, Figure 2"\nmethod: iprm\n')
    broken = {(0.4, 1): "failed", (0.5, 2): "diverged", (0.6, 0): "missing"} if failing else {}
    for number in range(1, 10):
        alpha = number / 10
        for seed in seeds:
            status = broken.get((alpha, seed), "done")
            results.run(
                "iprm-alpha",
                "iprm",
                seed,
                noisy(seed, 0.90 - 0.06 * (alpha - 0.7) ** 2, 0.87, 0.45 + 0.2 * alpha),
                values={"alpha": alpha},
                hyperparameters={"kind": "geodesic"},
                status=status,
                epochs=8,
                peak=0.012,
                reason=None if status == "done" else f"{status} on purpose",
                diagnostics=lambda e, a=alpha: {"lambda": a**e},
            )
    references(results, "iprm-alpha", seeds)
    return results


def pareto_search(path: Path) -> Results:
    """results/two: accuracy against imbalance over six configurations under three seeds. 0, 1 and 2 are the front, 3 is
    beaten, 4 would beat all but is out of the race after one seed, 5 was pruned. The front has fresh seeds."""
    results = Results(path)
    results.sweep("two", "method: iprm\nseeds: [0, 1, 2]\nsearch: {objectives: [accuracy, imbalance], racing: true}\n")
    levels = [(0.90, 0.40), (0.88, 0.25), (0.85, 0.10), (0.86, 0.30), (0.95, 0.05)]
    for number, (level, imbalance) in enumerate(levels):
        for seed in range(1 if number == 4 else 3):
            found = noisy(seed, level, 0.85, 0.5, noise=0.004)
            spread = imbalance + 0.01 * (seed - 1)
            values = {"alpha": number / 10}
            results.run("two", "iprm", seed, found, values=values, number=number, imbalance=spread)
    results.run("two", "iprm", 0, values={"alpha": 0.5}, number=5, status="pruned", epochs=2)
    for number in range(3):
        for seed in (100, 101, 102):
            found = noisy(seed, levels[number][0] - 0.01, 0.85, 0.5, noise=0.004)
            results.run("two", "iprm", seed, found, values={"alpha": number / 10}, number=number, role="report")
    out = {"label": "iprm", "dataset": "digits", "number": 4, "objective": "accuracy", "seeds": [0], "stays": False}
    out["configuration"] = f"digits-iprm-{json.dumps({'alpha': 0.4})}"
    (path / "two" / "race.jsonl").write_text(json.dumps(out) + '\n{"torn')
    references(results, "two", range(3))
    return results


def all_hyperparameters(method: str, **own: object) -> dict[str, object]:
    """The hyperparameters of a method as a run has them."""
    return methods.get(method).Hyperparameters(**own).model_dump(mode="json")


def swept_alpha(path: Path, dataset: str) -> Parts:
    """A sweep of IPRM's alpha on a dataset, as the paper has one, with everything else at its defaults."""
    results = Results(path, dataset)
    results.sweep("one")
    own = all_hyperparameters("iprm")
    del own["alpha"]
    for alpha in (0.2, 0.5, 0.8):
        for seed in range(3):
            level = noisy(seed, 0.9 - 0.1 * (alpha - 0.8) ** 2, 0.8, 0.5)
            results.run("one", "iprm", seed, level, values={"alpha": alpha}, hyperparameters=own, peak=0.02)
    return Parts(load(path / "one"))


def two_splits(path: Path) -> pd.DataFrame:
    """A sweep of alpha beside joint training, each with two seeds on each of two splits: 0.1 is the best on split 0,
    0.3 on split 1. Both have two report seeds a split, too, those of the sweep one and two points below its best."""
    results, splits = Results(path), list[int]()
    results.sweep("one")

    def run(split: int, method: str, seed: int, level: float, **keys: Any) -> None:
        if method == "joint":
            keys["hyperparameters"] = {"unimodal_loss_weight": 0.0}
        results.run("one", method, seed, {"multi": level, "left": 0.6, "profile": 0.3}, **keys)
        splits.append(split)

    for split, levels in {0: {0.1: 0.9, 0.2: 0.8, 0.3: 0.7}, 1: {0.1: 0.75, 0.2: 0.8, 0.3: 0.86}}.items():
        for seed in range(2):
            for alpha, level in levels.items():
                run(split, "iprm", seed, level + 0.01 * seed * (1 + alpha), values={"alpha": alpha})
            run(split, "joint", seed, 0.7 + 0.02 * split + 0.01 * seed, role="reference")
            best = max(levels, key=lambda alpha, of=levels: of[alpha])  # type: ignore[misc]
            fresh = levels[best] - 0.01 * (1 + seed)
            run(split, "iprm", 100 + seed, fresh, values={"alpha": best}, role="report")
            run(split, "joint", 100 + seed, 0.7 + 0.02 * split, role="report")
    found = load(path / "one")
    return found.assign(split=[splits[int(name) - 1] for name in found["hash"]])
