"""The captions of the figures, by the figure's name, and the facts that every caption ends with.

In braces: facts that `medrob.thesis.Bundle` is given, or that the figure has noted of itself.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from medrob.figures import word

CAPTIONS = {
    "01_montage": "Training images of every class.",
    "01_image_distance": "Distance of the corrupted from the clean picture against severity: RMSE (grey "
    "levels), PSNR (dB) and SSIM, mean over the test images.",
    "01_augmentation": "What each policy of training augmentation makes of one picture.",
    "02_learning_curves": "Loss, accuracy and AUC on training and validation images by epoch; the weights "
    "of the epoch that is marked were kept.",
    "02_performance": "What the training cost: seconds an epoch, images per second and peak memory.",
    "03_auc": "AUC against severity, of all classes and of each against the rest, with 95 % bootstrap "
    "intervals over images; dotted: chance.",
    "03_accuracy": "Accuracy against severity; of a class, the share of its images that are recognised; 95 "
    "% bootstrap intervals over images.",
    "03_drop": "AUC drop against clean; bold where the paired 95 % interval lies above 0.",
    "03_reliability": "Share of right predictions against confidence, clean (grey) and at severity "
    "{severity}; area of the markers: share of the images.",
    "03_calibration": "Expected calibration error against severity, 15 bins, with 95 % bootstrap intervals "
    "over images.",
    "04_overlays": "One picture, clean and at severity 3, and its maps from shallow to deep layers; each "
    "map from 0 to its own maximum.",
    "04_methods": "The methods side by side on one clean picture, each at its deepest layer.",
    "04_randomisation": "Rank correlation of the maps with those of the same network when its weights are "
    "lost from the head downwards: (a) at the deepest layer, (b) when nothing trained is left; mean over "
    "{checked} images, bands: 95 % intervals. Methods with the same values are one line.",
    "04_drift_by_layer": "Mean drift (RMSE of maps, 0-1) at severity 5 from shallow to deep layers, with "
    "95 % intervals, over those of {explained} images whose maps are not degenerate.",
    "04_scale": "Mean drift of {explained} images by severity, between the same picture explained again and "
    "the map of another picture or of a random network; worst cases: of {checked} images; bars: 95 % "
    "intervals. Methods that are one map are drawn once.",
    "04_faithfulness": "Insertion, deletion and ROAD at the deepest layer, mean over {checked} images with "
    "95 % intervals; open circles: a random map of that resolution, for the same images.",
    "04_localisation": "Does the map lie on the lesion? Mean over those of {explained} images that have a "
    "lesion and a map, their number below each severity; bars: 95 % intervals; dashed: chance for these.",
    "05_drift_by_class": "Mean drift of {method} from shallow to deep layers at severity {severity}, for "
    "each corruption and class (the true label), with 95 % intervals; in the titles, the AUC drop of all "
    "classes. A point is the mean over its n images whose map is not degenerate; open markers: over 10 % of "
    "its maps are degenerate, and left out.",
    "05_drop_against_drift": "AUC drop against mean drift of {method}, a point a corruption, bars: 95 % "
    "intervals over images; line and band: least squares over the corruptions and its 95 % interval.",
    "05_images": "Drop of the clean class's logit margin against drift of {method}, a point an image and "
    "corruption; line and band: least squares over all corruptions and classes together and its 95 % "
    "interval over images, which describes and does not test. {markers}At most half a per cent of the "
    "points of a panel lie beyond each of its edges.",
    "05_boxes": "Drift of {method} at {layer} of the images of {classes}; above the boxes, the AUC drop of "
    "the condition.",
    "05_warnings": "(a) AUROC of drift for a flipped prediction at severity {severity}, by layer and "
    "method, within corruptions and classes (those predicted for the clean pictures); dashed: what needs no "
    "map, on the pictures that have a map of {method} at {layer}. (b) The same less the AUROC of low "
    "confidence on the same pictures. Bands: 95 % intervals.",
    "05_failure": "{method} at {layer}: (a) ROC curves for a flipped prediction at severity {severity}, "
    "within corruptions and classes; (b) risk against coverage, all corruptions and classes together; "
    "bands: 95 % intervals of drift. All curves are of the pictures that have a map.",
    "05_strata": "Mean drift at {layer} of pictures whose prediction is preserved and of those whose "
    "prediction has flipped{lacking}, all corruptions and classes together, with 95 % intervals: these means "
    "also tell classes apart and are no test.",
    "05_runs": "{compared}, means over corruptions: (a) AUC, (b) drift of {maps}; {intervals}",
    "05_answers": "The tests declared beforehand, asked of each run ({compared}); bars: 95 % "
    "intervals. Black: yes, or the other way round, p by Holm within the run; grey: no; white: not shown. "
    "Dotted: chance; the strip: too near to it to matter. {first}",
    "05_ranks": "Mean drift of every method at its deepest usable layer in {where}, the steadiest first; "
    "bars: 95 % intervals.{first}",
    "summary": "The whole story. (a) AUC and (b) drift against severity; (c) drop against drift, with a "
    "line for each severity; (d) rank correlations by layer; (e) AUROC for a flipped prediction within "
    "corruptions and classes, of all signals on the pictures that have a map; (f) the three tests declared "
    "beforehand, p by Holm: between all conditions, image by image in all conditions, and as a warning of a "
    "flip at severity {severity}. {method} at {layer}; bands and bars: 95 % intervals.",
}


def context(about: Mapping[str, Any], train: Mapping[str, Any] | None) -> dict[str, str | int]:
    """What a caption says of a run: its data, its network and the seeds.

    Args:
        about: what ``data.json`` of the run holds. train: the parameters of 02_train, None before it.
    """
    began, test = about["parameters"], about["splits"]["test"]
    name = str(began["dataset"]).replace("\\", "/").rsplit("/", 1)[-1]
    facts: dict[str, str | int] = {
        "data": f"{name}, {test['shape'][0]} x {test['shape'][1]} pixels",
        "test images": int(test["images"]),
    }
    if train:
        width = f", width {train['width']}" if train["arch"].startswith("resnet") else ""  # others have none
        facts["network"] = train["arch"] + width
        facts["training augmentation"] = train["augment"]
        facts["training seed"] = int(train["seed"])
    facts["seed of data and corruptions"] = int(began["seed"])
    return facts


def full_caption(file: str, caption: str, facts: Mapping[str, Any]) -> str:
    """A caption as a sentence: as given, or that of `CAPTIONS`, or the words of the file's name."""
    text = caption.strip() or CAPTIONS.get(file, "").format(**facts)
    text = text or word(file.lstrip("0123456789_")) or file
    return sentence(text[0].upper() + text[1:])


def ending(context: str | Mapping[str, Any], failed: Collection[tuple[str, str]]) -> str:
    """The end of every caption: ``Data: phantom; seed: 0.``, and what a dagger means if there is one."""
    if not isinstance(context, str):
        context = "; ".join(f"{word(key)}: {value}" for key, value in context.items())
        context = context[:1].upper() + context[1:]
    layers: dict[str, list[str]] = {}
    for method, layer in failed:
        layers.setdefault(method, []).append(layer)
    methods = "; ".join(f"{word(method)} at {', '.join(names)}" for method, names in layers.items())
    dagger = f"† fails randomisation: {methods}." if methods else ""
    return f"{sentence(context)} {dagger}".strip()


def sentence(text: str) -> str:
    """The text with a full stop, if it has no other end."""
    text = text.strip()
    return text if not text or text[-1] in ".?!" else f"{text}."
