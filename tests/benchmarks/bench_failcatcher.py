"""Alarms without the clean picture beside FailCatcher's test-time augmentation, on the pictures of a run.

Run: python tests/benchmarks/bench_failcatcher.py [run, demo] [magnitude of RandAugment, 9]
after notebook 04; MEDROB_HOME is the folder that holds data/runs. It needs `pip install failcatcher`, in an
environment of its own: its licence is CC BY-NC-SA 4.0, so nothing of it is here. Five passes, as many as the
unsteady map needs and as FailCatcher's `run_tta` takes.
"""

import contextlib
import io
import sys

import numpy as np
import pandas as pd

from medrob import data, models
from medrob.analysis.alarm import LOWER_IS_BETTER, curves, risk, signals_of
from medrob.analysis.layout import CONDITION, estimate
from medrob.analysis.statistics import detect
from medrob.corruptions import CLEAN, apply_condition
from medrob.evaluation import drawn, units
from medrob.run import Run

try:
    from UQ_Toolbox.methods.tta import TTAMethod
except ImportError as error:
    sys.exit(f"FailCatcher is missing ({error}): pip install failcatcher")

PASSES, DRAWS = 5, 3
OURS = ["variance under changes", "mean under changes", "unsteady map", "low confidence"]


class Pictures:
    """Pictures as FailCatcher takes them: it sets `transform`."""

    transform = None

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, i):
        return self.transform(self.images[i].squeeze()), 0


def theirs(run, table, magnitude, seed):
    """FailCatcher's spread of the probabilities under RandAugment, for each row of the table."""
    (test,), spread = data.load_run(run, "test"), np.empty(len(table))
    channels, of_data = test.images.shape[-1], int(run.data["parameters"]["seed"])
    grey = dict(image_normalization=True, mean=[0.0] * channels, std=[1 / 255] * channels)  # levels 0-255
    method = TTAMethod(
        n=2, m=magnitude, nb_augmentations=PASSES, nb_channels=channels, image_size=test.images.shape[1],
        batch_size=256, dataloader_workers=0, **grey,
    )  # fmt: skip
    model = models.load(run.folder)
    for (corruption, severity), rows in table.groupby(CONDITION, sort=False).indices.items():
        index = table["image"].to_numpy()[rows]
        pictures = apply_condition(test.images[index], (corruption, int(severity)), seed=of_data, index=index)
        with contextlib.redirect_stdout(io.StringIO()):
            spread[rows] = method.compute([model], Pictures(pictures), "cpu", seed=seed)
    return spread


def judged(table, signals, resamples=500):
    """For each kind of pictures and measure: samples of each signal, (1 + resamples,)."""
    clean, found = table["corruption"] == CLEAN[0], {}
    for name, part in {"clean": table[clean], "corrupted": table[~clean]}.items():
        images = part.drop_duplicates("image")
        image = np.searchsorted(images["image"], part["image"])
        w, wrong = drawn(images, resamples), part["wrong"].to_numpy()
        values = {signal: part[signal].to_numpy(float) for signal in signals}
        each = {signal: curves(x, wrong, w[:, image]) for signal, x in values.items()}
        for metric in ("auroc", "aurc", "augrc"):
            found[name, metric] = {signal: each[signal][metric] for signal in signals}
        shape, one = (len(images), -1), np.zeros(len(images), int)
        found[f"{name}, same corruption", "auroc"] = {
            signal: detect(x.reshape(shape).T, wrong.reshape(shape).T, w, one) for signal, x in values.items()
        }
    found.pop(("clean, same corruption", "auroc"))  # there is one
    return found


def main(name="demo", magnitude="9"):
    """Print the table: each signal, and how much better FailCatcher's is, paired."""
    run = Run(name)
    table = signals_of(run.table("predictions"), run.table("alarm")).sort_values(["image", *CONDITION])
    table = table.reset_index(drop=True)
    draws = [f"FailCatcher, draw {seed}" for seed in range(DRAWS)]
    for seed, draw in enumerate(draws):
        table[draw] = theirs(run, table, int(magnitude), seed)
    cases = len(np.unique(units(table.drop_duplicates("image"))))
    found, rows = judged(table, [*draws, *OURS]), []
    for (pictures, metric), samples in found.items():
        for signal in (*draws, *OURS):
            row = {"pictures": pictures, "measure": metric, "signal": signal}
            lower = metric in LOWER_IS_BETTER
            value = risk(samples[signal], cases) if lower else estimate(samples[signal])
            row["value"] = "{:.3f} ({:.3f} to {:.3f})".format(*value)
            for i, draw in enumerate(draws if signal in OURS else ()):
                ahead = (samples[draw] - samples[signal]) * (-1 if lower else 1)
                row[f"draw {i} is better by"] = "{:+.3f} ({:+.3f} to {:+.3f})".format(*estimate(ahead))
            rows.append(row)
    errors = table.groupby(table["corruption"] == CLEAN[0])["wrong"].agg(["sum", "size"])
    print(f"run {name}, magnitude {magnitude}, {PASSES} passes; errors of pictures:", errors.to_dict("index"))
    print(pd.DataFrame(rows).fillna("").to_string(index=False))


if __name__ == "__main__":
    main(*sys.argv[1:])
