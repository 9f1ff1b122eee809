"""Can these maps be trusted? Four questions to a method, with one table of answers (`COLUMNS`).

`randomisation`: do they change when the network does? `faithfulness`: does the network need what they mark?
`localise`, `locate`, `localisation`: do they lie on the lesion? `scale`: how large could a drift be at all?
"""

from medrob.trust.faithfulness import Faithfulness, faithfulness
from medrob.trust.localisation import LOCALISATION, localisation, localise, locate
from medrob.trust.randomisation import cascade, randomisation
from medrob.trust.scale import normalised, scale
from medrob.trust.table import COLUMNS

__all__ = [
    "COLUMNS",
    "LOCALISATION",
    "Faithfulness",
    "cascade",
    "faithfulness",
    "localisation",
    "localise",
    "locate",
    "normalised",
    "randomisation",
    "scale",
]
