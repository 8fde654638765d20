"""What holds of every method by its declaration: where its equations are found and what they take, what it trains
when, and what it refuses."""

from __future__ import annotations

import importlib
import inspect
import re
from dataclasses import replace
from typing import Any

import pytest

import methods
from methods.base import MULTI, FusedMethod, MethodError, Phase

EQUATIONS = {
    "agm": """
        contribution_scores(contributions, labels, floor=1e-08)
        discrepancy_ratios(scores)
        modulation_coefficients(scores, running_scores, alpha, cap=10.0)
        scale_gradient(x, coefficient)
        shapley_contributions(coalition_logits, modalities)
        update_running_scores(running_scores, scores, step)
    """,
    "amco": """
        build_mask(dim, count, perm)
        dependence_shares(logits)
        dependent_flags(shares, sigma)
        mask_ratio(progress, eps=0.3, p_max=1.0)
        masked_count(ratio, dim)
    """,
    "amss": """
        accumulate(previous, current, momentum)
        batch_statistics(logits, features, labels, num_classes)
        mask_values(scores, selected, scheme='binary', c=0.0)
        sample_units(scores, ratio, generator=None, sampler='successive', uniform=None)
        significance(log_likelihood, label_counts, feature_entropy, shift=0.5, label_entropy='shannon')
        unit_scores(grad, unit, num_heads=None)
        update_ratios(significance, tau, low=0.1, high=0.9, bias=0.0)
    """,
    "aug": """
        assign_classifiers(scores, sigma=1.0, dead_zone=0.01, criterion='difference')
        boosting_loss(head_logits, labels, lam, use_eps=True, use_eps_o=True, use_eps_p=True)
        confidence_score(logits, labels)
        merge_logits(logits, weights=None)
        residual_target(labels, prev_logits, lam)
    """,
    "bss": """
        balance_score(similarity, loss, use_similarity=True, use_loss=True, previous=None, beta=1.0)
        curriculum_indices(scores, proportion, order='curriculum')
        pace(t, lambda0=0.1, t_grow=40, kind='sqrt', power=2.0, steps=5, rate=10.0)
        prediction_similarity(logits, space='softmax')
        sample_loss(multi_logits, uni_logits, targets, alpha=1.0, weighting='additive')
        sampling_probabilities(scores, kind='softmax', floor=0.01)
    """,
    "cggm": """
        balancing_terms(previous, current, eps=1e-08)
        direction_loss(terms, similarities)
        gradient_similarity(unimodal, fusion)
        head_gradient(logits, labels, features)
    """,
    "cml": """
        cml_loss(chain_logits, target, lam=0.1, margin=0.0, mask_mode='all', reduction='sum')
        confidence(logits)
        rank_loss(conf_more, conf_less, mask=None, margin=0.0, reduction='sum')
        rank_mask(pred_more, pred_less, target, mode='all')
        subset_logits(parts, bias, keep)
    """,
    "di_mml": """
        certainty_weights(logits, tau)
        dimension_scores(features, labels, num_classes)
        duc_loss(dst, src, dims, tau, offset=0)
        fuse_logits(logits, weights)
        transfer_dims(scores_src, scores_dst)
    """,
    "domfn": """
        amended_loss(ce, penalty, eta)
        domfn_loss(uni_logits, multi_logits, target, tau=0.5, gamma=0.8, eta=0.5, activation='softmax',
            ref='multi', closed='amended')
        fuse_gate(penalty, tau, gamma)
        penalties(uni_probs, multi_probs, ref='multi')
        select_prediction(uni_probs, multi_probs, gate)
    """,
    "dropout": """
        apply_keep(features, keep, fill=None, scale=None)
        effective_rates(rates)
        keep_mask(uniform, rates)
        scale_factors(keep, rates, mode='none')
    """,
    "ensemble": """
        combine(logits, pool='log_probs', weights=None)
        fit_weights(logits, labels, pool='log_probs', ridge=0.001)
        member_losses(logits, labels)
        scale_weights(logits)
    """,
    "gblend": """
        blended_loss(losses, weights)
        gap_changes(train_before, val_before, train_after, val_after)
        gb_weights(train_before, val_before, train_after, val_after, negative='clamp', eps=1e-08)
        needs_estimate(epoch, mode, super_epoch)
        ogr(train_before, val_before, train_after, val_after)
    """,
    "greedy": """
        conditional_learning_speed(bypass_total, main_total)
        conditional_utilization(accuracy_full, accuracy_cut)
        frozen_branch(gap, alpha)
        running_gate(mean, gate, count)
        speed_gap(bypass_totals, main_totals)
        update_magnitude(weights, gradients)
    """,
    "igm": """
        accumulate_cov(cov, x, conv=None, mode='batch_mean')
        layers_in_scope(param_counts, scope)
        project_gradient(grad, t_matrix)
        projection_matrix(cov, tau)
        resolves(weights, rho)
        sam_perturbation(grads, rho, per_tensor=False)
        source_modality(j, num_modalities)
    """,
    "inforeg": """
        fisher_trace(gradients, reduction='sum')
        performance_gaps(scores)
        performance_scores(logits, labels, kind='log_probability')
        regulated_gradient(grad, weight, anchor, strength)
        regulation_strength(gap, beta, variant='paper')
        relative_trace_change(history, window=1)
    """,
    "iprm": """
        combine_logits(uni_logits, mix_logits)
        kl_divergence(logits_p, logits_q, reduction='mean')
        mix_features(x, y, lam_x, kind='geodesic')
        mixed_targets(targets_x, targets_y, lam_x, num_classes)
        strength_weights(kl_x, kl_y)
        update_probe_weight(lam, omega, alpha)
    """,
    "lfa": """
        alpha_hypergradient(grad_cls, grad_mm, ihvp)
        alpha_schedule(strategy, t, total=None, value=None)
        contrastive_loss(feats, tau)
        inverse_hvp(hess, vec, method='neumann', steps=3, eta=0.01, tol=1e-10)
        js_alignment(logits)
        update_alpha(alpha, hypergrad, lr_alpha, low=0.0, high=1.0)
    """,
    "mbsd": """
        kl_loss(probs_a, probs_b, target, weights, mode='full')
        mbsd_loss(logits_multi, logits_uni, target, lam=1.0, kl_mode='full', rs_space='logits')
        rs_loss(x_a, x_b, weights)
        sample_weights(probs_a, probs_b, target)
    """,
    "mmcosine": """
        cosine_logits(feature, weight, scale=10.0)
        mmcosine_logits(features, weight, scale=10.0)
        mmcosine_loss(features, weight, target, scale=10.0)
        scale_lower_bound(num_classes, num_modalities, prob)
    """,
    "mmpareto": """
        integrate(g_multi, g_uni, alpha_m, alpha_u, gamma=1.5, eps=1e-06)
        min_norm_weight(g1, g2, edge=0.001)
        mmpareto_gradient(g_multi, g_uni, gamma=1.5, scope='encoder', edge=0.001)
        pareto_weights(g_multi, g_uni, edge=0.001)
    """,
    "mses": """
        multitask_loss(multi_loss, uni_losses, uni_weight=1.0)
        plateau_state(history, patience, smooth_weight=0.4, smooth_mode='two_tap', decay=0.0)
        smooth_history(history, smooth_weight=0.4, smooth_mode='two_tap')
    """,
    "mslr": """
        dynamic_learning_rates(initial, histories, current, window=5)
        performance_ratio(history, current, window=5)
        smooth_learning_rates(rates, strength=0.5, space='log')
    """,
    "ogm": """
        discrepancy_ratios(scores)
        modulate_gradient(grad, coefficient, noise=None)
        modulation_coefficients(ratios, alpha, variant='cvpr2022')
        unimodal_scores(logits, labels)
    """,
    "pmr": """
        class_prototypes(features, labels, num_classes)
        imbalance_ratio(logits, labels)
        loss_coefficients(ratio, mode='clip')
        prototype_logits(features, prototypes)
        prototypical_entropy(logits)
        total_loss(ce, pce, entropy, beta, gamma, alpha, mu)
        update_prototypes(old, new, counts, epsilon)
    """,
    "olm": """
        loss_ratio(init_loss, now_loss)
        modulated_loss(logits, coeffs, target, reduction='sum')
        norm_loss(logits, coeffs, ratio, reduction='sum')
        norm_loss_grad(logits, coeffs, ratio, reduction='sum')
        progress_rates(train_init, train_now, val_init, val_now)
        target_ratio(gen_rate, over_rate, eps=1e-06)
    """,
    "opm": """
        apply_drop(features, keep, scale)
        discrepancy_ratios(scores)
        drop_probabilities(ratios, q_base, lam)
        drop_scale(drop_probs, widths)
        unimodal_scores(logits, labels)
    """,
    "reconboost": """
        boosting_loss(logits, rest_logits, labels, weight_agree=5.0, weight_recon=1.0, form='target', class_mean=True)
        ensemble_logits(logits, boost_rate=1.0, exclude=None)
        memory_loss(logits, prev_logits)
        pseudo_residual(rest_logits, labels, lam)
        stage_plan(stage, num_modalities)
    """,
    "smv": """
        modality_level_probability(mean_contrib, alpha=1.0, func='linear')
        resample_counts(contrib)
        resample_index(counts)
        shapley_contributions(correct, num_modalities)
    """,
    "relearning": """
        clustering_purity(assignments, labels)
        min_max_scale(features)
        reinit_strength(train_purity, val_purity, lam)
        separability_purity(features, labels, num_clusters, seed=0, n_init=10)
        soft_reinit(current, initial, strength)
    """,
    "rollingq": """
        anchor_query(mean_query, mean_keys, weights)
        anchor_weights(cosines, sigma)
        apply_rotation(query, rotation)
        attention_cosines(query, keys)
        attention_imbalance_rate(query, key_a, key_b)
        rotated_mean_query(source, target, method='minimal')
        rotation_matrix(source, target, method='minimal')
    """,
    "moka": """
        cross_attend(queries, keys, key_mask)
        low_rank_tokens(x, modality_ids, a_weights)
        moka_delta(x, modality_ids, key_mask, a_weights, b_weight, scaling=1.0, lambda_=1.0, text_id=0,
            scale_before_attention=False)
    """,
    "umt": """
        choose_branch(acc_linear, acc_ensemble)
        feature_distill_loss(student, teacher)
        ume_probs(logits, weights=None)
        umt_loss(logits, target, student, teacher, lam=10.0)
    """,
    "mla": """
        fuse_logits(logits, weights)
        fusion_weights(logits)
        prediction_entropy(logits)
        project_gradient(grad, proj)
        projection_alpha(batch_index, num_batches, base=0.1)
        update_projection(proj, feature_mean, alpha, normalize=False)
    """,
}
"""Method -> the functions that may be imported from it, with their arguments and defaults."""


ESTIMATE: dict[str, Any] = {
    "schedule": "training", "holds_rate": True, "selectable": "none", "budget": False, "validate": False
}  # fmt: skip
STAGE: dict[str, Any] = {"schedule": "run", "selectable": "none"}
PHASES = {
    "agm": [Phase("training", 4, passes=2.0)],
    "di_mml": [
        Phase("modalities", 4, {"modalities": 1.0}, selectable="none"),
        Phase("fusion", 1, {"fusion": 1.0}, budget=False),
    ],
    "domfn": [
        Phase("pretraining", 1, {"a": 1.0, "b": 1.0}, optimizer="run", selectable="none"),
        Phase("fusion", 3, {"a": 0.05, "b": 0.05, "multi": 0.1}, optimizer="run"),
    ],
    "gblend": [
        Phase("estimate a, epochs 1 to 4", 4, {"copied a": 1.0, "copied head of a": 1.0}, passes=0.5, **ESTIMATE),
        Phase("estimate b, epochs 1 to 4", 4, {"copied b": 1.0, "copied head of b": 1.0}, passes=0.5, **ESTIMATE),
        Phase("estimate multi, epochs 1 to 4", 4, {"copied a": 1.0, "copied b": 1.0, "copied fusion": 1.0}, **ESTIMATE),
        Phase("training, epochs 1 to 4", 4, {"network": 1.0}, optimizer="training"),
    ],
    "moka": [
        Phase("projectors", 0, {"projectors": 1.0}, selectable="none", budget=False, validate=False),
        Phase("training", 4, {"projectors": 1.0, "adapters": 1.0, "backbone": 1.0, "encoders": 1.0}),
    ],
    "mslr": [Phase("training", 4, {"a": 1.0, "b": 1.0, "multi": 1.0})],
    "reconboost": [
        Phase("boost 0 a", 1, {"a": 1.0, "head": 1.0}, passes=0.5, **STAGE),
        Phase("rectify 0 a", 1, {"a": 1.0, "head": 1.0, "boost_rate": 1.0}, passes=0.5, **STAGE),
        Phase("boost 1 b", 1, {"b": 1.0, "head": 1.0}, **STAGE),
        Phase(
            "rectify 1 b", 1, {"a": 1.0, "b": 1.0, "head": 1.0, "boost_rate": 1.0}, schedule="run", selectable="last"
        ),
    ],
    "umt": [
        Phase("teacher a", 4, {"teacher a": 1.0}, selectable="none", budget=False, passes=0.5),
        Phase("teacher b", 4, {"teacher b": 1.0}, selectable="none", budget=False, passes=0.5),
        Phase("student", 4, {"student": 1.0}, passes=2.0),
    ],
    "unimodal": [Phase("training", 4, passes=0.5)],
}
"""Method -> what is trained when in a budget of four epochs, at its defaults, without words of its own; else one phase
over everything."""


@pytest.mark.parametrize("method", EQUATIONS)
def test_equations_are_importable_from_their_method(method: str) -> None:
    module = importlib.import_module(f"methods.{method}")
    promised = re.findall(r"\w+\(.*?\)", " ".join(EQUATIONS[method].split()))
    names = [each.partition("(")[0] for each in promised]
    assert names
    assert [f"{name}({arguments(getattr(module, name, None))})" for name in names] == promised


def arguments(function: Any) -> str:
    """Write the arguments of a function as its caller sees them, without types; those after ``*`` by name alone."""
    found = []
    for each in inspect.signature(function).parameters.values():
        if each.kind is each.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        found.append(each.name if each.default is each.empty else f"{each.name}={each.default!r}")
    return ", ".join(found)


@pytest.mark.parametrize(
    "package", ["amss", "aug", "bss", "igm", "lfa", "mla", "moka", "reconboost", "umt", "base", "equations"]
)
def test_the_public_names_are_there(package: str) -> None:
    module = importlib.import_module(f"methods.{package}")
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("name", [name for name in methods.names() if name != "igm"])
def test_what_is_trained_when_by_default(name: str) -> None:
    kind = methods.get(name)
    hyperparameters = kind.Hyperparameters.model_validate({"modality": "b"} if name == "unimodal" else {})
    found = [replace(phase, info=None) for phase in kind.phases_of(hyperparameters, ("a", "b"), 4)]
    assert found == PHASES.get(name, [Phase("training", 4)])


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
