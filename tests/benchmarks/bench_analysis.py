"""From tables to figures: seconds and memory for one run of 624 images, 26 conditions, 8 layers, 5 methods.

Run: python tests/benchmarks/bench_analysis.py
"""

import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import numpy as np
import pandas as pd

from medrob import analysis, evaluation, figures, thesis, words
from medrob.machine import peak_memory_mb

IMAGES, CORRUPTIONS, SEVERITIES = 624, ("noise", "speckle", "blur", "contrast", "brightness"), (1, 2, 3, 4, 5)
METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")
LAYERS = tuple(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))


def made_up(images=IMAGES, seed=0):
    """Predictions, drift (649,000 rows) and distances; the picture that is hurt more moves its maps more."""
    rng = np.random.default_rng(seed)
    label = (rng.random(images) < 0.6).astype(int)
    skill = rng.normal(2, 1, images)
    predictions, drift, distances = [], [], []
    for c, s in [("clean", 0), *((c, s) for c in CORRUPTIONS for s in SEVERITIES)]:
        hurt = s * (1 + CORRUPTIONS.index(c)) * rng.gamma(4, 0.05, images) if s else np.zeros(images)
        margin = (skill - hurt + rng.normal(0, 0.2, images)) * (2 * label - 1)
        p = 1 / (1 + np.exp(-margin))
        known = {"image": np.arange(images), "corruption": c, "severity": s}
        predicted = (p > 0.5).astype(int)
        predictions.append(
            pd.DataFrame({**known, "label": label, "predicted": predicted, "p_no": 1 - p, "p_yes": p})
        )
        distances.append(pd.DataFrame({**known, "rmse": 5.0 * s + 3 * hurt + rng.random(images)}))
        if not s:
            continue
        kept = predicted == predictions[0]["predicted"].to_numpy()
        for method in METHODS:
            for layer in LAYERS:
                value = np.clip(0.1 * hurt + rng.normal(0.1, 0.05, images), 0, 1)
                flat = rng.random(images) < 0.02
                more = {"label": label, "method": method, "layer": layer, "preserved": kept}
                drift.append(
                    pd.DataFrame({**known, **more, "degenerate": flat, "rmse": np.where(flat, np.nan, value)})
                )
    return tuple(pd.concat(parts, ignore_index=True) for parts in (predictions, drift, distances))


def timed(name, function):
    began, worked = time.perf_counter(), time.process_time()
    found = function()
    wall, work = time.perf_counter() - began, time.process_time() - worked
    print(f"{name:22s}{wall:6.1f} s, {work:6.1f} s of work; peak {peak_memory_mb():5.0f} MB", flush=True)
    return found


def main():
    predictions, drift, distances = made_up()
    evidence = analysis.Evidence(predictions, drift, distances)
    print(f"{len(drift)} rows of drift; {peak_memory_mb():.0f} MB before the start")
    began, worked = time.perf_counter(), time.process_time()
    scores = timed("score", lambda: evaluation.score(predictions, "binary"))
    mean = timed("mean_drift", lambda: analysis.mean_drift(drift))
    strata = timed("strata", lambda: analysis.strata(drift))
    one = timed("declared", lambda: evidence.declared)
    method, layer = one["method"], one["layer"]
    for question in (analysis.association, analysis.per_image, analysis.failure, analysis.added):
        timed(question.__name__, lambda question=question: question(evidence))
    failure, tests = analysis.failure(evidence), timed("tests", lambda: analysis.tests(evidence))
    roc = timed("roc", lambda: analysis.roc(evidence))
    risk, _ = timed("risk", lambda: analysis.risk(evidence))
    timed("beside", lambda: analysis.beside(evidence))
    timed("twins", lambda: analysis.twins(drift))
    ranked = timed("ranks", lambda: analysis.ranks({"run": evidence}))
    timed("sensitivity", lambda: analysis.sensitivity(evidence))
    compared = timed("compare_runs", lambda: analysis.compare_runs({"run": [evidence]}))
    bundle = thesis.Bundle(Path(tempfile.mkdtemp()), "05_analysis")
    bundle.facts = one | {"runs": "run"}
    layers, classes = list(LAYERS), ["no", "yes"]
    points = analysis.moved_and_fell(evidence)
    pairs = analysis.drop_and_drift(scores, mean, method=method)
    fits = analysis.lines_over_corruptions(pairs)
    at = points[points["layer"] == layer]
    drawings = {
        "03_auc": lambda: figures.severity_curves(scores),
        "03_drop": lambda: figures.drop_heatmap(scores),
        "05_drift_by_class": lambda: figures.drift_by_class(
            analysis.drift_by_class(drift, classes, method=method, severity=5),
            scores,
            method=method,
            severity=5,
        ),
        "05_drop_against_drift": lambda: figures.drop_against_drift(pairs, fits, layers=layers),
        "05_images": lambda: figures.image_scatter(
            points, analysis.lines_over_images(points), classes=classes
        ),
        "05_boxes": lambda: figures.image_boxes(at, scores, classes=classes),
        "05_warnings": lambda: figures.warnings(failure, severity=5),
        "05_failure": lambda: figures.failure_curves(roc, risk),
        "05_strata": lambda: figures.strata_bars(strata, layer=layer),
        "05_runs": lambda: figures.runs_compared(compared),
        "05_ranks": lambda: figures.method_ranks(ranked),
        "summary": lambda: figures.summary(
            scores, pairs, fits, tests, failure, analysis.answers(tests), method=method, layer=layer
        ),
    }
    figures.use_style()
    for name, draw in drawings.items():
        timed(name, lambda draw=draw, name=name: bundle.figure(draw(), name))
    print(words.answer(tests))
    wall, work = time.perf_counter() - began, time.process_time() - worked
    print(f"tables to figures: {wall:.1f} s, {work:.1f} s of work, peak {peak_memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
