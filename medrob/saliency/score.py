"""Score-CAM: channels weighed by what the network says when it sees the picture through them.

A job is one image with one channel: jobs of all images run together, in chunks. No gradient is used.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from medrob.models import forward, map_output
from medrob.saliency.gradient import Batch, Layers, Maps

SCORE = "scorecam"
FLAT = 1e-6  # a map whose spread is below this share of its size is flat up to rounding: its mask is black


@torch.no_grad()
def score_cam(batch: Batch, layers: Layers) -> Maps:
    """Raw maps at all layers (Wang et al. 2020).

    The masks multiply the grey levels 0-255, so that what is masked is black, whatever the network does to
    its input. Scores are logits; the softmax runs over the channels looked at (`Settings.channels`), others
    weigh 0.
    """
    found: Maps = {}
    outputs, _ = forward(batch.model, batch.x.clone(), layers)
    for layer, module in layers.items():
        A = map_output(layer, outputs[layer], module)
        order = torch.linalg.vector_norm(A, dim=(2, 3)).sort(dim=1, descending=True, stable=True).indices
        kept = order[:, : batch.settings.channels or None]
        weights = torch.zeros_like(A[:, :, 0, 0]).scatter(1, kept, _scores(batch, A, kept).softmax(1))
        found[SCORE, layer] = torch.einsum("nk,nkhw->nhw", weights, A)
    return found


def _scores(batch: Batch, A: Tensor, kept: Tensor) -> Tensor:
    """The logit of each image's class when it is seen through each of the channels `kept`: (N, C)."""
    images = torch.arange(len(kept), device=kept.device).repeat_interleave(kept.shape[1])
    jobs = torch.stack([images, kept.flatten()])
    scores = []
    for image, channel in jobs.split(batch.settings.chunk, dim=1):
        x, maps = batch.x[image], A[image, channel, None]
        H = F.interpolate(maps, size=x.shape[2:], mode="bilinear", align_corners=False)
        low, high = H.amin((2, 3), keepdim=True), H.amax((2, 3), keepdim=True)
        flat = high - low <= FLAT * torch.maximum(high.abs(), low.abs())
        H = torch.where(flat, 0, (H - low) / (high - low))
        scores.append(batch.model(x * H).gather(1, batch.targets[image, None])[:, 0])
    return torch.cat(scores).view_as(kept)
