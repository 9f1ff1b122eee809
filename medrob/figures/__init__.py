"""One function per figure: tidy tables or images in, a Figure out; nothing is read, saved or computed.

Where a function takes `failed`: the (method, layer) pairs that fail randomisation (`medrob.analysis.failed`);
these methods are marked with a dagger. A new figure is named in `__all__` of its own module.
"""

from medrob.figures import of_analysis, of_heatmaps, of_scores
from medrob.figures.draw import TEXTWIDTH, short, use_style
from medrob.figures.of_analysis import *  # noqa: F403
from medrob.figures.of_heatmaps import *  # noqa: F403
from medrob.figures.of_scores import *  # noqa: F403
from medrob.words import WORDS, Failed, word

__all__ = ["TEXTWIDTH", "WORDS", "Failed", "short", "use_style", "word"]
__all__ += of_analysis.__all__ + of_heatmaps.__all__ + of_scores.__all__
