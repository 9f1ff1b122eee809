"""The thesis folder: the same bytes every time, whole or not at all, and LaTeX that compiles."""

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from chain import write
from test_latex import frame, numbers

from medrob import figures
from medrob.figures.draw import sized
from medrob.thesis import Bundle, latex

NAN = float("nan")
NASTY = "5 % œdème_ & #1 ~ {x} \\ ^ $ – ≥ 3 <µm> 文"
needs_pdflatex = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="needs pdflatex (Debian: texlive-latex-base texlive-latex-recommended texlive-pictures lmodern)",
)


def style():
    """The style of the thesis, in few dots, as these tests do not look at the pictures."""
    figures.use_style()
    plt.rcParams["savefig.dpi"] = 40


@pytest.fixture(autouse=True)
def _style():
    style()
    yield
    plt.close("all")


def line(title="a line"):
    figure, [[ax]] = sized(0.4)
    ax.plot([1, 2, 3], [0.2, -0.1, 0.4], label="motion_blur")
    ax.set(title=title, xlabel="severity", ylabel="AUC drop")
    ax.legend()
    return figure


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def stage(folder, name, drawings, quoted=None):
    bundle = Bundle(folder, name)
    for drawing in drawings:
        bundle.figure(line(drawing), drawing, f"Caption of {drawing}")
    if quoted:
        bundle.numbers(numbers(**quoted))
    return write(bundle)


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_bundle as t
t.style()
t.write_all(t.Path(sys.argv[2]))
"""


def write_all(folder):
    """Two stages with everything that can be written."""
    bundle = Bundle(folder, "03_test")
    bundle.figure(line(NASTY.rstrip("文")), "03_auc", f"AUC of {NASTY}")
    picture, [[ax]] = sized(0.4)
    ax.imshow(np.eye(4))
    bundle.figure(picture, "03_picture")
    bundle.table(frame().assign(**{"class": NASTY, NASTY: [NASTY, "x"]}), "03_other", NASTY)
    write(bundle)
    bundle = Bundle(folder, "05_analysis")
    bundle.figure(line(), "summary", "The answer")
    long = pd.DataFrame({"n": range(60), "words": "many words that need a line, or two lines "})
    bundle.table(long, "05_long")
    bundle.table(pd.DataFrame(columns=["corruption", "value"]), "05_none")
    wide = pd.DataFrame(np.full((3, 9), 0.5), columns=[f"a_column_of_a_long_name_{i}" for i in range(9)])
    bundle.table(wide, "05_wide", "Wide")
    letters = " ".join([*map(chr, range(0xA1, 0x180)), *sorted(latex.PRINTED), *latex.SYMBOLS])
    rows = [("clean auc", 0.96, 0.944, 0.975, 0.008, "Holm", NASTY)]
    rows += [("a name of many words", NAN, NAN, NAN, NAN, "Holm", letters)]
    columns = ["name", "value", "low", "high", "p", "correction", "what"]
    bundle.numbers(pd.DataFrame(rows, columns=columns))
    verdicts = "- It works: 5 % \\_a\\_.\n- It looks."
    return write(bundle, answer=dict(verdicts=verdicts, done=NASTY, limits="A few."))


def test_the_same_bytes_in_another_process(tmp_path):
    write_all(tmp_path / "a" / "demo")
    command = [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path / "b" / "demo")]
    subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": "7", "MPLBACKEND": "agg"})
    first = contents(tmp_path / "a")
    assert {"demo/03_auc.pdf", "demo/03_auc.png", "demo/03_other.csv", "demo/thesis.tex"} <= set(first)
    assert first == contents(tmp_path / "b")


def test_captions_cite_and_explain_the_dagger_once_a_method_has_failed(tmp_path):
    bundle = Bundle(tmp_path, "03")
    bundle.figure(line(), "03_auc", "Caption of 03_auc (Youden 1950; Nobody 1999) and (Di Salvo et al. 2024)")
    bundle.failed = [("gradcam", "layer4.0"), ("gradcam", "layer4.1")]
    bundle.figure(line(), "later")
    write(bundle)
    text = (tmp_path / "captions.tex").read_text()
    first = r"Caption of 03\_auc (Youden 1950; Nobody 1999) and~\cite{disalvo2024}.}"
    assert rf"\newcommand{{\medrobCaptionZeroThreeAUC}}{{%{chr(10)}{first}" in text
    assert "Later. † fails randomisation: Grad-CAM at layer4.0, layer4.1.}" in text


def test_stages_add_their_parts_in_any_order_and_the_summary_stands_first(tmp_path):
    for order in ("ab", "ba"):
        for name in order:
            folder = tmp_path / order / "demo"
            stage(folder, name, {"a": ["01_z", "summary"], "b": ["01_b"]}[name], {f"of {name}": 1})
    assert contents(tmp_path / "ab") == contents(tmp_path / "ba")
    text = (tmp_path / "ab" / "demo" / "thesis.tex").read_text()
    labels = [part.split("}")[0] for part in text.split(r"\label{fig:demo:")[1:]]
    assert labels == ["summary", "01_z", "01_b"]  # as they were made


def test_a_stage_removes_what_it_no_longer_writes_and_nothing_else(tmp_path):
    (tmp_path / "mine.pdf").write_text("not of a stage")
    stage(tmp_path, "01", ["01_healthy"], {"n": 1})
    stage(tmp_path, "03", ["03_auc"])
    stage(tmp_path, "01", ["01_new"])
    left = {Path(name).name for name in contents(tmp_path)}
    assert not [name for name in left if "healthy" in name]
    assert {"mine.pdf", "01_new.png", "03_auc.pdf"} <= left
    assert "healthy" not in "".join((tmp_path / f).read_text() for f in ("thesis.tex", "captions.tex"))


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    stage(tmp_path, "03", ["03_auc"])
    before, write = contents(tmp_path), Path.write_bytes

    def full(path, content):
        if ".png" in path.name or "numbers.tex" in path.name:
            write(path, content[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    words = r"^could not write \S+03_new\.png: No space left on device; nothing was changed"
    with pytest.raises(OSError, match=words):
        stage(tmp_path, "03", ["03_new", "03_auc"], {"n": 1})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("images", ["240 images", "240 images of 60 groups"])
def test_the_methods_say_what_the_declared_tests_ask_and_of_how_many(images):
    declared = dict(method="gradcam", layer="layer4.1", severity=5, images=images)
    stages = {
        "01_augment": {"corruptions": dict.fromkeys("abcde", "own")},
        "05_analysis": {"parameters": {"runs": ["one"]}, "declared": declared},
    }
    text = latex.documents(stages, "one")["methods.tex"]
    assert f"for the maps of Grad-CAM at \\texttt{{layer4.1}} of {images}." in text
    assert "comes from 120 orders of whole corruptions" in text and "(3) Does the place of the map" in text
    unit = images.split()[-1]
    exchanged = "exchanges of images of a class" if unit == "images" else "random signs of whole groups"
    assert f"comes from 2,000 {exchanged}" in text and f"500 resamples of {unit}" in text
    with pytest.raises(ValueError, match=r"run\.json of run 'one' lacks what is written .*resamples"):
        latex.documents({"03_test": {"parameters": {}}}, "one")


def test_a_record_removes_nothing_elsewhere(tmp_path):
    (tmp_path / "precious.pdf").write_text("mine")
    before = {"thesis": {"figure-a": {"kind": "figure", "file": "a", "files": {"../precious.pdf": "0" * 64}}}}
    Bundle(tmp_path / "demo", "03").document({}, before)
    assert (tmp_path / "precious.pdf").exists()


def test_numbers_add_up_in_a_stage_and_begin_anew_in_the_next_run(tmp_path):
    text, bundle = tmp_path / "numbers.tex", Bundle(tmp_path, "05")
    for more in ({"a": 1}, {"b": 2}, {"a": 3}):
        bundle.numbers(numbers(**more))
    write(bundle)
    assert r"\newcommand{\medrobA}{3}" in text.read_text() and r"{\medrobB}{2}" in text.read_text()
    stage(tmp_path, "05", [], {"c": 4})
    assert r"\medrobC}" in text.read_text() and r"\medrobA}" not in text.read_text()


def compiled(folder, engine="pdflatex"):
    """Compile as references need; the log."""
    latex = [engine, "-interaction=nonstopmode", "-halt-on-error", "thesis.tex"]
    cites = "\\cite" in (folder / "methods.tex").read_text()
    for command in (latex, *[["bibtex", "thesis"]] * cites, latex, latex):
        options = dict(cwd=folder, capture_output=True, text=True, errors="replace")
        whole = os.environ | {"max_print_line": "9999"}  # no line breaks within names
        done = subprocess.run(command, env=whole, **options)
        assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "thesis.log").read_text(errors="replace")


def test_the_answer_is_the_first_page(tmp_path):
    text = write_all(tmp_path / "demo").read_text()
    parts = (r"\item It works: 5~\% \_a\_.", r"\item It looks.", r"\end{itemize}", "{summary.pdf}")
    after = (r"\medrobCaptionSummary", "A few.", r"\clearpage", "{03_auc.pdf}")
    found = [text.index(part) for part in (*parts, *after)]
    assert found == sorted(found)
    assert "clearpage" not in stage(tmp_path / "other", "05_analysis", ["summary"]).read_text()


@needs_pdflatex
def test_the_document_compiles(tmp_path):
    write_all(tmp_path / "demo")
    log = compiled(tmp_path / "demo")
    for trouble in ("Overfull", "Warning", "undefined", "Missing character"):
        assert trouble not in log


@needs_pdflatex
@pytest.mark.parametrize("engine", ["pdflatex", "lualatex"])
def test_long_names_fit_and_stay_apart_and_letters_are_never_lost(tmp_path, engine):
    lacks = engine == "lualatex" and shutil.which("luaotfload-tool") is None  # Debian: texlive-luatex
    if lacks or shutil.which(engine) is None:
        pytest.skip(f"needs {engine}")
    long = [letter * 120 + middle + "_" + letter * 109 for letter in ("x", "文") for middle in "ab"]
    bundle = Bundle(tmp_path, "05")
    bundle.figure(line(), "05_runs", f"Sensitivity – 炎 – for {long[0]} and {long[2]}.")
    bundle.table(pd.DataFrame({"class": [*long, "short"], "value": np.arange(5) / 7}), "classes")
    bundle.numbers(numbers(**{"a": 1.5}).assign(what=f"AUC of {long[0]}"))
    write(bundle)
    cells = [row.split("&")[0] for row in (tmp_path / "classes.tex").read_text().splitlines() if "&" in row]
    assert len(set(cells)) == 6 and "are cut" in (tmp_path / "classes.tex").read_text()
    log = compiled(tmp_path, engine)
    assert "Overfull" not in log and "Missing character" not in log
