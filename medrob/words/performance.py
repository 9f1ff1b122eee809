"""What data, training, predictions and scores say. For notebooks 01 to 03."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from medrob import corruptions
from medrob.words.phrases import counted, listed, name, say, shown, text

GUESSING = 0.6  # an AUC on validation images below which a trained network was probably not taken right


def data_sets(*sets: Any) -> str:
    """How many images of which size each split (`medrob.data.ImageDataset`) has."""
    data, sizes = sets[-1], listed([f"{len(part):,} {part.split}" for part in sets])
    task = "multilabel" if data.task == "multilabel" else "single"
    numbers = dict(data=data, sizes=sizes, colour="grey" if data.images.shape[-1] == 1 else "colour")
    return say("data_sets", "images", task, **numbers, classes=listed(map(name, data.class_names)))


def suite(suite: str | list[str], names: Sequence[str]) -> str:
    """Which corruptions the test images are put under, and how `suite` of notebook 01 chooses them."""
    chosen = listed(map(name, [suite] if isinstance(suite, str) else suite))
    left = listed(shown(name) for name in corruptions.names(suite) if name not in names)
    return say("suite", "chosen", "left_out" if left else "", number=len(names), suite=chosen, left=left)


def example(away: Mapping[tuple[str, int], float], corruption: str) -> str:
    """How far one picture moves as a corruption grows: its RMSE by condition."""
    moved = {severity: rmse for (name, severity), rmse in away.items() if name == corruption}
    last = max(moved)
    return say("example", "grows", corruption=corruption, severity=last, first=moved[1], last=moved[last])


def distances(spread: pd.DataFrame) -> str:
    """Which corruption changes the images most, in two measures; under which a step of severity does not."""
    severity = spread["severity"].max()
    rows = spread[spread["severity"] == severity].set_index("metric", drop=False)
    numbers = dict(pixels=rows.loc[["rmse"]].nlargest(1, "value").iloc[0], severity=severity)
    numbers["structure"] = rows.loc[["ssim"]].nsmallest(1, "value").iloc[0]
    rmse = spread[spread["metric"] == "rmse"].pivot(index="severity", columns="corruption", values="value")
    still = listed(map(shown, rmse.columns[~(rmse.diff()[1:] > 0).all()]))
    return say("distances", "pixels", "structure", "steps" if still else "grow", **numbers, still=still)


def network(arch: str, model: Any, layers: pd.DataFrame | None = None) -> str:
    """How fine its maps are, the size of the network, its weights, and how it normalises grey levels."""
    numbers = dict(arch=arch, model=model, size=sum(w.numel() for w in model.parameters()))
    deepest = {} if layers is None else layers.tail(1).to_dict("index")
    said = [say("network", "deepest", layer=layer, row=row) for layer, row in deepest.items()]
    return text(*said, say("network", "size", **numbers))


def probabilities(table: pd.DataFrame) -> str:
    """What a network takes one picture for, in the first and the last row: a column for each class."""
    said = [say("probabilities", "row", condition=c, of=p.idxmax(), p=p.max()) for c, p in table.iterrows()]
    return say("probabilities", "first" if len(said) == 1 else "both", first=said[0], last=said[-1])


def right(scores: pd.DataFrame, images: str) -> str:
    """How often the network is right, by the scores of clean images of this kind."""
    row, _ = clean_and_corrupted(scores, "accuracy")
    of = scores[(scores["metric"] == "accuracy") & (scores["class"] != "all") & (scores["severity"] == 0)]
    of = of.set_index("class")["value"].dropna()
    only = "one_class" if len(of) > 1 and (of.max(), of.sum()) == (1, 1) else ""
    return say("right", "share", only, row=row, images=images, of=of.idxmax() if only else "")


def training(history: pd.DataFrame, best: int, classes: Iterable[str] = ()) -> str:
    """How good the kept epoch, `best`, is, and whether longer training might help; 0: it was not trained."""
    checked = history[history["split"] == "val"].set_index("epoch")
    kept, last, loss = checked.loc[best], checked.index[-1], checked["loss"]
    if not best:
        doubt = "guessing" if kept["auc"] < GUESSING else ""
        return say("training", "as_it_came", doubt, kept=kept, classes=listed(map(name, classes)))
    numbers = dict(best=best, last=last, kept=kept, end=loss.iloc[-1], least=loss.min())
    return say("training", "kept", "ended" if best == last else "went_on", "loss", **numbers)


def speed(history: pd.DataFrame) -> str:
    """What the training cost, or the check of a network that was not trained."""
    what = "cost" if "train" in set(history["split"]) else "checked"
    images = history.loc[history["split"] == "train", "images_per_second"].median()
    memory = history[["memory_mb", "gpu_memory_mb"]].max()
    gpu = "gpu" if memory["gpu_memory_mb"] else ""
    return say("speed", what, gpu, seconds=history["seconds"].sum(), images=images, memory=memory)


def done(params: Mapping[str, Any], splits: Mapping[str, Any], drift: pd.DataFrame | None = None) -> str:
    """What was done on what data: by the parameters of a run, its ``data.json`` and, if known, its drift."""
    keys, train = ["data"], dict(params.get("02_train", {}))
    numbers = dict(data=str(params["01_augment"]["dataset"]).rpartition("/")[2], splits=splits)
    numbers |= dict(classes=listed(map(name, splits["test"]["counts"])), train=train)
    if train:
        keys += ["trained" if train["epochs"] else "as_it_came"]
        train["weights"] = train["weights"] or "of its own"
    if drift is not None:
        keys += ["tested", "explained"]
        numbers |= {f"{column}s": drift[column].nunique() for column in ("corruption", "method", "layer")}
        numbers |= dict(severity=drift["severity"].max(), explained=counted(drift.drop_duplicates("image")))
    return say("done", *keys, **numbers)


def limits(params: Mapping[str, Any], drift: pd.DataFrame, runs: int) -> str:
    """What limits the answers of a run, or of so many side by side."""
    generated = str(params["01_augment"]["dataset"]).startswith("phantom")
    keys = ["generated" if generated else "source", "corruptions", "one_run" if runs == 1 else ""]
    keys += ["" if "group" in drift else "groups", "clean", "clinic"]
    return say("limits", *keys, suite=drift["corruption"].nunique())


def predictions(predictions: pd.DataFrame) -> str:
    """How many predictions there are."""
    conditions = predictions.groupby(["corruption", "severity"]).ngroups
    images = counted(predictions.drop_duplicates("image"))
    return say("predictions", "number", total=len(predictions), images=images, conditions=conditions)


def accuracy(scores: pd.DataFrame) -> str:
    """Under which condition the network is right least often, and of which classes then."""
    corrupted = clean_and_corrupted(scores, "accuracy")[1]
    worst = corrupted.nsmallest(1, "value").iloc[0]
    rows = scores[(scores["metric"] == "accuracy") & (scores["class"] != "all")]
    rows = rows[(rows["corruption"] == worst["corruption"]) & (rows["severity"] == worst["severity"])]
    each = listed([say("accuracy", "of_class", row=row) for row in rows.to_dict("records")])
    key = "same" if corrupted["value"].max() == worst["value"] and len(corrupted) > 1 else "worst"
    return say("accuracy", key, worst=worst, each=each)


def scores(scores: pd.DataFrame) -> str:
    """Has the network skill to lose, where does it lose most, and is the loss larger than chance?"""
    clean, corrupted = clean_and_corrupted(scores, "auc")
    if not np.isfinite(clean["value"]):
        return say("scores", "undefined")
    if clean["low"] <= 0.5:
        return say("scores", "clean", "no_skill", clean=clean)
    worst, higher = corrupted.loc[corrupted["drop"].idxmax()], (corrupted["drop_high"] < 0).sum()
    end = "lower" if np.isfinite(clean["low"]) else "no_intervals"
    numbers = dict(total=len(corrupted), lower=(corrupted["drop_low"] > 0).sum())
    numbers["higher"] = f" and higher under {higher}" if higher else ""
    drops = "worst" if worst["drop"] > 0 else "no_drop"
    return say("scores", "clean", drops, end, clean=clean, worst=worst, **numbers)


def clean_and_corrupted(scores: pd.DataFrame, metric: str) -> tuple[pd.Series, pd.DataFrame]:
    """The rows of a metric over all classes."""
    rows = scores[(scores["class"] == "all") & (scores["metric"] == metric)]
    return rows[rows["severity"] == 0].iloc[0], rows[rows["severity"] > 0]


def operating_point(points: pd.DataFrame, positive: str, thresholds: Mapping[str, float]) -> str:
    """What a fixed threshold finds on clean images, and under which condition it fails most."""
    points = points[points["class"] == positive]
    if points["metric"].nunique() < 2:  # a rate that no image has
        return say("operating_point", "undefined", positive=positive)
    clean = points[points["severity"] == 0].set_index("metric").to_dict("index")
    worst = points[points["severity"] > 0].sort_values("value", kind="stable")
    worst = worst.drop_duplicates("metric").set_index("metric")
    numbers = dict(missed=worst.loc["sensitivity"], alarms=worst.loc["specificity"])
    numbers |= dict(positive=positive, threshold=thresholds[positive])
    return say("operating_point", "rule", "clean", "worst", **numbers, **clean)


def reliability(table: pd.DataFrame) -> str:
    """How often the network is right where it is surest, under the corruption with the largest gap."""
    worst = table[table["severity"] == table["severity"].max()].sort_values("confidence")
    surest = worst.groupby("corruption", sort=False).tail(1)
    row = surest.loc[(surest["confidence"] - surest["accuracy"]).idxmax()]
    return say("reliability", "surest", row=row.rename({"accuracy": "value"}))


def calibration(scores: pd.DataFrame) -> str:
    """Does the calibration error grow, as a mean over the corruptions at the highest severity?"""
    clean, corrupted = clean_and_corrupted(scores, "ece")
    severity = corrupted["severity"].max()
    worst = corrupted[corrupted["severity"] == severity]
    numbers = dict(clean=clean["value"], mean=worst["value"].mean(), severity=severity, total=len(worst))
    return say("calibration", "ece", **numbers, higher=(worst["value"] > clean["value"]).sum())


def errors(errors: pd.DataFrame, *, size: int, suite: str | list[str]) -> str:
    """The errors under corruption; size and suite are those of the run.

    AlexNet's, to which some may be relative, are for 224 px and MedMNIST-C (Di Salvo et al. 2024).
    """
    if errors.empty:
        return say("errors", "several")
    mean = errors[errors["corruption"] == "mean"]
    lines = [say("errors", "mean", row=row) for row in mean.to_dict("records")]
    alike = "BE" not in set(mean["metric"]) or (size, str(suite).split(":")[0]) == (224, "medmnist-c")
    unlike = "" if alike else say("errors", "unlike", size=size, suite=suite)
    return text(say("errors", "what"), lines, unlike)


def kept(run: str, entry: Mapping[str, Any]) -> str:
    """Which files a stage has written, by its `entry` in the record of a run."""
    files = listed([f"`{file}`" for file in entry["files"]])
    parts = sum(len(part["files"]) for part in entry["thesis"].values())
    return say("kept", "files", run=run, files=files, parts=parts)
