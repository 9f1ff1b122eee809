"""How alike two saliency maps are."""

from medrob.similarity.compare import compare
from medrob.similarity.metrics import DIRECTION, HEADLINE, METRICS, apart, check_metrics, rmse
from medrob.similarity.prepared import SSIM_WINDOW, Maps

__all__ = [
    "DIRECTION",
    "HEADLINE",
    "METRICS",
    "SSIM_WINDOW",
    "Maps",
    "apart",
    "check_metrics",
    "compare",
    "rmse",
]
