"""Can these maps be trusted? Each question gives rows of one table, with the columns `COLUMNS`.

`randomisation`: do they change when the network does? `faithfulness`: does the network need what they mark?
`localisation`: do they lie on the lesion? `scale`: how large can a drift be at all? Most take an `Explainer`,
the images, as a data set, the classes explained (None = those predicted) and the seed of every draw.
`controls` and `unsteady`, tables of their own: what do networks say that have learnt nothing?
"""

from medrob.trust.faithfulness import faithfulness
from medrob.trust.localisation import localisation
from medrob.trust.means import COLUMNS
from medrob.trust.randomisation import cascade, controls, normalised, randomisation, scale, unsteady
