"""Execute the notebooks in order and keep their outputs: `make notebooks`.

They run in a folder of their own, which is removed: results in data/ and figures/ are not touched.
"""

import base64
import io
import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image
from tqdm import tqdm

from medrob.run import STAGES

HERE = Path(__file__).parent
VOLATILE = ("execution", "widgets", "papermill")


def execute(path: Path) -> None:
    """Run one notebook in place, and drop what would differ from run to run without meaning anything."""
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(
        notebook, timeout=None, kernel_name="python3", resources={"metadata": {"path": HERE}}
    ).execute()
    notebook.metadata = {key: notebook.metadata[key] for key in ("kernelspec",)}
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                shrink(output.data)
        cell.metadata = {k: v for k, v in cell.metadata.items() if k not in VOLATILE}
    nbformat.write(notebook, path)


def shrink(data: dict[str, str]) -> None:
    """Store a picture in 256 colours or as JPEG, whichever is smaller: it is there to be read on a screen."""
    picture = Image.open(io.BytesIO(base64.b64decode(data.pop("image/png")))).convert("RGB")
    kinds = {
        "image/png": (picture.quantize(256), "PNG", {"optimize": True}),
        "image/jpeg": (picture, "JPEG", {}),
    }
    small = {}
    for kind, (version, name, options) in kinds.items():
        buffer = io.BytesIO()
        version.save(buffer, name, **options)
        small[kind] = base64.b64encode(buffer.getvalue()).decode()
    best = min(small, key=lambda kind: len(small[kind]))
    data[best] = small[best]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as home:
        os.environ.update(MEDROB_HOME=home, MEDROB_PROGRESS="off")
        for stage in tqdm(STAGES, desc="notebooks"):
            execute(HERE / f"{stage}.ipynb")
        for name, shown in {"04_overlays": "heatmaps", "summary": "summary"}.items():  # in README
            picture = Image.open(Path(home, "figures", "demo", f"{name}.png")).convert("RGB")
            picture.thumbnail((1200, 1600))
            picture.quantize(256).save(HERE.parent / "figures" / f"{shown}.png", optimize=True)
