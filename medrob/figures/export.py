"""The thesis folder: every figure as PDF and PNG, every table as CSV and LaTeX, the same bytes every time."""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.figure import Figure

from medrob.runs import atomic

# No dates and no versions in the files: the same figure gives the same bytes.
METADATA = {
    "pdf": {"CreationDate": None, "ModDate": None, "Producer": None, "Creator": None},
    "png": {"Software": None},
}


LONG = 40  # rows; longer tables run over pages
PLACE = {"position": "htbp", "position_float": "centering"}


class Bundle:
    """Writes into the figures folder of a run.

    Args:
        folder: usually ``Run(...).figures``; made when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)

    def figure(self, figure: Figure, name: str) -> None:
        """Write ``<name>.pdf`` and ``<name>.png`` (300 dots per inch), then show the figure in the notebook.

        Raises:
            OSError: the folder cannot be written.
        """
        for kind, metadata in METADATA.items():
            with atomic(self.folder / f"{name}.{kind}") as file:
                figure.savefig(file, format=kind, metadata=metadata)
        plt.show()
        plt.close(figure)

    def table(self, frame: pd.DataFrame, name: str, caption: str = "", *, digits: int = 3) -> pd.DataFrame:
        """Write ``<name>.csv`` (all digits) and ``<name>.tex`` (booktabs, rounded); gives the frame back.

        The LaTeX needs ``\\usepackage{booktabs}``, and ``longtable`` for tables of more than 40 rows,
        which run over pages; names are escaped.
        """
        with atomic(self.folder / f"{name}.csv") as file:
            frame.to_csv(file, index=False)
        styler = frame.style.hide(axis="index").format(precision=digits, escape="latex", na_rep="--")
        styler = styler.format_index(escape="latex", axis=1)
        place = {"environment": "longtable"} if len(frame) > LONG else PLACE
        label = f"tab:{self.folder.name}:{name}"
        latex = styler.to_latex(hrules=True, caption=caption or None, label=label, **place)
        with atomic(self.folder / f"{name}.tex") as file:
            file.write_text(latex)
        return frame
