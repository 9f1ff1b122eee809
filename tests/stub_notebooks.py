"""Five notebooks that compute nothing much, in seconds: what a study does with them is what is tested."""

from pathlib import Path

import nbformat

from medrob.files import PROJECT
from medrob.run import READS, STAGES

# Every table holds what it follows from, so that it differs if anything before it did.
WORK = """
import hashlib, json, os, time
import pandas as pd
from medrob.stage import begin
stage = begin({name!r}, globals())
apart = ("run", "runs", "results", "device", {apart})
given = {{k: v for k, v in stage.parameters.model_dump().items() if k not in apart}}
read = [hashlib.sha256(stage.run.path(f).read_bytes()).hexdigest() for f in {reads!r}]
table = pd.DataFrame({{"given": [json.dumps(given)], "read": [json.dumps(read)]}})
home = stage.run.folder.parents[2]
with (home / "log").open("a") as file:
    file.write(f"{{stage.results.name}} {name}\\n")
while (home / "wait-{name}").exists():
    time.sleep(0.1)
assert not (home / f"fail-{{stage.results.name}}-{name}").exists(), "asked to"
"""
FIRST = "stage._described = {'given': {k: given[k] for k in ('dataset', 'size', 'seed')}}\n"
NETWORK = """for file in ("model.safetensors", "model.json"):
    stage.results.path(file).write_text(json.dumps([given, read]))
"""


def write(folder: Path) -> Path:
    """Write the notebooks; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in STAGES:
        source = nbformat.read(PROJECT / "notebooks" / f"{name}.ipynb", as_version=4)
        cell = next(c for c in source.cells if "parameters" in c.metadata.get("tags", []))
        apart = "'resamples'" if name == "03_test" else ""
        work = WORK.format(name=name, reads=READS[name], apart=apart)
        work += {"01_augment": FIRST, "02_train": NETWORK}.get(name, "")
        tables = [file.removesuffix(".parquet") for file in STAGES[name] if file.endswith(".parquet")]
        work += f"stage.table(table, '{name}_t')\n"
        work += f"stage.keep({', '.join(f'{table}=table' for table in tables)})"
        cells = [cell, nbformat.v4.new_code_cell(work.strip())]
        metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
        nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), folder / f"{name}.ipynb")
    return folder
