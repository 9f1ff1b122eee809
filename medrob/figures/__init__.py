"""One function per figure: tidy tables or images in, a Figure out; nothing is read, saved or computed.

Where a function takes `failed`: the (method, layer) pairs that fail randomisation (`medrob.analysis.failed`);
these methods are marked with a dagger. A new figure is named in `__all__` of its own module.
"""

from medrob.figures import of_analysis, of_augment, of_heatmaps, of_runs, of_summary, of_test, of_train
from medrob.figures.of_analysis import *  # noqa: F403
from medrob.figures.of_augment import *  # noqa: F403
from medrob.figures.of_heatmaps import *  # noqa: F403
from medrob.figures.of_runs import *  # noqa: F403
from medrob.figures.of_summary import *  # noqa: F403
from medrob.figures.of_test import *  # noqa: F403
from medrob.figures.of_train import *  # noqa: F403
from medrob.figures.panels import facts_of
from medrob.figures.style import FIRST, TEXTWIDTH, WORDS, use_style, word

__all__ = ["FIRST", "TEXTWIDTH", "WORDS", "facts_of", "use_style", "word"]
__all__ += of_analysis.__all__ + of_augment.__all__ + of_heatmaps.__all__ + of_runs.__all__
__all__ += of_summary.__all__ + of_test.__all__ + of_train.__all__
