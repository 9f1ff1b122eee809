"""From scores and drift to the answer: does the map move where the network fails?"""

from medrob.analysis.answer import compare_runs, say_association, say_failure, summary
from medrob.analysis.associations import association
from medrob.analysis.evidence import distinct, say_twins, twins
from medrob.analysis.failures import failure
from medrob.analysis.means import headline, mean_drift, strata

__all__ = [
    "association",
    "compare_runs",
    "distinct",
    "failure",
    "headline",
    "mean_drift",
    "say_association",
    "say_failure",
    "say_twins",
    "strata",
    "summary",
    "twins",
]
