"""The stages of a run, in order, and the files each writes."""

# The stages in order, and the files each writes into the run folder.
STAGES: dict[str, tuple[str, ...]] = {
    "01_augment": ("corruptions.parquet",),
    "02_train": ("model.safetensors", "model.json", "history.parquet"),
    "03_test": ("predictions.parquet", "scores.parquet"),
    "04_heatmaps": ("drift.parquet", "trust.parquet"),
    "05_analysis": ("association.parquet", "failure.parquet", "summary.parquet"),
}
# The stages whose tables a stage computes with. All of them take the data that the first one names.
BUILDS_ON: dict[str, tuple[str, ...]] = {
    "01_augment": (),
    "02_train": (),
    "03_test": ("02_train",),
    "04_heatmaps": ("03_test",),
    "05_analysis": ("01_augment", "03_test", "04_heatmaps"),
}
# Of an earlier stage: the parameters and files from which no table of a later one follows.
APART: dict[tuple[str, str], tuple[str, ...]] = {
    ("02_train", "01_augment"): ("suite", "export", "corruptions.parquet"),
    ("03_test", "01_augment"): ("export",),
    ("04_heatmaps", "01_augment"): ("export",),
    ("04_heatmaps", "03_test"): ("resamples", "reference", "scores.parquet"),
    ("05_analysis", "01_augment"): ("export",),
    ("03_test", "02_train"): ("tensorboard",),
    ("04_heatmaps", "02_train"): ("tensorboard",),
    ("05_analysis", "02_train"): ("tensorboard",),
}
TIMED = ("history.parquet",)  # holds seconds, so no two are the same


def before(stage: str) -> list[str]:
    """The stages before a stage."""
    return list(STAGES)[: list(STAGES).index(stage)]


def after(stage: str) -> list[str]:
    """The stages after a stage."""
    return list(STAGES)[list(STAGES).index(stage) + 1 :]


def reads(stage: str) -> list[str]:
    """The files of earlier stages that a stage's tables follow from."""
    return [
        file
        for earlier in BUILDS_ON[stage]
        for file in STAGES[earlier]
        if file not in TIMED and file not in APART.get((stage, earlier), ())
    ]
