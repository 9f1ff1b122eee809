"""What is there: the runs at a glance, whether their files are those that were made, and a report as HTML."""

from medrob.report.overview import as_text, overview
from medrob.report.pages import write
from medrob.report.verify import verify

__all__ = ["as_text", "overview", "verify", "write"]
