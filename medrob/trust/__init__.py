"""Can these maps be trusted? Questions to a method, with one table of answers (`COLUMNS`).

`randomisation`: do they change when the network does? `faithfulness`: does the network need what they mark?
`localise`, `localisation`: do they lie on the lesion? `scale`: how large could a drift be at all?
`worst_case`: how far does a change too small to see move them? `between`: do methods say the same?
"""

from medrob.trust.attack import ATTACKABLE, Worst, attack, max_sensitivity, worst_case
from medrob.trust.between import between
from medrob.trust.faithfulness import Faithfulness, faithfulness
from medrob.trust.localisation import LOCALISATION, localisation, localise
from medrob.trust.randomisation import cascade, randomisation
from medrob.trust.scale import normalised, scale
from medrob.trust.table import COLUMNS

__all__ = [
    "ATTACKABLE",
    "COLUMNS",
    "LOCALISATION",
    "Faithfulness",
    "Worst",
    "attack",
    "between",
    "cascade",
    "faithfulness",
    "localisation",
    "localise",
    "max_sensitivity",
    "normalised",
    "randomisation",
    "scale",
    "worst_case",
]
