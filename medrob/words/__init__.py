"""Every sentence that is written from numbers, as Markdown text.

A function takes the table that the function of the same name makes; of several maps, also which one is meant.
"""
# ruff: noqa: I001  several names a line

from medrob.words.drift_and_loss import added, alarms, answer, answers, association, beside
from medrob.words.drift_and_loss import controls, failure, per_image, runs
from medrob.words.maps import chosen, drift, explained, explored, faithfulness, identity
from medrob.words.maps import localisation, moved_most, normalised, randomisation, scale, twins
from medrob.words.phrases import WORDS, Failed, counted, grouped, p_value, say, word
from medrob.words.performance import accuracy, calibration, data_sets, distances, errors
from medrob.words.performance import done, example, kept, limits, network, operating_point, predictions
from medrob.words.performance import probabilities, reliability, right, scores, speed, suite, training
