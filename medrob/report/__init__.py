"""What is there: the runs at a glance, whether their files are those that were made, and a report as HTML."""

from medrob.report.preview import FIELDS, check
from medrob.report.runs import overview, verify, write
