"""The study: which runs exist, with which parameters, and what each of their results depends on."""

from medrob.study.command_line import check_split, numbers
from medrob.study.dependencies import fingerprint
from medrob.study.inputs import content
from medrob.study.keys import key, own_key
from medrob.study.load import SET_BY_STUDY, Study, load
from medrob.study.notebooks import code_cells, parameters, write_share

__all__ = [
    "SET_BY_STUDY",
    "Study",
    "check_split",
    "code_cells",
    "content",
    "fingerprint",
    "key",
    "load",
    "numbers",
    "own_key",
    "parameters",
    "write_share",
]
