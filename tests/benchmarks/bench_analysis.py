"""From tables to figures: seconds and memory for one run of 624 images, 26 conditions, 8 layers, 5 methods.

Run: python tests/benchmarks/bench_analysis.py
"""

import sys
import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("agg")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
from worlds import world

from medrob import analysis, evaluation, figures, thesis, words
from medrob.machine import peak_memory_mb

METHODS = ("gradcam", "gradcam++", "hirescam", "xgradcam", "layercam")
LAYERS = tuple(f"layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1))
QUESTIONS = ("association", "per_image", "failure", "added", "tests")


def timed(name, function, *args, **options):
    began, worked = time.perf_counter(), time.process_time()
    found = function(*args, **options)
    wall, work = time.perf_counter() - began, time.process_time() - worked
    print(f"{name:22s}{wall:6.1f} s, {work:6.1f} s of work; peak {peak_memory_mb():5.0f} MB", flush=True)
    return found


def main():
    """The image that is hurt more moves its maps more; two in a hundred maps are degenerate."""

    def moved(rng, c, s, harm):
        return np.where(rng.random(len(harm)) < 0.02, np.nan, 0.1 * harm + rng.normal(0.1, 0.05, len(harm)))

    predictions, drift, distances = world(moved, images=624, methods=METHODS, layers=LAYERS)
    drift = drift.assign(degenerate=drift["rmse"].isna(), normalised=drift["rmse"])
    print(f"{len(drift)} rows of drift; {peak_memory_mb():.0f} MB before the start")
    began, worked = time.perf_counter(), time.process_time()
    evidence = timed("evidence", analysis.Evidence, predictions, drift, distances)
    method, layer, severity = evidence.declared.values()
    at = dict(method=method, severity=severity)
    scores = timed("score", evaluation.score, predictions, "binary")
    mean = timed("mean_drift", analysis.mean_drift, drift)
    timed("strata", analysis.strata, drift)
    found = {name: timed(name, getattr(analysis, name), evidence) for name in QUESTIONS}
    timed("compare_runs", analysis.compare_runs, {"run": [evidence]}, {"run": ""})
    tests, failure, points = found["tests"], found["failure"], analysis.moved_and_fell(evidence)
    pairs = analysis.drop_and_drift(scores, mean, method=method)
    by_class = analysis.drift_by_class(drift, evidence.classes, **at)
    answers = analysis.answers(tests)
    bundle = thesis.Bundle(Path(tempfile.mkdtemp()), "05_analysis")
    bundle.facts = evidence.declared | {"explained": "624 images"}
    figures.use_style()
    summarised = (scores, pairs, tests, failure, answers)
    drawings = {
        "05_drift_by_class": (figures.drift_by_class, (by_class, scores), at),
        "05_drop_against_drift": (figures.drop_against_drift, (pairs,), dict(layers=LAYERS)),
        "05_images": (figures.image_scatter, (points,), dict(classes=evidence.classes)),
        "05_signals": (figures.signals, (failure,), {}),
        "summary": (figures.summary, summarised, dict(method=method, layer=layer)),
    }
    for name, (draw, tables, options) in drawings.items():
        timed(name, bundle.figure, draw(*tables, **options), name)
    print(words.answer(tests, scores, drift, found["added"]))
    wall, work = time.perf_counter() - began, time.process_time() - worked
    print(f"tables to figures: {wall:.1f} s, {work:.1f} s of work, peak {peak_memory_mb():.0f} MB")


if __name__ == "__main__":
    main()
