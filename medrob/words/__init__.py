"""Every sentence that is written from numbers: functions of result tables that give Markdown text."""

from medrob.words.alarms import added, beside, best, failure, risk
from medrob.words.answered import answer, answers, sensitivity
from medrob.words.links import association, per_image
from medrob.words.map_checks import faithfulness, localisation, randomisation, worst_case
from medrob.words.moved_maps import drift, headline, twins
from medrob.words.performance import calibration, error_title, errors, scores
from medrob.words.side_by_side import ranks, runs

__all__ = [
    "added",
    "answer",
    "answers",
    "association",
    "beside",
    "best",
    "calibration",
    "drift",
    "error_title",
    "errors",
    "failure",
    "faithfulness",
    "headline",
    "localisation",
    "per_image",
    "randomisation",
    "ranks",
    "risk",
    "runs",
    "scores",
    "sensitivity",
    "twins",
    "worst_case",
]
