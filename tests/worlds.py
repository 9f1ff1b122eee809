"""Made-up runs whose truth is known: harm grows with severity and corruption, and drift is what is asked."""

import itertools

import numpy as np
import pandas as pd

from medrob.analysis.alarm import SIGNALS
from medrob.corruptions import CLEAN

MANY = tuple("abcdefghijklmnopqrs")  # 19, as many as a real study has
CORRUPTIONS, SEVERITIES = MANY[:5], (1, 2, 3, 4, 5)
KEYS = ["image", "corruption", "severity"]
# What a drift made by hand says of logits and energy, where these are not asked about.
STILL = dict(logit=0.0, logit_clean=0.0, amount=1.0, amount_clean=1.0)
HEAD = dict(method="gradcam", layer="deep")


def world(
    drift_of, *, seed=0, images=120, corruptions=CORRUPTIONS, severities=SEVERITIES,
    methods=("gradcam",), layers=("deep",),
):  # fmt: skip
    """Predictions, drift and distances of two classes.

    drift_of: the generator, the numbers of corruption and severity, and the harm of each image -> the drift
    of each image. It is asked for each method and layer.
    """
    rng = np.random.default_rng(seed)
    label, skill = np.arange(images) % 2, rng.normal(1.5, 0.7, images)
    predictions, drift, distances, first, clean = [], [], [], None, None
    for c, s in [(0, 0), *((c, s) for c in range(len(corruptions)) for s in severities)]:
        harm = s * (1 + c) * rng.gamma(4, 0.03, images)
        logits = rng.normal(0, 0.1, (images, 2))
        logits[np.arange(images), label] += skill - harm
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        first = first if s else p.argmax(1)
        z = logits[np.arange(images), first]
        energy = np.maximum(z + 1, 0)  # at the last block the energy is the logit, less its bias
        clean = clean if s else energy
        known = pd.DataFrame({"image": np.arange(images), "severity": s, "label": label})
        known.insert(1, "corruption", corruptions[c] if s else "clean")
        predictions.append(known.assign(predicted=p.argmax(1), p_0=p[:, 0], p_1=p[:, 1]))
        distances.append(known[KEYS].assign(rmse=8.0 * s + rng.normal(0, 1, images)))
        known = known.assign(preserved=p.argmax(1) == first, degenerate=False)
        known = known.assign(logit=z, logit_clean=clean - 1, amount=energy, amount_clean=clean)
        for method, layer in itertools.product(methods, layers) if s else ():
            moved = np.clip(drift_of(rng, c, s, harm), 0, 1)
            drift.append(known.assign(method=method, layer=layer, rmse=moved))
    return tuple(pd.concat(parts, ignore_index=True) for parts in (predictions, drift, distances))


def strong(rng, c, s, harm):
    """The image that is hurt more moves its map more."""
    return 0.05 + 0.2 * harm + rng.normal(0, 0.01, len(harm))


def severity(rng, c, s, harm):
    """Drift rises with severity alone; among corruptions its order has nothing to do with theirs."""
    return 0.1 * s + 0.02 * (2, 4, 0, 3, 1)[c] + rng.normal(0, 0.05, len(harm))


def none(rng, c, s, harm):
    """Drift has nothing to do with harm."""
    return 0.3 + 0.02 * (2, 4, 0, 3, 1)[c] + rng.normal(0, 0.1, len(harm))


WORLDS = {"strong": strong, "severity": severity, "none": none}


# Worlds with the right answer: what the declared tests may find in each, besides nothing.
TRUTH: dict[str, set[str]] = {
    "null": set(), "severity": set(), "class": set(), "patients": set(), "identity": set(), "vanished": set(),
    "bent": set(), "flips": {"per image"}, "third": {"per image"}, "moved": {"per image"},
    "driven": {"per image"},
    "extra": {"per image", "beyond scores"}, "conditions": {"between conditions"},
}  # fmt: skip


def simulated(kind, seed, *, images=120, corruptions=CORRUPTIONS, severities=(3, 5), same=None):
    """One table of a world of `TRUTH`: harm lowers the logit of the class predicted when clean.

    "severity", "class", "identity", "bent", "flips": drift follows from that alone, the third and fourth from
    the logit, the last from whether the prediction flips, which goes with the margin. "third", "moved" and
    "driven": see `third`. "patients": 4 images each, alike in harm, in drift and in what is wrong.
    "vanished": maps are lost where the logit is low. "extra": drift knows what makes rivals rise and
    predictions wrong, and no score shows the latter. "conditions": drift knows which corruptions hurt what
    was seen rightly more, and the rest less; the mean scores of a condition do not.
    same: a seed that gives all tables the same corruptions; None = each table draws its own.
    """
    if kind in ("third", "moved", "driven"):
        return third(kind, seed, images, corruptions, severities)
    rng = np.random.default_rng(seed)
    of_corruptions = rng if same is None else np.random.default_rng(same)
    patient = np.arange(images) // (4 if kind == "patients" else 1)
    hidden, alike, moves = (rng.normal(size=patient.max() + 1)[patient] for _ in range(3))
    label = (rng.random(patient.max() + 1) < 0.5)[patient].astype(int)
    toughness = 0.5 + of_corruptions.random(len(corruptions))
    grid = [("clean", 0), *((c, s) for c in corruptions for s in severities)]
    shape = len(grid), images
    level = np.array([s for _, s in grid])[:, None]
    which = np.array([corruptions.index(c) if s else 0 for c, s in grid])[:, None]
    seen = np.where(rng.random(images) < 0.8 - 0.25 * (kind == "extra") * hidden, label, 1 - label)
    skill = rng.normal(1.5, 0.7, images)
    strength = (0.1 if kind == "extra" else 0.3) * toughness
    harm = level * strength[which] * np.exp(0.4 * alike + 0.4 * rng.normal(size=shape))
    unfair = 0
    if kind == "conditions":
        unfair = of_corruptions.uniform(-1, 1, len(corruptions))[which]
        harm = 0.7 * harm * np.where(seen == label, 1 + 0.2 * unfair, 1 - 0.8 * unfair)
    rise = rng.normal(0, 0.3, shape) + (0.3 * hidden * (level > 0) if kind == "extra" else 0)
    rival = rise + (kind == "class") * 0.3 * level * (seen == 1)
    own = skill - harm + rng.normal(0, 0.3, shape)
    first = np.where(own[0] > rival[0], seen, 1 - seen)
    z = np.where(np.arange(2)[:, None, None] == seen, own, rival)
    p = np.exp(z) / np.exp(z).sum(0)
    logit = np.where(first == 1, z[1], z[0])
    effect = of_corruptions.normal(0, 0.05, len(corruptions))[which]
    moved = 0.3 + effect + rng.normal(0, 0.05, shape)
    moved = moved + {
        "severity": 0.05 * level, "class": 0.1 * (first == 1), "patients": 0.05 * moves,
        "identity": 0.2 / (1 + np.exp(logit)), "bent": 0.03 * (logit - 1) ** 2, "extra": 0.08 * hidden,
        "conditions": 0.1 * unfair, "flips": 0.15 * (p.argmax(0) != first),
    }.get(kind, 0)  # fmt: skip
    energy = np.maximum(logit + 1, 0)
    gone = (energy == 0) & (kind == "vanished")
    group = patient if kind == "patients" else None
    moved = np.where(gone, np.nan, moved)
    return tables(rng, grid, label, np.moveaxis(p, 0, -1), first, moved, logit, energy, gone, group)


def tables(rng, grid, label, p, first, moved, logit, energy, gone=False, group=None):
    """The tables of arrays (conditions, images), and p (conditions, images, classes), clean first."""
    shape = moved.shape
    table = pd.DataFrame([(i, *c) for c in grid for i in range(shape[1])], columns=KEYS)
    table = table if group is None else table.assign(group=np.tile(group, len(grid)))

    def with_columns(**columns):
        return table.assign(**{k: np.broadcast_to(v, shape).ravel() for k, v in columns.items()})

    shares = {f"p_{k}": p[..., k] for k in range(p.shape[-1])}
    predictions = with_columns(label=label, predicted=p.argmax(-1), **shares)
    drift = with_columns(
        rmse=moved, degenerate=gone, preserved=p.argmax(-1) == first, logit=logit, logit_clean=logit[0],
        amount=energy, amount_clean=energy[0],
    ).assign(**HEAD)  # fmt: skip
    distances = table.assign(rmse=8.0 * table["severity"] + rng.normal(0, 1, shape).ravel())
    return predictions, drift[drift["severity"] > 0].reset_index(drop=True), distances


def alarm_world(images=120, seed=0, informed=3.0, patients=False):
    """Predictions and an alarm: confidence knows something of the errors, and the map what nothing else does.

    informed: how much; 0 = nothing. patients: 4 pictures each, alike in what is wrong and in the signals.
    """
    rng = np.random.default_rng(seed)
    keys = pd.DataFrame([(i, *c) for c in (CLEAN, ("fog", 5)) for i in range(images)], columns=KEYS)
    patient = np.tile(np.arange(images) // (4 if patients else 1), 2)
    harm, moves = (patients * rng.normal(size=images)[patient] for _ in range(2))
    p = rng.uniform(0.5, 1, len(keys))
    wrong = rng.random(len(keys)) < 1.2 * (1 - p) * np.exp(harm)
    predicted = rng.integers(0, 2, len(keys))
    sure = {"p_a": np.where(predicted == 0, p, 1 - p), "p_b": np.where(predicted == 1, p, 1 - p)}
    predictions = keys.assign(label=np.where(wrong, 1 - predicted, predicted), predicted=predicted, **sure)
    signals = {name: rng.random(len(keys)) + 0.3 * moves for name in SIGNALS}
    signals["unsteady"] = signals["unsteady"] + informed * wrong
    known = {"group": patient} if patients else {}
    return predictions.assign(**known), keys.assign(vanished=False, passes=5, **signals)


def third(kind, seed, images, corruptions, severities):
    """Three classes: two are taken for each other, and corrupted pictures for the third, a rare one.

    Drift follows from the third's probability, and from whether it is predicted; of "moved", from how far
    all probabilities are from the clean ones (total variation), with next to no noise. "driven": each
    corruption drives into a class of its own, and drift follows, nearly exactly, from that one's probability.
    """
    rng, each = np.random.default_rng(seed), np.arange(images)
    label = rng.choice(3, images, p=[0.45, 0.45, 0.1])
    grid = [("clean", 0), *((c, s) for c in corruptions for s in severities)]
    shape = len(grid), images
    level = np.array([s for _, s in grid])[:, None]
    which = [corruptions.index(c) if s else 0 for c, s in grid]
    strength = level * rng.uniform(0.5, 1.5, len(corruptions))[which][:, None]
    z = rng.normal(0, 0.5, (images, 3)) + (label[:, None] == np.arange(3)) - [0, 0, 1] * (label != 2)[:, None]
    z = z + rng.normal(0, 0.4 + 0.15 * strength[..., None], (*shape, 3))
    pushed = 0.35 * strength * rng.gamma(2, 0.5, shape)
    into = rng.integers(0, 3, len(corruptions))[which] if kind == "driven" else np.full(len(grid), 2)
    z[np.arange(len(grid)), :, into] += pushed
    p = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    predicted, first = p.argmax(-1), p[0].argmax(-1)
    logit = z[:, each, first]
    moved = 0.3 + rng.normal(0, 0.05, shape) + 0.1 * p[..., 2] + 0.05 * (predicted == 2)
    if kind == "moved":
        moved = 0.3 + rng.normal(0, 0.01, shape) + 0.1 * np.abs(p - p[0]).sum(-1)
    if kind == "driven":
        moved = 0.3 + rng.normal(0, 0.01, shape) + 0.2 * p[np.arange(len(grid)), :, into]
    return tables(rng, grid, label, p, first, np.clip(moved, 0, 1), logit, np.maximum(logit + 2, 0))
