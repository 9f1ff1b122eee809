"""Robustness of medical image classifiers: corruptions, scores, saliency drift, thesis figures."""

from typing import Any

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`medrob.explore`, imported when it is used: PyTorch takes seconds."""
    if name == "explore":
        from medrob.explorer import explore

        return explore
    raise AttributeError(f"module 'medrob' has no attribute {name!r}")
