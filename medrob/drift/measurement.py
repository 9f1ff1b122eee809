"""How alike maps are, how far those of corrupted images move from the clean ones, and where lesions lie."""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property, partial

import numpy as np
import pandas as pd
import torch
from scipy.stats import rankdata
from torch import Tensor

from medrob.corruptions import CLEAN, Condition
from medrob.corruptions import apply_condition as corrupted
from medrob.data import ImageDataset
from medrob.drift.choice import targets
from medrob.evaluation import prediction_table, task_of
from medrob.machine import bar
from medrob.models import activate
from medrob.saliency import Explainer, Key, degenerate, normalise, same_decision, upsample

LOCALISATION = ("energy", "pointing", "iou")
TIED = 1e-6  # relative to the maximum: bilinear interpolation rounds, so equal peaks may differ by this
SSIM_WINDOW = 7  # as scikit-image's default
UNBIASED = SSIM_WINDOW**2 / (SSIM_WINDOW**2 - 1)  # scikit-image takes sample variances
Columns = dict[str, np.ndarray]  # name -> (pairs of method and layer, images)


class PreparedMaps:
    """Raw maps (N, h, w), and what the similarities need of them, worked out once and on demand."""

    def __init__(self, raw: np.ndarray | Tensor) -> None:
        raw = raw.detach() if isinstance(raw, Tensor) else torch.from_numpy(np.array(raw))
        self.degenerate = degenerate(raw)  # bool (N,); all other values of such a map mean nothing
        self.positive = raw.relu().contiguous()

    @cached_property
    def values(self) -> Tensor:
        """Min-max maps, 0-1."""
        return normalise(self.positive)

    @cached_property
    def ranks(self) -> Tensor:
        """Ranks, ties at their mean rank, minus the mean of all."""
        flat = self.positive.flatten(1)
        return ranks(flat).sub_((flat.shape[1] + 1) / 2).view_as(self.positive)


Maps = np.ndarray | Tensor | PreparedMaps


def sort(values: Tensor) -> Tensor:
    """Rows of (N, P) in rising order; on the CPU by NumPy, which is ten times as fast."""
    return torch.from_numpy(np.sort(values.numpy(), axis=1)) if values.is_cpu else values.sort(1).values


def ranks(values: Tensor) -> Tensor:
    """Ranks 1..P along the last axis of (N, P), ties given their mean rank."""
    if values.is_cpu:
        return torch.from_numpy(rankdata(values.numpy(), axis=1)).to(values.dtype)
    found = sort(values)
    last = torch.searchsorted(found, values, right=True)
    return (torch.searchsorted(found, values) + last + 1).to(values.dtype) / 2


def _length(x: Tensor) -> Tensor:
    return torch.linalg.vector_norm(x, dim=(1, 2))


def _ssim(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    """Factors 1 - (m - n)^2 / (m^2 + n^2 + c1) for means m, n, and 1 - var(a - b) / (var a + var b + c2)."""
    if min(a.values.shape[1:]) < SSIM_WINDOW:
        return torch.full_like(a.values[:, 0, 0], torch.nan)
    (m, var_a), (n, var_b) = _moments(a.values), _moments(b.values)
    apart = (m - n).square()
    spread = (_box((a.values - b.values).square()) - apart) / (var_a + var_b)
    means = apart / ((m.square() + 0.01**2 / 2) + (n.square() + 0.01**2 / 2))
    return ((1 - means) * (1 - spread)).mean((1, 2))


def _moments(values: Tensor) -> tuple[Tensor, Tensor]:
    """Means over windows, and variances with half of c2, times 48/49."""
    means = _box(values)
    return means, _box(values.square()) - means.square() + 0.03**2 / 2 / UNBIASED


def _box(x: Tensor) -> Tensor:
    """Means over 7x7 windows, without those that cross the border: (N, h - 6, w - 6)."""
    for axis in (1, 2):  # a sum of 7 as 3 + 3 + 1: fewer additions
        n = x.shape[axis] - SSIM_WINDOW + 1
        three = x.narrow(axis, 0, n + 3) + x.narrow(axis, 1, n + 3)
        three += x.narrow(axis, 2, n + 3)
        seven = three.narrow(axis, 0, n) + three.narrow(axis, 3, n)
        seven += x.narrow(axis, 6, n)
        x = seven
    return x.div_(SSIM_WINDOW**2)


def _spearman(a: PreparedMaps, b: PreparedMaps) -> Tensor:
    correlation = (a.ranks * b.ranks).sum((1, 2)) / (_length(a.ranks) * _length(b.ranks))
    return correlation.clamp(-1, 1)  # rounding may go beyond


# Each gives a value for each pair of maps (N,). To add one, enter its function here.
SIMILARITIES: dict[str, Callable[[PreparedMaps, PreparedMaps], Tensor]] = {
    # Root mean squared difference of min-max maps: 0 alike, 1 opposite. Times 255: the grey-level scale.
    "rmse": lambda a, b: _length(a.values - b.values) / a.values[0].numel() ** 0.5,
    # Mean structural similarity (Wang et al. 2004) of min-max maps, uniform window, data range 1, as in
    # scikit-image: -1 to 1, 1 alike; NaN below 7x7.
    "ssim": _ssim,
    # Rank correlation over the positions, ties at their mean rank (Spearman 1904): -1 to 1, 1 alike.
    "spearman": _spearman,
}


def compare(a: Maps, b: Maps, similarities: Sequence[str] = tuple(SIMILARITIES)) -> dict[str, np.ndarray]:
    """Compare raw maps pair by pair, after ReLU and the normalisation of each map that the similarity needs.

    Both are floating point (N, h, w), of one shape; `PreparedMaps` where one side is compared many times.
    Gives ``{similarity: float32 (N,)}``, NaN where either map is degenerate (`medrob.saliency.degenerate`).
    """
    a, b = (maps if isinstance(maps, PreparedMaps) else PreparedMaps(maps) for maps in (a, b))
    if a.positive.shape != b.positive.shape:
        shapes = f"{tuple(a.positive.shape)} and {tuple(b.positive.shape)}"
        raise ValueError(f"maps have shapes {shapes}; give the same")
    values = torch.stack([SIMILARITIES[name](a, b).float() for name in similarities])
    values = values.masked_fill(a.degenerate | b.degenerate, torch.nan)
    return dict(zip(similarities, values.cpu().numpy(), strict=True))


def measure(
    explainer: Explainer, dataset: ImageDataset, conditions: Iterable[Condition], *,
    images: np.ndarray | None = None, target: str = "predicted", seed: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Explain every chosen image clean and under every condition, and compare the maps.

    `images` are indices, None = all; `seed` is that of the predictions, so that the pictures are the same.
    `target` is the class explained, at every severity: "predicted" = that predicted for the clean image;
    "label" = the true one; or a class's name, in every image.

    Returns:
        A row per image, condition (without clean), method and layer: image, label (-1 if multi-label),
        corruption, severity, method, layer, size (shorter side of the map), target (class explained in the
        clean image), preserved (`same_decision`), degenerate (either map), rmse, ssim and spearman (see
        `compare`), logit (of the target) and amount (sum of the raw map after the ReLU); group where the data
        set has them. Where lesion masks are known, also energy, pointing and iou (`localise`), NaN for images
        without a lesion. Of the corrupted image and map; with ``_clean`` of the clean ones.
    """
    return measured(explainer, dataset, conditions, images=images, target=target, seed=seed)[1]


def measured(
    explainer: Explainer, dataset: ImageDataset, conditions: Iterable[Condition], *,
    images: np.ndarray | None = None, target: str = "predicted", seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:  # fmt: skip
    """What the passes of `measure` predict, as `medrob.evaluation.predict_conditions`; and its table."""
    rows = np.arange(len(dataset)) if images is None else np.asarray(images)
    known, task = targets(target, dataset, rows), task_of(explainer.model, dataset.task)
    corruptions = [condition for condition in conditions if condition != CLEAN]
    batches: list[Columns] = []
    p: dict[Condition, list[np.ndarray]] = {condition: [] for condition in (CLEAN, *corruptions)}
    as_p = partial(activate, task=task_of(explainer.model))
    progress = bar(total=len(rows) * (len(corruptions) + 1), desc="explaining", unit="image")
    for batch in explainer.batches(len(rows)):
        index = rows[batch]
        pictures, masks = dataset.images[index], None if dataset.masks is None else dataset.masks[index]
        given = None if known is None else torch.from_numpy(known[batch]).to(explainer.device)
        maps, before = explainer.maps(pictures, index, given)
        classes = before.argmax(1) if given is None else given
        p[CLEAN].append(as_p(before.float()).cpu().numpy())
        clean, columns = _columns(maps, masks)
        progress.update(len(batch))
        moved = []
        for condition in corruptions:
            changed = corrupted(pictures, condition, seed=seed, index=index)
            maps, after = explainer.maps(changed, index, classes)
            p[condition].append(as_p(after.float()).cpu().numpy())
            kept = same_decision(before, after, classes, task).cpu().numpy()[None]
            columns_of = {"preserved": kept, "logit": _logits(after, classes)}
            moved.append(columns_of | _columns(maps, masks, clean)[1])
            progress.update(len(batch))
        columns = {
            "size": columns.pop("size"),
            "target": classes.cpu().numpy()[None],
            "logit_clean": _logits(before, classes),
            **{name: np.stack([parts[name] for parts in moved]) for name in moved[0]},
            **{f"{name}_clean": values for name, values in columns.items()},
        }
        batches.append(columns)
    progress.close()
    labels = dataset.labels if dataset.labels.ndim == 1 else np.full(len(dataset), -1)
    # Each column has or gets the axes conditions x (method, layer) x images; an axis of 1 is repeated.
    table = {
        "image": rows,
        **({} if dataset.groups is None else {"group": dataset.groups[rows]}),
        "label": labels[rows],
        "corruption": np.array([name for name, _ in corruptions], object)[:, None, None],
        "severity": np.array([severity for _, severity in corruptions])[:, None, None],
        "method": np.array([method for method, _ in explainer.pairs], object)[:, None],
        "layer": np.array([layer for _, layer in explainer.pairs], object)[:, None],
        **{name: np.concatenate([columns[name] for columns in batches], -1) for name in batches[0]},
    }
    shape = len(corruptions), len(explainer.pairs), len(rows)
    drift = pd.DataFrame({name: np.broadcast_to(values, shape).ravel() for name, values in table.items()})
    probabilities = {condition: np.concatenate(parts) for condition, parts in p.items()}
    return prediction_table(dataset, rows, probabilities), drift


def _columns(
    maps: dict[Key, Tensor], masks: np.ndarray | None, clean: dict[str, PreparedMaps] | None = None
) -> tuple[dict[str, PreparedMaps], Columns]:
    """The maps of a batch, all of a layer stacked, and what is measured of them and of the clean ones."""
    prepared: dict[str, PreparedMaps] = {}
    columns: Columns = {}
    for layer in dict.fromkeys(layer for _, layer in maps):
        at = [i for i, key in enumerate(maps) if key[1] == layer]
        raw = torch.cat([values for key, values in maps.items() if key[1] == layer])
        prepared[layer] = PreparedMaps(raw)
        if clean is None:
            measured = {"size": np.full(len(raw), min(raw.shape[1:]))}
        else:
            bad = clean[layer].degenerate | prepared[layer].degenerate
            measured = {"degenerate": bad.cpu().numpy()}
            measured |= compare(clean[layer], prepared[layer])
        if masks is not None:
            located = localise(raw, torch.from_numpy(masks).to(raw.device).repeat(len(at), 1, 1))
            measured |= {name: values.cpu().numpy() for name, values in located.items()}
        measured["amount"] = torch.nan_to_num(prepared[layer].positive).sum((1, 2)).cpu().numpy()
        for name, values in measured.items():
            empty = np.empty((len(maps), len(raw) // len(at)), values.dtype)
            columns.setdefault(name, empty)[at] = values.reshape(len(at), -1)
    return prepared, columns


def _logits(logits: Tensor, classes: Tensor) -> np.ndarray:
    """The logit of each image's class, (1, images)."""
    return logits.float().gather(1, classes[:, None]).T.cpu().numpy()


def localise(maps: Tensor, masks: Tensor) -> dict[str, Tensor]:
    """How well raw maps (N, h, w), after the ReLU and enlarged (bilinear), lie on masks, bool (N, H, W).

    ``energy``: share of the map inside the mask (Wang et al. 2020). ``pointing``: is the highest pixel inside
    (Zhang et al. 2018, without their margin), or which share of them? ``iou``: intersection over union of the
    mask and as many of the highest pixels, of which those tied at the last place count in part. Each is
    float32 (N,), 0-1; NaN where the map is degenerate or the mask empty.
    """
    inside = masks.flatten(1)
    area, bad = inside.sum(1), degenerate(maps) | ~inside.any(1)
    size = (masks.shape[1], masks.shape[2])
    values = upsample(torch.nan_to_num(maps.float()).relu(), size).flatten(1)
    # Divided by the maximum first, so that no sum of tiny or huge values leaves the range of float32.
    values = values / values.amax(1, keepdim=True).clamp_min(torch.finfo(values.dtype).tiny)
    top = values >= 1 - TIED
    last = sort(values).gather(1, (values.shape[1] - area.clamp_min(1))[:, None])
    above, tied = values > last, values == last
    part = (area - above.sum(1)) / tied.sum(1)
    shared = (above & inside).sum(1) + part * (tied & inside).sum(1)
    measured = {
        "energy": (values * inside).sum(1) / values.sum(1),
        "pointing": (top & inside).sum(1) / top.sum(1),
        "iou": shared / (2 * area - shared),
    }
    return {name: torch.where(bad, torch.nan, value) for name, value in measured.items()}
