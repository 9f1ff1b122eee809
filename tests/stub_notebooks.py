"""Five notebooks that compute nothing much, in seconds: what a study does with them is what is tested."""

from pathlib import Path

import nbformat

from medrob.runs import STAGES

PARAMETERS = {
    "01_augment": 'run = "demo"  # name\ndataset = "phantom"  # data\nsize = 28  # pixels',
    "02_train": 'run = "demo"  # name\nepochs = 1  # passes\nfail = False  # stop\nwait = 0.0  # s',
    "03_test": 'run = "demo"  # name\nresamples = 10  # of the bootstrap\nreference = "alexnet"  # measure',
    "04_heatmaps": 'run = "demo"  # name\nimages = 3  # of each class',
    "05_analysis": 'runs = ["demo"]  # compared\nresults = ""  # where to',
}
# The tables hold what was given and what was read, so that they differ if anything before them did.
WORK = """
for file in STAGES[stage]:
    if file.endswith(".parquet"):
        study.save_table(file.removesuffix(".parquet"), pd.DataFrame({"given": [given], "read": [read]}))
    else:
        study.path(file).write_text(given + read)
study.finish()
"""


def write(folder: Path) -> Path:
    """Write the notebooks; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for stage, cell in PARAMETERS.items():
        names = [line.split(" = ")[0] for line in cell.splitlines()]
        given = ", ".join(f"{name}={name}" for name in names)
        first = "runs[0]" if "runs" in names else "run"
        told = "repr((epochs,))" if stage == "02_train" else f"repr(({', '.join(names[1:])},))"
        earlier = [f for one in list(STAGES)[: list(STAGES).index(stage)] for f in STAGES[one]]
        read = "; ".join([f"read = checksum_of({earlier!r})"])
        start = [f'stage = "{stage}"', f"study = Run({first}).start(stage, {given})", f"given = {told}"]
        start += ["checksum_of = lambda files: checksums(study, files)", read]
        extra = (
            ["import time", "time.sleep(wait)", "assert not fail, 'asked to'"] if stage == "02_train" else []
        )
        if stage == "03_test":
            extra = ["assert reference == 'alexnet' or len(Run(reference).table('predictions'))"]
        cells = [
            "import pandas as pd\nfrom medrob.runs import STAGES, Run, checksum",
            cell,
            'checksums = lambda study, files: "".join(checksum(study.path(f))[:4] for f in files)',
            "\n".join(start),
            "\n".join([*extra, WORK.strip()]),
        ]
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
        notebook.cells[1].metadata["tags"] = ["parameters"]
        notebook.metadata["kernelspec"] = {
            "name": "python3",
            "display_name": "Python 3",
            "language": "python",
        }
        nbformat.write(notebook, folder / f"{stage}.ipynb")
    return folder
