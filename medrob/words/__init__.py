"""Every sentence that is written from numbers, as Markdown text.

A function takes the table that the function of the same name makes (`medrob.analysis`, `medrob.trust`,
`medrob.evaluation`), and, where the table holds several maps, the method, layer and severity of one.
"""

from medrob.words.alarms import added, beside, best, risk
from medrob.words.data_and_training import data_sets, distances, network, speed, training
from medrob.words.declared_tests import answer, association, failure, per_image, sensitivity
from medrob.words.map_checks import faithfulness, localisation, randomisation, worst_case
from medrob.words.moved_maps import chosen, drift, explained, headline, normalised, twins
from medrob.words.performance import calibration, error_title, errors, predictions, scores, temperature
from medrob.words.phrases import p_value
from medrob.words.side_by_side import answers, ranks, runs

__all__ = [
    "added", "answer", "answers", "association", "beside", "best", "calibration", "chosen", "data_sets",
    "distances", "drift", "error_title", "errors", "explained", "failure", "faithfulness", "headline",
    "localisation", "network", "normalised", "p_value", "per_image", "predictions", "randomisation", "ranks",
    "risk", "runs", "scores", "sensitivity", "speed", "temperature", "training", "twins", "worst_case",
]  # fmt: skip
