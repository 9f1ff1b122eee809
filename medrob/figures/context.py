"""What a caption says of the data: which set, how many images, which seed, which network."""

from __future__ import annotations

from medrob.runs import Run


def context(study: Run) -> dict[str, str | int]:
    """The facts for the captions of a run's figures, as far as its stages have noted them.

    Args:
        study: the run; 01_augment has been finished.
    """
    stages, params = study.record["stages"], study.params
    began, about = params["01_augment"], stages["01_augment"].get("data", {}).get("test", {})
    facts: dict[str, str | int] = {"data": str(began["dataset"]).replace("\\", "/").rsplit("/", 1)[-1]}
    if "shape" in about:
        facts["data"] = f"{facts['data']}, {about['shape'][0]} x {about['shape'][1]} pixels"
        facts["test images"] = int(about["images"])
    if train := params.get("02_train"):
        width = f", width {train['width']}" if train["arch"].startswith("resnet") else ""  # others have none
        facts["network"] = train["arch"] + width
        facts["training augmentation"] = train["augment"]
        facts["training seed"] = int(train["seed"])
    facts["seed of data and corruptions"] = int(began["seed"])
    return facts
