"""From scores and drift to the answer: does the map move where the network fails?"""

from medrob.analysis.answer import answers, declared, say_answer, summary
from medrob.analysis.associations import association, say_association
from medrob.analysis.best import beside, best_warning, say_beside, say_best
from medrob.analysis.failures import failure, roc, say_failure
from medrob.analysis.images import margin_drop, moved_and_fell, per_image, say_per_image
from medrob.analysis.maps import (
    distinct,
    headline,
    mean_drift,
    say_drift,
    say_headline,
    say_twins,
    strata,
    twins,
)
from medrob.analysis.question import answers_of_runs, ask, say_answers
from medrob.analysis.runs import compare_runs, repetitions, say_runs
from medrob.analysis.sensitivity import say_sensitivity, sensitivity
from medrob.analysis.stability import agreement, kendall_w, ranks, say_ranks
from medrob.analysis.testing import adjust, all_tests, family, holm
from medrob.analysis.trust import (
    failed,
    faithfulness_table,
    say_faithfulness,
    say_localisation,
    say_randomisation,
    say_worst,
    verdicts,
)
from medrob.analysis.worth import added, risk, say_added, say_risk

__all__ = [
    "added",
    "adjust",
    "agreement",
    "all_tests",
    "answers",
    "answers_of_runs",
    "ask",
    "association",
    "beside",
    "best_warning",
    "compare_runs",
    "declared",
    "distinct",
    "failed",
    "failure",
    "faithfulness_table",
    "family",
    "headline",
    "holm",
    "kendall_w",
    "margin_drop",
    "mean_drift",
    "moved_and_fell",
    "per_image",
    "ranks",
    "repetitions",
    "risk",
    "roc",
    "say_added",
    "say_answer",
    "say_answers",
    "say_association",
    "say_beside",
    "say_best",
    "say_drift",
    "say_failure",
    "say_faithfulness",
    "say_headline",
    "say_localisation",
    "say_per_image",
    "say_randomisation",
    "say_ranks",
    "say_risk",
    "say_runs",
    "say_sensitivity",
    "say_twins",
    "say_worst",
    "sensitivity",
    "strata",
    "summary",
    "twins",
    "verdicts",
]
