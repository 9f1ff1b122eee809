"""Made-up runs whose truth is known: harm grows with severity and corruption, and drift is what is asked."""

import numpy as np
import pandas as pd

CORRUPTIONS, SEVERITIES = ("a", "b", "c", "d", "e"), (1, 2, 3, 4, 5)
KEYS = ["image", "corruption", "severity"]
HEAD = dict(method="gradcam", layer="deep")


def world(
    drift_of, *, seed=0, images=120, pull=0.0, corruptions=CORRUPTIONS, severities=SEVERITIES,
    methods=("gradcam",), layers=("deep",),
):  # fmt: skip
    """Predictions, drift and distances of two classes.

    Args:
        drift_of: the generator, the numbers of corruption and severity, the harm of each image, and the class
            predicted when clean -> the drift of each image. It is asked for each method and layer.
        pull: how strongly the corruptions drive every prediction into class 0.
    """
    rng = np.random.default_rng(seed)
    label, skill = np.arange(images) % 2, rng.normal(1.5, 0.7, images)
    predictions, drift, distances = [], [], []
    for c, s in [(0, 0), *((c, s) for c in range(len(corruptions)) for s in severities)]:
        harm = s * (1 + c) * rng.gamma(4, 0.03, images)
        logits = rng.normal(0, 0.1, (images, 2))
        logits[np.arange(images), label] += skill - harm
        logits[:, 0] += pull * s * (1 + c) * 0.12
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        known = pd.DataFrame(
            {"image": np.arange(images), "corruption": "clean", "severity": s, "label": label}
        )
        known["corruption"] = corruptions[c] if s else "clean"
        predictions.append(known.assign(predicted=p.argmax(1), p_0=p[:, 0], p_1=p[:, 1]))
        distances.append(known[KEYS].assign(rmse=8.0 * s + rng.normal(0, 1, images)))
        first = predictions[0]["predicted"].to_numpy()
        known = known.assign(preserved=p.argmax(1) == first, degenerate=False)
        for method, layer in [(m, k) for m in methods for k in layers] if s else []:
            moved = np.clip(drift_of(rng, c, s, harm, first), 0, 1)
            drift.append(known.assign(method=method, layer=layer, rmse=moved))
    return tuple(pd.concat(parts, ignore_index=True) for parts in (predictions, drift, distances))


def strong(rng, c, s, harm, first):
    """The image that is hurt more moves its map more."""
    return 0.05 + 0.2 * harm + rng.normal(0, 0.01, len(harm))


def severity(rng, c, s, harm, first):
    """Drift rises with severity alone; among corruptions its order has nothing to do with theirs."""
    return 0.1 * s + 0.02 * (2, 4, 0, 3, 1)[c] + rng.normal(0, 0.05, len(harm))


def none(rng, c, s, harm, first):
    """Drift has nothing to do with harm."""
    return 0.3 + 0.02 * (2, 4, 0, 3, 1)[c] + rng.normal(0, 0.1, len(harm))


def through_class(rng, c, s, harm, first):
    """Maps of class 1 move more, and that is all that drift knows; see `pull`."""
    return none(rng, c, s, harm, first) + 0.1 * (first == 1)


WORLDS = {"strong": strong, "severity": severity, "none": none}
