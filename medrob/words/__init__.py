"""Every sentence that is written from numbers, as Markdown text.

A function takes the table that the function of the same name makes; of several maps, also which one is meant.
"""
# ruff: noqa: I001  several names a line

from medrob.words.drift_and_loss import added, alarms, answer, answers, association, beside, failure
from medrob.words.drift_and_loss import controls, per_image, runs, strata
from medrob.words.maps import chosen, drift, explained, explored, faithfulness, headline, identity
from medrob.words.maps import localisation, normalised, randomisation, twins
from medrob.words.phrases import WORDS, Failed, counted, grouped, p_value, say, word
from medrob.words.performance import calibration, data_sets, distances, errors, kept, network, suite
from medrob.words.performance import done, limits, operating_point, predictions, scores, speed, training
