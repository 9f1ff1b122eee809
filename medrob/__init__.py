"""Robustness of medical image classifiers: corruptions, scores, saliency drift, thesis figures."""

__version__ = "0.1.0"
