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
    "05_analysis": ("01_augment", "04_heatmaps"),
}
TIMED = ("history.parquet",)  # holds seconds, so no two are the same


def before(stage: str) -> list[str]:
    """The stages before a stage."""
    return list(STAGES)[: list(STAGES).index(stage)]


def after(stage: str) -> list[str]:
    """The stages after a stage."""
    return list(STAGES)[list(STAGES).index(stage) + 1 :]
