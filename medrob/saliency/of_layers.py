"""Maps of a layer: its activations A, weighed by the gradient g of the explained logit, or by scores.

Shapes: A and g are (N, K, h, w), maps (N, h, w). A map is raw: before the ReLU, not normalised. Of a module
that runs several times in a forward pass, the last output is explained.
"""

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from medrob.models import as_input, forward, map_output, to_maps

Layers = Mapping[str, nn.Module]  # by their names
Maps = dict[tuple[str, str], Tensor]  # {(method, layer): raw maps (N, h, w)}


@dataclass(frozen=True)
class Settings:
    """Choices of the methods that have any; the defaults are those of the papers, or stated."""

    seed: int = 0  # of the noise
    samples: int = 10  # noisy copies; steps to the whole (iscam; integrated-gradients takes at least 50)
    noise: float = 0.15  # standard deviation, in shares of the range: of grey levels, or of masks (sscam)
    # How many channels of a layer the score CAMs look at, those of most energy in each image; 0 = all, which
    # is what the papers do.
    channels: int = 0
    chunk: int = 64  # most images in one pass of the methods that need many; no result depends on it


@dataclass(frozen=True)
class Noise:
    """Random numbers keyed by (seed, image index): the same in any batch, for clean and corrupted copies."""

    seed: int
    index: Sequence[int] | np.ndarray  # (N,), the place of each image of the batch in its data set

    def normal(self, shape: Sequence[int], device: torch.device, stream: int = 0) -> Tensor:
        """Standard normal float32 (N, *shape); another stream gives independent numbers."""
        draws = [np.random.default_rng([self.seed, int(i), stream]) for i in self.index]
        return torch.from_numpy(np.stack([d.standard_normal(shape, np.float32) for d in draws])).to(device)


@dataclass(frozen=True)
class Batch:
    """A network in eval mode, its input (N, C, H, W), and the class explained in each image."""

    model: nn.Module
    x: Tensor  # grey levels 0-255, left as they are
    targets: Tensor  # int64 (N,)
    settings: Settings
    noise: Noise

    def fields(self, channels: int) -> Iterator[Tensor]:
        """Standard normal (N, channels, H, W) for each of the samples."""
        for i in range(self.settings.samples):
            yield self.noise.normal((channels, *self.x.shape[2:]), self.x.device, i)


Formula = Callable[[Tensor, Tensor], Tensor]


def gradcam(A: Tensor, g: Tensor) -> Tensor:
    """w_k = mean of g_k over the positions (Selvaraju et al. 2017)."""
    return g.mean((2, 3))


def gradcam_plus_plus(A: Tensor, g: Tensor) -> Tensor:
    """w_k = sum of ReLU(g_k) / (2 + S_k ReLU(g_k)), S_k = sum of A_k (Chattopadhay et al. 2018, eq. 19).

    Numerator and denominator of its alpha share g^2, which cancels: no epsilon is needed for A >= 0.
    """
    r = g.relu()
    return (r / (2 + A.sum((2, 3), keepdim=True) * r)).sum((2, 3))


def xgradcam(A: Tensor, g: Tensor) -> Tensor:
    """w_k = sum of g_k A_k / S_k, 0 where S_k = 0 (Fu et al. 2020)."""
    total = A.sum((2, 3))
    return torch.where(total == 0, 0, (g * A).sum((2, 3)) / torch.where(total == 0, 1, total))


def hirescam(A: Tensor, g: Tensor) -> Tensor:
    """Sum over k of g_k A_k, position by position (Draelos & Carin 2020)."""
    return torch.einsum("nkhw,nkhw->nhw", g, A)


def layercam(A: Tensor, g: Tensor) -> Tensor:
    """Sum over k of ReLU(g_k) A_k, position by position (Jiang et al. 2021)."""
    return torch.einsum("nkhw,nkhw->nhw", g.relu(), A)


def eigencam(A: Tensor, g: Tensor) -> Tensor:
    """Projection on the first right singular vector of A as positions x channels (Muhammad & Yeasin 2020).

    A is not centred, as in the paper; the class plays no part. Of the two signs, the one is taken whose map
    has a sum that is not negative: where A >= 0 it has no negative value (Perron and Frobenius).
    """
    flat = A.flatten(2)  # (N, K, P); the vector comes from the smaller of the two Gram matrices
    if flat.shape[1] <= flat.shape[2]:
        v = torch.linalg.eigh(flat @ flat.mT).eigenvectors[..., -1]  # (N, K)
        projected = torch.einsum("nk,nkp->np", v, flat)
    else:
        values, vectors = torch.linalg.eigh(flat.mT @ flat)
        projected = values[:, -1:].clamp_min(0).sqrt() * vectors[..., -1]  # sigma u = A v, (N, P)
    sign = torch.where(projected.sum(1, keepdim=True) < 0, -1, 1)
    return (sign * projected).view(A.shape[0], *A.shape[2:])


# Methods of the form sum_k w_k A_k are given as weights (N, K); they share one matrix product.
WEIGHTS: dict[str, Formula] = {"gradcam": gradcam, "gradcam++": gradcam_plus_plus, "xgradcam": xgradcam}
# The others weight each position for itself, and give the map (N, h, w).
MAPS: dict[str, Formula] = {"hirescam": hirescam, "layercam": layercam, "eigencam": eigencam}
ONE_PASS = (*WEIGHTS, *MAPS)
SMOOTH = "smoothgradcam++"
# Their derivations take A >= 0: where S_k is not above 0, the weights have poles.
NON_NEGATIVE = ("gradcam++", "xgradcam", SMOOTH)


def formulas(A: Tensor, g: Tensor, methods: Sequence[str]) -> dict[str, Tensor]:
    """The raw maps of one layer."""
    weighted = [method for method in methods if method in WEIGHTS]
    found = {method: MAPS[method](A, g) for method in methods if method in MAPS}
    if weighted:
        w = torch.stack([WEIGHTS[method](A, g) for method in weighted], 1)  # (N, methods, K)
        found.update(zip(weighted, torch.einsum("nmk,nkhw->mnhw", w, A), strict=True))
    return found


def cams(
    model: nn.Module, x: Tensor, methods: Sequence[str], layers: Layers, targets: Tensor | None = None
) -> tuple[Maps, Tensor]:
    """Methods of `ONE_PASS` at every layer, and the logits (N, classes); see `differentiate`."""
    pairs, logits = differentiate(model, x, layers, targets)
    warn_signed(methods, {layer: A for layer, (A, _) in pairs.items()})
    found = {}
    for layer, (A, g) in pairs.items():
        found.update({(method, layer): maps for method, maps in formulas(A, g, methods).items()})
    return found, logits


def differentiate(
    model: nn.Module, x: Tensor, layers: Layers, targets: Tensor | None
) -> tuple[dict[str, tuple[Tensor, Tensor]], Tensor]:
    """A and g of every layer, and the logits, from one forward and one backward pass."""
    with torch.enable_grad(), needing_gradients(model):
        # The input requires a gradient, so that networks with frozen parameters can be explained.
        # It is copied, so that a network whose first step is in place can change it.
        outputs, logits = forward(model, as_input(model, x).detach().clone().requires_grad_().clone(), layers)
        chosen = classes(targets, logits)[:, None]
        activations = {layer: map_output(layer, outputs[layer], layers[layer]) for layer in layers}
        # Images do not interact in eval mode: the gradient of the sum holds each image's own.
        explained = logits.gather(1, chosen).sum()
        sources = [outputs[layer] for layer in layers]
        sources = [o if o.requires_grad else o.detach().requires_grad_() for o in sources]
        found = torch.autograd.grad(explained, sources, allow_unused=True) if layers else ()
    gradients = dict(zip(layers, found, strict=True))
    if unused := [layer for layer, g in gradients.items() if g is None]:
        raise ValueError(
            f"layers={unused!r}: the logits do not depend on them, or by a step that stops the gradient "
            "(detach, no_grad); leave them out, or take methods without gradients, such as scorecam"
        )
    maps = {layer: (activations[layer].detach(), to_maps(layers[layer], g)) for layer, g in gradients.items()}
    return maps, logits.detach()


@contextmanager
def needing_gradients(model: nn.Module) -> Iterator[None]:
    """Say in one sentence what PyTorch says in several ways where a network stops the gradient."""
    try:
        yield
    except RuntimeError as error:
        if not re.search("inference tensor|require grad|not have been used in the graph", str(error), re.I):
            raise
        raise ValueError(
            f"{type(model).__name__} has a step that stops the gradient (inference_mode, no_grad, detach, "
            "argmax, NumPy) before its logits, and these maps are made of gradients; take that step out, or "
            "take other methods; score CAMs and occlusion need none"
        ) from None


def classes(targets: Tensor | None, logits: Tensor) -> Tensor:
    """The targets, if all are classes of the network; None = the predicted ones."""
    if targets is None:
        return logits.argmax(1)
    targets, n = targets.to(logits.device), logits.shape[1]
    if len(wrong := targets[(targets < 0) | (targets >= n)]):
        raise ValueError(f"targets hold {wrong.unique().tolist()}; the network's classes are 0 to {n - 1}")
    return targets


def warn_signed(methods: Sequence[str], activations: Mapping[str, Tensor]) -> None:
    """Warn once where activations of a layer are negative that a method takes to be >= 0."""
    asked = [method for method in methods if method in NON_NEGATIVE]
    if signed := [layer for layer, A in activations.items() if asked and bool((A < 0).any())]:
        warnings.warn(
            f"{', '.join(asked)} at {', '.join(signed)}: activations are negative in places, but these are "
            "derived for those >= 0, and their weights may have poles; trust gradcam or hirescam more there",
            stacklevel=2,
        )


def smooth_gradcam_plus_plus(batch: Batch, layers: Layers) -> Maps:
    """Smooth Grad-CAM++ (Omeiza et al. 2019) at all layers; without noise the map is that of Grad-CAM++.

    The gradients are those of noisy images, which are not clipped, the activations those of the images.
    """
    with torch.no_grad():
        outputs, _ = forward(batch.model, batch.x.clone(), layers)
    activations = {layer: map_output(layer, outputs[layer], layers[layer]) for layer in layers}
    warn_signed([SMOOTH], activations)
    moments = {layer: A.new_zeros(3, *A.shape) for layer, A in activations.items()}
    for field in batch.fields(batch.x.shape[1]):
        noisy = batch.x + 255 * batch.settings.noise * field
        pairs, _ = differentiate(batch.model, noisy, layers, batch.targets)
        for layer, (_, g) in pairs.items():
            moments[layer] += torch.stack([g, g**2, g**3]) / batch.settings.samples
    return {
        (SMOOTH, layer): torch.einsum("nk,nkhw->nhw", smooth_weights(A, *moments[layer]), A)
        for layer, A in activations.items()
    }


def smooth_weights(A: Tensor, D1: Tensor, D2: Tensor, D3: Tensor) -> Tensor:
    """w_k = sum of alpha ReLU(D1), alpha = D2 / (2 D2 + S_k D3), S_k = sum of A_k; (N, K).

    D1 to D3 are means over the copies of g, g^2, g^3. alpha is 0 where its denominator is.
    """
    denominator = 2 * D2 + A.sum((2, 3), keepdim=True) * D3
    alpha = torch.where(denominator == 0, 0, D2 / torch.where(denominator == 0, 1, denominator))
    return (alpha * D1.relu()).sum((2, 3))


FLAT = 1e-6  # a map whose spread is below this share of its size is flat up to rounding: its mask is black


# Score CAMs weigh channels by what the network says when it sees the picture through them, without gradient.
# What the network is shown for a mask H (M, 1, H, W), 0-1; fields are standard normal (samples, M, 1, H, W).
# The score of a channel is the mean over them. To add a method, enter its function here.
Masks = Callable[[Tensor, Tensor, Settings], Iterable[Tensor]]
MASKS: dict[str, Masks] = {
    # The mask as it is (Wang et al. 2020, Score-CAM).
    "scorecam": lambda H, fields, settings: [H],
    # Noisy copies of the mask, not clipped (Wang et al. 2020, SS-CAM, noise on the maps).
    "sscam": lambda H, fields, settings: (H + settings.noise * field for field in fields),
    # The mask at i/N of its strength, i = 1 to N (Naidu et al. 2020, IS-CAM).
    "iscam": lambda H, fields, settings: (H * ((i + 1) / settings.samples) for i in range(settings.samples)),
}


def score_cams(batch: Batch, methods: Sequence[str], layers: Layers) -> Maps:
    """Raw maps by methods of `MASKS`, at all layers.

    The masks multiply the grey levels 0-255, so that what is masked is black, whatever the network does to
    its input. One noise field for each image and sample serves all channels, layers and copies of the image.
    Scores are logits; the softmax runs over the channels looked at (`Settings.channels`), others weigh 0.
    """
    found: Maps = {}
    with torch.no_grad():
        outputs, _ = forward(batch.model, batch.x.clone(), layers)
        fields = torch.stack([*batch.fields(1)])
        for layer, module in layers.items():
            A = map_output(layer, outputs[layer], module)
            order = torch.linalg.vector_norm(A, dim=(2, 3)).sort(dim=1, descending=True, stable=True).indices
            kept = order[:, : batch.settings.channels or None]
            for method in methods:
                scores = _scores(batch, A, kept, fields, MASKS[method])
                weights = torch.zeros_like(A[:, :, 0, 0]).scatter(1, kept, scores.softmax(1))
                found[method, layer] = torch.einsum("nk,nkhw->nhw", weights, A)
    return found


def _scores(batch: Batch, A: Tensor, kept: Tensor, fields: Tensor, shown: Masks) -> Tensor:
    """The logit of each image's class when it is seen through each of the channels `kept`: (N, C).

    A job is one image with one channel: jobs of all images run together, in chunks.
    """
    images = torch.arange(len(kept), device=kept.device).repeat_interleave(kept.shape[1])
    jobs = torch.stack([images, kept.flatten()])
    scores = []
    for image, channel in jobs.split(batch.settings.chunk, dim=1):
        x, maps = batch.x[image], A[image, channel, None]
        H = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)
        low, high = H.amin((2, 3), keepdim=True), H.amax((2, 3), keepdim=True)
        flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
        H = torch.where(flat, 0, (H - low) / (high - low))
        logits = [batch.model(x * M) for M in shown(H, fields[:, image], batch.settings)]
        scores.append(torch.stack(logits).mean(0).gather(1, batch.targets[image, None])[:, 0])
    return torch.cat(scores).view_as(kept)
