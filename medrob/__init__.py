"""Robustness of medical image classifiers: corruptions, scores, saliency drift, thesis figures.

Heavy libraries are imported by the modules that need them, on first use:
``import medrob; medrob.data.load("phantom")`` just works.
"""

from importlib import import_module
from types import ModuleType

__version__ = "0.1.0"
__all__ = [
    "analysis",
    "augment",
    "corruptions",
    "data",
    "drift",
    "evaluation",
    "figures",
    "models",
    "run",
    "saliency",
    "study",
    "thesis",
    "training",
]


def __getattr__(name: str) -> ModuleType:
    """Import a module of the package when it is first named."""
    if name in __all__:
        return import_module(f"medrob.{name}")
    raise AttributeError(f"module 'medrob' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
