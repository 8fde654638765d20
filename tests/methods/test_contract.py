"""What holds of every method by its declaration: where its equations are found, what it refuses."""

from __future__ import annotations

import importlib

import pytest

import methods
from methods.base import MULTI, FusedMethod, MethodError

EQUATIONS = {
    "agm": "contribution_scores discrepancy_ratios modulation_coefficients scale_gradient shapley_contributions "
    "update_running_scores",
    "amco": "build_mask dependence_shares dependent_flags mask_ratio masked_count",
    "amss": "accumulate batch_statistics mask_values sample_units significance unit_scores update_ratios",
    "aug": "assign_classifiers boosting_loss confidence_score merge_logits residual_target",
    "bss": "balance_score curriculum_indices pace prediction_similarity sample_loss sampling_probabilities",
    "cggm": "balancing_terms direction_loss gradient_similarity head_gradient",
    "cml": "cml_loss confidence rank_loss rank_mask subset_logits",
    "di_mml": "certainty_weights dimension_scores duc_loss fuse_logits transfer_dims",
    "domfn": "amended_loss domfn_loss fuse_gate penalties select_prediction",
    "dropout": "apply_keep effective_rates keep_mask scale_factors",
    "ensemble": "combine fit_weights member_losses scale_weights",
    "gblend": "blended_loss gap_changes gb_weights needs_estimate ogr",
    "greedy": "conditional_learning_speed conditional_utilization frozen_branch running_gate speed_gap "
    "update_magnitude",
    "igm": "accumulate_cov layers_in_scope project_gradient projection_matrix sam_perturbation source_modality",
    "inforeg": "fisher_trace performance_gaps performance_scores regulated_gradient regulation_strength "
    "relative_trace_change",
    "iprm": "combine_logits kl_divergence mix_features mixed_targets strength_weights update_probe_weight",
    "lfa": "alpha_hypergradient alpha_schedule contrastive_loss inverse_hvp js_alignment update_alpha",
    "mbsd": "kl_loss mbsd_loss rs_loss sample_weights",
    "mmcosine": "cosine_logits mmcosine_logits mmcosine_loss scale_lower_bound",
    "mmpareto": "integrate min_norm_weight mmpareto_gradient pareto_weights",
    "mses": "multitask_loss plateau_state smooth_history",
    "mslr": "dynamic_learning_rates performance_ratio smooth_learning_rates",
    "ogm": "discrepancy_ratios modulate_gradient modulation_coefficients unimodal_scores",
    "pmr": "class_prototypes imbalance_ratio loss_coefficients prototype_logits prototypical_entropy total_loss "
    "update_prototypes",
    "olm": "loss_ratio modulated_loss norm_loss norm_loss_grad progress_rates target_ratio",
    "opm": "apply_drop discrepancy_ratios drop_probabilities drop_scale unimodal_scores",
    "reconboost": "boosting_loss ensemble_logits memory_loss pseudo_residual stage_plan",
    "smv": "modality_level_probability resample_counts resample_index shapley_contributions",
    "relearning": "clustering_purity min_max_scale reinit_strength separability_purity soft_reinit",
    "rollingq": "anchor_query anchor_weights apply_rotation attention_cosines attention_imbalance_rate "
    "rotated_mean_query rotation_matrix",
    "moka": "cross_attend low_rank_tokens moka_delta",
    "umt": "choose_branch feature_distill_loss ume_probs umt_loss",
    "mla": "fuse_logits fusion_weights prediction_entropy project_gradient projection_alpha update_projection",
}


@pytest.mark.parametrize("method", EQUATIONS)
def test_equations_are_importable_from_their_method(method: str) -> None:
    module = importlib.import_module(f"methods.{method}")
    assert [name for name in EQUATIONS[method].split() if not callable(getattr(module, name, None))] == []


@pytest.mark.parametrize(
    "package", ["amss", "aug", "bss", "igm", "lfa", "mla", "moka", "reconboost", "umt", "base", "equations"]
)
def test_the_public_names_are_there(package: str) -> None:
    module = importlib.import_module(f"methods.{package}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("name", methods.names())
def test_every_method_refuses_what_no_method_takes(name: str) -> None:
    kind = methods.get(name)
    defaults = kind.Hyperparameters.model_validate({"modality": "b"} if name == "unimodal" else {})
    modalities = tuple("abc"[: max(2, kind.min_modalities)])
    kind.check(defaults, modalities)
    with pytest.raises(MethodError, match=f"no modality may be called '{MULTI}'"):
        kind.check(defaults, (*modalities[1:], MULTI))
    with pytest.raises(MethodError, match=f"{name} needs"):
        kind.check(defaults, modalities[: kind.min_modalities - 1])
    if issubclass(kind, FusedMethod):
        wrong = kind.Hyperparameters.model_validate({"gate_target": "smell"})
        with pytest.raises(MethodError, match="gate_target: no modality 'smell'"):
            kind.check(wrong, modalities)
