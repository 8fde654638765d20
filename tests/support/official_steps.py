"""Training steps of the methods' official code, written from the equations of the papers and what is known of the code:
plain tensors, and nothing of methods/.

A step takes the weights by role, the two inputs, the labels and a memory between steps. It changes the weights in place
by plain gradient descent, and returns the loss. Roles: Wa, ba, Wv, bv of the two branches tanh(W x + b); W, b of the
joint head on the concatenated features; Ha, ca, Hv, cv of one head a modality."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, one_hot

RATE = 0.1
Weights = dict[str, Tensor]
Memory = dict[str, Any]
Step = Callable[[Weights, Tensor, Tensor, Tensor, Memory], float]

AUDIO, VIDEO = ("Wa", "ba"), ("Wv", "bv")


def features(w: Weights, a: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    return torch.tanh(a @ w["Wa"].T + w["ba"]), torch.tanh(v @ w["Wv"].T + w["bv"])


def heads(w: Weights, za: Tensor, zv: Tensor) -> tuple[Tensor, Tensor]:
    return za @ w["Ha"].T + w["ca"], zv @ w["Hv"].T + w["cv"]


def joint(w: Weights, za: Tensor, zv: Tensor) -> Tensor:
    return torch.cat([za, zv], 1) @ w["W"].T + w["b"]


def parts(w: Weights, za: Tensor, zv: Tensor) -> tuple[Tensor, Tensor]:
    """Part the joint logits, each modality with half of the bias."""
    width = za.shape[1]
    return za @ w["W"][:, :width].T + w["b"] / 2, zv @ w["W"][:, width:].T + w["b"] / 2


def gradients(loss: Tensor, w: Weights, names: Iterable[str] | None = None) -> Weights:
    chosen = list(w if names is None else names)
    found = torch.autograd.grad(
        loss, [w[n] for n in chosen], retain_graph=True, materialize_grads=True, allow_unused=True
    )
    return dict(zip(chosen, found, strict=True))


def descend(w: Weights, by: Mapping[str, Tensor]) -> None:
    for name, gradient in by.items():
        w[name] = (w[name] - RATE * gradient).detach().requires_grad_()


def true_class(logits: Tensor, y: Tensor) -> Tensor:
    return logits.softmax(1)[torch.arange(len(y)), y]


def scored_ratio(w: Weights, za: Tensor, zv: Tensor, y: Tensor) -> tuple[float, float]:
    """Give the ratio of the two modalities' summed scores, and its reciprocal."""
    sa, sv = (true_class(z, y).sum().item() for z in parts(w, za, zv))
    return sa / sv, sv / sa


# The steps ---------------------------------------------------------------------------------------------------------


def iprm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    za, zv = features(w, a, v)
    la, lv = heads(w, za, zv)
    na, nv = za / za.norm(dim=1, keepdim=True), zv / zv.norm(dim=1, keepdim=True)
    angle = torch.acos((na * nv).sum(1, keepdim=True))

    def mixed(share: float) -> Tensor:
        mix = (torch.sin(share * angle) * na + torch.sin((1 - share) * angle) * nv) / torch.sin(angle)
        return mix @ w["W"].T + w["b"]

    probe = memory.get("probe", 0.5)
    pa, pv, pm = (z.detach().softmax(1) for z in (la, lv, mixed(probe)))
    da, dv = (float((p * (p / pm).log()).sum(1).mean()) for p in (pa, pv))
    omega = dv / (da + dv)
    loss = cross_entropy(mixed(omega), y) + cross_entropy(la, y) + cross_entropy(lv, y)
    memory["probe"] = 0.8 * probe + 0.2 * omega
    descend(w, gradients(loss, w))
    return loss.item()


def bss(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    za, zv = features(w, a, v)
    la, lv = heads(w, za, zv)
    loss = 0.1 * cross_entropy(joint(w, za, zv), y) + 0.9 * (cross_entropy(la, y) + cross_entropy(lv, y))
    descend(w, gradients(loss, w))
    return loss.item()


def aug(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """One classifier of audio (P0), three of video (P1 to P3); one step a modality, on the head that both share."""
    total = 0.0
    for modality, branch, owned in ((0, AUDIO, (0,)), (1, VIDEO, (1, 2, 3))):
        z = features(w, a, v)[modality]
        logits = [torch.relu(z @ w[f"P{k}"].T + w[f"p{k}"]) @ w["S"].T + w["s"] for k in owned]
        loss = cross_entropy(sum(logits, torch.zeros(())), y)
        if len(owned) > 1:
            before = sum(logits[:-1], torch.zeros(()))
            residual = one_hot(y, 3) * (1 - 0.5 * before.detach().softmax(1))
            loss = loss - (residual * logits[-1].log_softmax(1)).sum(1).mean() + cross_entropy(before, y)
        private = [name for k in owned for name in (f"P{k}", f"p{k}")]
        descend(w, gradients(loss, w, (*branch, *private, "S", "s")))
        total += loss.item()
    return total


def amss(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """Keep the gradients of the units with the largest squares, and none of the others'."""
    za, zv = features(w, a, v)
    width, loss = za.shape[1], cross_entropy(joint(w, za, zv), y)
    found = gradients(loss, w)
    share = one_hot(y, 3).sum(0) / len(y)
    known = share[share > 0]
    of_labels = -(known * known.log()).sum()
    significance = []
    for z, block in ((za, w["W"][:, :width]), (zv, w["W"][:, width:])):
        likelihood = true_class(z @ block.T + w["b"], y).log().mean()
        of_features = -(z.softmax(1) * z.log_softmax(1)).sum(1).mean()
        significance.append(((likelihood + of_labels + 0.5) / of_features).item())
    u = torch.tensor(significance)
    ratios = (1 - (u / 0.2).softmax(0)).clip(0.1, 0.9).tolist() if bool((u > 0).all()) else [0.5, 0.5]

    def kept(gradient: Tensor, ratio: float) -> Tensor:
        """Keep of a row of units the share with the largest squares."""
        count = max(1, math.ceil(ratio * gradient.numel() - 1e-9))
        best = gradient.square().flatten().argsort(descending=True, stable=True)[:count]
        mask = torch.zeros(gradient.numel())
        mask[best] = 1
        return gradient * mask.reshape(gradient.shape)

    for name, ratio in (("Wa", ratios[0]), ("Wv", ratios[1])):
        found[name] = kept(found[name], ratio)
    rows = [torch.cat([kept(row[:width], ratios[0]), kept(row[width:], ratios[1])]) for row in found["W"]]
    descend(w, found | {"W": torch.stack(rows)})
    return loss.item()


def lfm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    la, lv = heads(w, *features(w, a, v))
    p, q = la.softmax(1), lv.softmax(1)
    m = (p + q) / 2
    alignment = ((m * (m / p).log()).sum(1) + (m * (m / q).log()).sum(1)).mean() / 2
    loss = 2 * (0.05 * cross_entropy((la + lv) / 2, y) + 0.95 * alignment)
    descend(w, gradients(loss, w))
    return loss.item()


def ogm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    za, zv = features(w, a, v)
    loss = cross_entropy(joint(w, za, zv), y)
    found = gradients(loss, w)
    for branch, ratio in zip((AUDIO, VIDEO), scored_ratio(w, za, zv, y), strict=True):
        factor = 1 - math.tanh(0.8 * ratio) if ratio > 1 else 1.0
        found |= {name: factor * found[name] for name in branch}
    descend(w, found)
    return loss.item()


def opm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """With a base probability of 1 every sample loses the modality that leads."""
    za, zv = features(w, a, v)
    keep = [float(ratio <= 1) for ratio in scored_ratio(w, za, zv, y)]
    lost = (za.shape[1] * (1 - keep[0]) + zv.shape[1] * (1 - keep[1])) / (za.shape[1] + zv.shape[1])
    loss = cross_entropy(joint(w, za * keep[0] / (1 - lost), zv * keep[1] / (1 - lost)), y)
    descend(w, gradients(loss, w))
    return loss.item()


def agm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    (za, zv), (na, nv) = features(w, a, v), features(w, torch.zeros_like(a), torch.zeros_like(v))
    both, audio, video = joint(w, za, zv), joint(w, za, nv), joint(w, na, zv)
    responses = ((both - video + audio) / 2, (both - audio + video) / 2)
    scores = [-true_class(each, y).clamp_min(1e-8).log().mean().item() for each in responses]
    running, count = memory.get("running", [0.0, 0.0]), memory.get("count", 0) + 1
    total = torch.zeros(())
    for m, response in enumerate(responses):
        ratio, reference = (math.exp(s[1 - m] - s[m]) for s in (scores, running))
        factor = math.exp(min(reference - ratio, 10.0))
        total = total + response * factor + (response * (1 - factor)).detach()
    memory["running"] = [old * (count - 1) / count + new / count for old, new in zip(running, scores, strict=True)]
    memory["count"] = count
    loss = cross_entropy(total, y)
    descend(w, gradients(loss, w))
    return loss.item()


def pmr(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    if "prototypes" not in memory:
        every, labels = memory["training set"]
        memory["prototypes"] = [
            torch.stack([z[labels == k].mean(0) for k in range(3)]).detach() for z in features(w, *every)
        ]
    za, zv = features(w, a, v)
    own = [-(z[:, None] - c).norm(dim=2) for z, c in zip((za, zv), memory["prototypes"], strict=True)]
    sums = [true_class(each, y).sum().item() for each in own]
    loss = cross_entropy(joint(w, za, zv), y)
    if sums[0] != sums[1]:
        loss = loss + 2.0 * cross_entropy(own[0] if sums[0] < sums[1] else own[1], y)
    descend(w, gradients(loss, w))
    return loss.item()


def mmpareto(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    za, zv = features(w, a, v)
    la, lv = heads(w, za, zv)
    of_joint, own = cross_entropy(joint(w, za, zv), y), (cross_entropy(la, y), cross_entropy(lv, y))
    loss = of_joint + own[0] + own[1]
    found = gradients(loss, w)
    for branch, mine in zip((AUDIO, VIDEO), own, strict=True):
        multi, uni = gradients(of_joint, w, branch), gradients(mine, w, branch)
        gm, gu = (torch.cat([g[n].flatten() for n in branch]) for g in (multi, uni))
        a_, b_, c_ = float(gm @ gm), float(gm @ gu), float(gu @ gu)
        share = 0.5
        if b_ <= 0:
            share = 0.999 if b_ >= a_ else 0.001 if b_ >= c_ else (c_ - b_) / (a_ + c_ - 2 * b_)
        for name in branch:
            direction = 2 * share * multi[name] + 2 * (1 - share) * uni[name]
            longer = float((multi[name] + uni[name]).norm() / direction.norm())
            found[name] = 1.5 * max(1.0, longer) * direction
    descend(w, found)
    return loss.item()


def mla(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """The paper's projection, from the features of the modality before; its constant falls as the code's does."""
    batch = memory.get("batch", 0)
    projection = memory.get("projection", torch.eye(w["W"].shape[1]))
    losses, constant = [], 0.1 ** (1 + batch / 5)
    for modality, branch in enumerate((AUDIO, VIDEO)):
        z = features(w, a, v)[modality]
        loss = cross_entropy(z @ w["W"].T + w["b"], y)
        found = gradients(loss, w, (*branch, "W", "b"))
        if memory.get("projects", True):
            found["W"] = found["W"] @ projection.T
            mean = z.detach().mean(0)
            towards = projection @ mean
            projection = projection - torch.outer(towards, mean @ projection) / (constant + mean @ towards)
        descend(w, found)
        losses.append(loss.item())
    memory |= {"batch": batch + 1, "projection": projection}
    return sum(losses) / 2


def released_mla(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """The code as it was released, in which the projection never runs."""
    return mla(w, a, v, y, memory | {"projects": False})


def mmcosine(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    za, zv = features(w, a, v)
    width, logits = za.shape[1], torch.zeros(())
    for z, block in ((za, w["W"][:, :width]), (zv, w["W"][:, width:])):
        logits = logits + 10 * (z / z.norm(dim=1, keepdim=True)) @ (block / block.norm(dim=1, keepdim=True)).T
    loss = cross_entropy(logits, y)
    descend(w, gradients(loss, w))
    return loss.item()


def cggm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """Classifiers of one layer, trained by Adam; their weights are compared with the head's, by the step before."""
    za, zv = features(w, a, v)
    task, width = cross_entropy(joint(w, za, zv), y), za.shape[1]
    heard = heads(w, za.detach(), zv.detach())
    accuracy = torch.stack([(z.argmax(1) == y).double().mean() for z in heard])
    gain = accuracy - memory.get("accuracy", torch.zeros(2))
    terms = (gain.sum() + 1e-8 - gain) / (gain.sum() + 1e-8)
    total, before = task, memory.get("terms", torch.zeros(2))
    for term, block, theirs in zip(before, (w["W"][:, :width], w["W"][:, width:]), (w["Ha"], w["Hv"]), strict=True):
        cosine = (block * theirs.detach()).sum() / (block.norm() * theirs.detach().norm())
        total = total + 0.2 * (term.abs() - term * cosine) / 2
    found = gradients(total, w, (*AUDIO, *VIDEO, "W", "b"))
    for branch, term in zip((AUDIO, VIDEO), terms, strict=True):
        found |= {name: 1.3 * term * found[name] for name in branch}
    norm = torch.stack([g.norm() for g in found.values()]).norm()
    descend(w, {name: g * min(1.0, 0.8 / (float(norm) + 1e-6)) for name, g in found.items()})
    own = cross_entropy(heard[0], y) + cross_entropy(heard[1], y)
    adam(w, gradients(own, w, ("Ha", "ca", "Hv", "cv")), memory, 5e-4)
    memory |= {"accuracy": accuracy, "terms": terms}
    return task.item()


def igm(w: Weights, a: Tensor, v: Tensor, y: Tensor, memory: Memory) -> float:
    """Five steps of audio, then five of video, whose head (L, M, N) is modified by what came into that of audio."""
    step = memory["steps"] = memory.get("steps", 0) + 1
    letter, place = ("a", 0) if step <= 5 else ("v", 1)
    if step == 6:
        every, _ = memory["training set"]
        memory["matrices"] = [_flatness(x.detach().mean(0)) for x in _head_inputs(w, "a", features(w, *every)[0])]
    names = [f"{role}{letter}" for role in "WbLlMmNn"]

    def loss_of(weights: Weights) -> Tensor:
        *_, last = _head_inputs(weights, letter, features(weights, a, v)[place])
        return cross_entropy(last @ weights[f"N{letter}"].T + weights[f"n{letter}"], y)

    loss = loss_of(w)
    plain = gradients(loss, w, names)
    moved = {n: (w[n] + 0.05 * plain[n] / plain[n].norm()).detach().requires_grad_() for n in names}
    sharp = gradients(loss_of(w | moved), w | moved, names)
    found = {n: 0.7 * plain[n] + 0.3 * sharp[n] for n in names}
    for role, matrix in zip("LMN", memory.get("matrices", []), strict=False):
        found[f"{role}{letter}"] = found[f"{role}{letter}"] @ matrix
    descend(w, found)
    return loss.item()


def _head_inputs(w: Weights, letter: str, z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    hidden = torch.relu(z @ w[f"L{letter}"].T + w[f"l{letter}"])
    return z, hidden, hidden @ w[f"M{letter}"].T + w[f"m{letter}"]


def _flatness(mean: Tensor) -> Tensor:
    """Shrink steps along the sharp directions of one batch's covariance."""
    sizes, vectors = torch.linalg.eigh(torch.outer(mean, mean))
    factors = (-0.4 * (sizes - sizes.min()) / (sizes.max() - sizes.min())).exp()
    return vectors @ torch.diag(factors) @ vectors.T


def adam(w: Weights, by: Mapping[str, Tensor], memory: Memory, rate: float) -> None:
    count = memory["adam steps"] = memory.get("adam steps", 0) + 1
    for name, gradient in by.items():
        first, second = memory.get(f"adam {name}", (torch.zeros_like(gradient), torch.zeros_like(gradient)))
        first, second = 0.9 * first + 0.1 * gradient, 0.999 * second + 0.001 * gradient**2
        memory[f"adam {name}"] = first, second
        scale = (second / (1 - 0.999**count)).sqrt() + 1e-8
        w[name] = (w[name] - rate * first / (1 - 0.9**count) / scale).detach().requires_grad_()
