"""From scores and drift to the answer: does the map move where the network fails?

`Evidence` holds the tables of a run as arrays; every question is a function of it that gives a table.
"""

# isort: off
# fmt: off
from medrob.analysis.alarm import CONTROL, MAP_SIGNAL, TOGETHER, alarms
from medrob.analysis.evidence import CLEAN_CLASS, DOUBT, DRIFT, SIGNALS, WITH, WITHOUT, Evidence
from medrob.analysis.layout import CONDITION, FOLDS, MAP, distinct, ends, headline, rows_of, twins
from medrob.analysis.links import (
    PARTIAL, PER_IMAGE, PER_IMAGE_PARTIAL, POOLED, WITHIN, association, moved_and_fell, per_image,
)
from medrob.analysis.means import (
    FAITHFULNESS, FEWEST, THRESHOLD, drift_by_class, drop_and_drift, failed, faithfulness_table,
    mean_drift, strata, verdicts,
)
from medrob.analysis.questions import (
    QUESTIONS, Question, answers, answers_of_runs, controls, declared_kinds, summary, tests,
)
from medrob.analysis.runs import OVERALL, compare_runs, repetitions
from medrob.analysis.statistics import (
    LEVEL, OPEN, OPPOSITE, ORDERS, UNDEFINED, YES, bounds, corrected_p, verdict,
)
from medrob.analysis.warning import AHEAD, BEYOND, added, failure
