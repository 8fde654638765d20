"""The shipped sweeps cover what the papers print: each says what it reproduces, with the published values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import data
import methods
from sweep import published
from sweep.config import Sweep
from sweep.plan.build import plan
from sweep.plan.configurations import Plan
from sweep.plan.validate import validate

SHIPPED = Path(__file__).resolve().parents[1] / "sweeps.yaml"
PAPERS = ("IPRM, IJCAI 2025", "BSS, IJCAI 2025", "AUG, NeurIPS 2025", "AMSS, TPAMI 2025", "LFA (LFM), NeurIPS 2024",
          "IGM, IJCAI 2025", "MMPareto, ICML 2024", "MSLR, Findings of ACL 2022", "MSES, ACPR 2019",
          "DI-MML, ACM MM 2024",
          "UMT, ICML 2023",
          "DOMFN, ACM MM 2022",
          "AMCo, ICASSP 2023",
          "ReconBoost, ICML 2024",
          "InfoReg, CVPR 2025", "CGGM, NeurIPS 2024",
          "OGM-GE, CVPR 2022", "OGM and OPM, TPAMI 2024", "PMR, CVPR 2023", "AGM, ICCV 2023",
          "MMCosine, ICASSP 2023", "MLA, CVPR 2024", "RollingQ, ICML 2025", "MokA, NeurIPS 2025",
          "Greedy, ICML 2022", "Re-learning, ECCV 2024", "MBSD, WSDM 2023",
          "CML, ICML 2023", "SMV, CVPR 2024", "G-Blend, CVPR 2020", "OLM, IJCAI 2024")  # fmt: skip
WITHOUT_FIGURE = ("unimodal", "ensemble-pools", "dropout-rate", "dropout-batches", "lfa-tau", "bss-pace",
                  "mmpareto-gamma", "mslr-rates", "mses-patience")  # fmt: skip
"""Sweeps of a method that stand in no paper."""
NO_RUN = {("igm", "out_iters", 0.0), ("aug", "n_fixed", "adaptive")}
"""What stands on an axis beside values of the hyperparameter: no training at all, and another assignment."""
ABSENT = {"encoder=clip", "lb encoder=clip", "fusion=channel", "no_a_gm", "no_v_gm"}
"""Variants that digits cannot have: they need texts, convolutions, or audio and video (igm-interaction has its own)."""


@pytest.fixture(scope="module")
def shipped() -> list[Sweep]:
    return validate(SHIPPED)


@pytest.fixture(scope="module")
def plans(shipped: list[Sweep]) -> dict[str, Plan]:
    """The plans of the sweeps that need no data of the user's, by name."""
    embedded = (sweep for sweep in shipped if not any(data.get(name).paths for name in sweep.datasets))
    return {sweep.name: plan(sweep) for sweep in embedded}


def of_paper(curve: published.Curve) -> set[Any]:
    """The hyperparameter's values on a published curve, as the method here writes them."""
    found = {at for at in curve.at if (curve.method, curve.hyperparameter, at) not in NO_RUN}
    if curve.hyperparameter in ("fixed_ratios", "gradient_scale"):
        return {tuple(float(part.split("=")[1]) for part in at.split(";")) for at in found if isinstance(at, str)}
    return found


def values(sweep: Sweep, hyperparameter: str) -> set[Any]:
    """What a sweep varies a hyperparameter over."""
    varied = sweep.vary[hyperparameter].values if hyperparameter in sweep.vary else []
    found = [*varied, *(point[hyperparameter] for point in sweep.points if hyperparameter in point)]
    return {tuple(value) if isinstance(value, list) else value for value in found}


def test_every_sweep_has_a_title_and_only_known_papers_are_named(shipped):
    for sweep in shipped:
        assert sweep.title, sweep.name
        assert sweep.reproduces is None or any(paper in sweep.reproduces for paper in PAPERS), sweep.name
        if sweep.name.partition("-")[0] in methods.names() and sweep.name not in WITHOUT_FIGURE:
            assert sweep.reproduces or sweep.search, f"{sweep.name} names no figure or table"


def test_every_published_grid_is_one_sweep(shipped):
    checked = 0
    for curve in published.curves():
        declares = methods.get(curve.method).Hyperparameters.model_fields
        if curve.hyperparameter not in declares or not (wanted := of_paper(curve)):
            continue
        own = [sweep for sweep in shipped if curve.method in {entry.method for entry in sweep.methods}]
        assert any(wanted <= values(sweep, curve.hyperparameter) for sweep in own), curve
        checked += 1
    assert checked > 30


def test_every_printed_variant_of_the_six_methods_is_trained_by_a_sweep(plans):
    own = set(methods.names()) - {"unimodal"}
    cells = [
        cell for cell in published.cells() if cell.method in own and cell.metric in ("accuracy", "map", "macro_f1")
    ]
    wanted = {(cell.method, cell.variant) for cell in cells}
    found = set[tuple[str, str]]()
    for planned in plans.values():
        for study in planned.studies:
            for configuration in study.configurations:
                values = configuration.template.hyperparameters.items()
                row = {name: json.dumps(v) if isinstance(v, list | dict) else v for name, v in values}
                found |= {(cell.method, cell.variant) for cell in published.cells_of(configuration.method, row)}
    assert {pair for pair in wanted - found if pair[1] not in ABSENT} == set()


def test_three_modalities_are_compared_on_three(shipped):
    by_name = {sweep.name: sweep for sweep in shipped}
    for name in ("compare-three", "naive-fusions-three", "iprm-heads"):
        assert len(by_name[name].data["digits"]["views"]) == 3
    assert {entry.method for entry in by_name["compare"].methods} == set(methods.names()) - {"unimodal"}
    assert {entry.method for entry in by_name["compare-tuned"].methods} == set(methods.names()) - {"unimodal"}
    assert by_name["compare-three"].methods == by_name["compare"].methods


def test_the_shipped_sweeps_validate_and_plan(plans):
    needed = "iprm-alpha bss-alpha bss-beta bss-pace lfa-alpha lfa-tau igm-rho igm-tau compare igm-search quickstart"
    assert set(needed.split()) <= set(plans)
    for name, found in plans.items():
        assert all(study.configurations or study.space for study in found.studies), name


def test_the_shipped_grids_are_those_of_the_papers(shipped):
    grids = {sweep.name: sweep.vary for sweep in shipped}
    assert grids["iprm-alpha"]["alpha"].values == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9]
    assert grids["bss-alpha"]["alpha"].values == grids["bss-beta"]["beta"].values == [0.1, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert grids["igm-tau"]["tau"].values == [0.001, 0.4, 1.3, 20, 100]
    assert grids["igm-rho"]["rho"].values == [1e-15, 1e-10, 1e-8, 1e-6, 1e-4, 1e-3, 1e-2, 0.05, 0.2]
    (points,) = (sweep.points for sweep in shipped if sweep.name == "lfa-alpha")
    assert [p["alpha"] for p in points if p["strategy"] == "constant"] == [0, 0.5, 1]
    assert [p["alpha"] for p in points if p["strategy"] == "stepwise"] == [0, 1, 0.05, 0.95]


def test_the_shipped_comparison_carries_all_references(plans):
    found = plans["compare"]
    labels = list(dict.fromkeys(study.label for study in found.studies))
    assert labels[:3] == ["joint", "joint + unimodal losses", "ensemble"]
    unimodal = [(r.label, r.dataset, r.values["modality"]) for r in found.references]
    assert unimodal == [
        ("best unimodal", *each)
        for each in (("digits", "left"), ("digits", "profile"), ("mfeat", "fou"), ("mfeat", "mor"))
    ]
