"""What a network decides about an image, and whether two pictures of it are decided alike."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


def task_of(model: nn.Module, default: str = "multiclass") -> str:
    """The task in the network's own `config`, if it has one that says so; else the default."""
    config = getattr(getattr(model, "_orig_mod", model), "config", None)
    return str(config.get("task", default)) if isinstance(config, Mapping) else default


def same_decision(clean: Tensor, moved: Tensor, targets: Tensor, task: str) -> Tensor:
    """Whether the decision about the clean image still holds: bool (N,).

    The class predicted; of a multi-label network, whether the label explained is there (logit above 0).

    Args:
        clean, moved: logits (N, classes). targets: int64 (N,), the class explained.
        task: "multilabel", or any other.
    """
    if task != "multilabel":
        return clean.argmax(1) == moved.argmax(1)
    before, after = (logits.gather(1, targets[:, None])[:, 0] > 0 for logits in (clean, moved))
    return before == after
