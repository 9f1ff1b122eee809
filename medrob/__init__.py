"""Robustness of medical image classifiers: corruptions, scores, saliency drift, thesis figures."""

import lazy_loader

__version__ = "0.1.0"
# Imported when it is used: PyTorch takes seconds.
__getattr__, _, _ = lazy_loader.attach(__name__, submod_attrs={"explorer": ["explore"]})
