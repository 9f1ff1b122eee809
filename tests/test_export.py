"""The thesis folder: the same bytes every time, whole or not at all, and LaTeX that compiles."""

import errno
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import matplotlib

matplotlib.use("agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from medrob import figures
from medrob.figures import latex
from medrob.figures.numbers import quoted
from medrob.figures.pgf import engine, pgf
from medrob.figures.tables import latex_table, readable

WITH_TEX = pytest.mark.usefixtures("tex")
PDFLATEX = pytest.mark.skipif(
    shutil.which("pdflatex") is None,
    reason="needs pdflatex (Debian: texlive-latex-base texlive-latex-recommended texlive-pictures lmodern)",
)
TEX = pytest.mark.skipif(engine() is None, reason="needs pdflatex, xelatex or lualatex")


def needs_pdflatex(test):
    return WITH_TEX(PDFLATEX(test))


def needs_tex(test):
    return WITH_TEX(TEX(test))


NAN = float("nan")
NASTY = "5 % œdème_ & #1 ~ {x} \\ ^ $ – ≥ 3 <µm> 文"


@pytest.fixture
def tex():
    """For tests that write PGF where TeX is: it costs seconds, so all others do without."""


@pytest.fixture(autouse=True)
def _style(request, monkeypatch):
    if "tex" not in request.fixturenames:
        monkeypatch.setattr("medrob.figures.pgf.engine", lambda: None)
    style()
    yield
    plt.close("all")


def style():
    """The style of the thesis, in few dots, as these tests do not look at the pictures."""
    figures.use_style()
    plt.rcParams["savefig.dpi"] = 40


def line(title="a line"):
    figure, axes = figures.style.sized(0.4)
    axes[0][0].plot([1, 2, 3], [0.2, -0.1, 0.4], label="motion_blur")
    axes[0][0].set(title=title, xlabel="severity", ylabel="AUC drop")
    axes[0][0].legend()
    return figure


def image():
    figure, axes = figures.style.sized(0.4)
    axes[0][0].imshow(np.eye(4))
    return figure


def frame():
    return pd.DataFrame(
        {"corruption": ["motion_blur", "contrast"], "auroc": [0.98765, 0.5], "low": [0.95, NAN],
         "high": [1.0, NAN], "p": [0.0004, 0.25], "cases": [60, 12345]}
    )  # fmt: skip


def contents(folder):
    return {str(f.relative_to(folder)): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


def stage(folder, name, drawings, numbers=None):
    bundle = figures.Bundle(folder, stage=name, context={"data": "phantom", "seed": 0})
    for drawing in drawings:
        bundle.figure(line(drawing), drawing, f"Caption of {drawing}")
    if numbers:
        bundle.numbers(numbers)
    return bundle.document()


# Words and numbers


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a_b & #1 $x$ {y}", r"a\_b \& \#1 \$x\$ \{y\}"),
        ("95 % of 3%", r"95~\% of 3\%"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        ("é œ ß – “x” ±", "é œ ß – “x” ±"),
        ("e\N{COMBINING ACUTE ACCENT}", "é"),
        ("≥ 3 → α, −1", r"\ensuremath{\geq} 3 \ensuremath{\to} \ensuremath{\alpha}, \ensuremath{-}1"),
        ("two\n\tlines\x00", "two lines "),
        ("ǆ ﬁ ①", "dz fi 1"),
        ("文", r"\texttt{U+6587}"),
    ],
)
def test_escape(text, wanted):
    assert latex.escape(text) == wanted


@pytest.mark.parametrize(
    ("value", "digits", "wanted"),
    [
        (0.9604, 3, "0.960"),
        (-0.0314, 3, "−0.031"),
        (-0.0004, 3, "0.000"),
        (1301, 0, "1301"),
        (649000, 0, "649\N{THIN SPACE}000"),
        (NAN, 3, "not defined"),
        (None, 3, "not defined"),
        (-np.inf, 3, "−∞"),
        ("gaussian noise", 3, "gaussian noise"),
    ],
)
def test_number(value, digits, wanted):
    assert latex.number(value, digits) == wanted


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        (0, 3),
        (0.02, 3),
        (1, 3),
        (1.01, 2),
        (31.7, 1),
        (100.5, 0),
        (0.005, 4),
        (0.0003, 5),
        (1e-12, 6),
        (NAN, 3),
    ],
)
def test_decimals_keep_three_digits_that_count(size, wanted):
    assert latex.decimals(size) == wanted


def test_intervals():
    assert latex.with_interval(0.96, 0.944, 0.9754) == "0.960 (0.944 to 0.975)"
    assert latex.with_interval(0.96, NAN, NAN) == "0.960 (interval not defined)"
    assert latex.with_interval(NAN, 0.1, 0.2) == "not defined"


@pytest.mark.parametrize(
    ("p", "wanted"),
    [(0.0081, "𝑝 = .008"), (0.001, "𝑝 = .001"), (0.00099, "𝑝 < .001"), (0.13, "𝑝 = .130"), (1, "𝑝 > .999"),
     (NAN, "not defined")],
)  # fmt: skip
def test_p_values(p, wanted):
    assert latex.p_value(p).replace("\N{NO-BREAK SPACE}", " ") == wanted


def test_p_values_lie_between_0_and_1():
    with pytest.raises(ValueError, match=r"p=1\.5 is no p value.*between 0 and 1"):
        latex.p_value(1.5)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("clean auc", r"\medrobCleanAUC"),
        ("worst drop", r"\medrobWorstDrop"),
        ("drift gradcam layer4.1", r"\medrobDriftGradCAMLayerFourOne"),
        ("drift gradcam++ layer4.1", r"\medrobDriftGradCAMPlusPlusLayerFourOne"),
        ("spearman é", r"\medrobSpearmanE"),
        ("top 20 %", r"\medrobTopTwoZeroPercent"),
    ],
)
def test_macros_hold_letters_alone(name, wanted):
    assert latex.macro(name) == wanted
    assert wanted[1:].isascii()
    assert wanted[1:].isalpha()


def test_names_without_letters_are_refused():
    for make in (latex.macro, latex.file_name):
        with pytest.raises(ValueError, match="holds no letter or digit"):
            make("≥ –")


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("03_auc", "03_auc"), ("01_a/b, c. d", "01_a_b_c_d"), ("é–文", "e_u6587"), ("../x", "x")],
)
def test_file_names(name, wanted):
    assert latex.file_name(name) == wanted


# Tables


def test_a_table_by_hand():
    assert latex_table(frame(), "Five_p.", "tab:r:t", context="Seed: 0.").splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{Five\_p. A dash (—): not defined. Seed: 0.}",
        r"\label{tab:r:t}",
        r"\setlength{\tabcolsep}{4pt}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"corruption & \begin{tabular}[b]{@{}r@{}}AUROC \\ (95~\% interval)\end{tabular}"
        r" & \ensuremath{p} & cases \\",
        r"\midrule",
        r"motion blur & 0.988 (0.950 to 1.000) & <~.001 & 60 \\",
        r"contrast & 0.500 (—) & .250 & 12\,345 \\",
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
    ]


def test_every_interval_joins_its_value():
    columns = ["value", "low", "high", "drop", "drop_low", "drop_high", "gain"]
    table = pd.DataFrame([[0.9, 0.8, 1.0, -0.1, -0.2, 0.0, 3.0]], columns=columns)
    assert {name: cells for name, (cells, _) in readable(table).items()} == {
        "value (95 % interval)": ["0.900 (0.800 to 1.000)"],
        "drop (95 % interval)": ["−0.100 (−0.200 to 0.000)"],
        "gain": ["3"],
    }


def test_no_interval_at_all_leaves_the_value_alone():
    table = pd.DataFrame({"auc": [0.9, 0.85], "low": NAN, "high": NAN})
    assert readable(table) == {"AUC": (["0.900", "0.850"], True)}


def test_digits_follow_the_size_of_a_column():
    table = pd.DataFrame(
        {"rmse": [31.72, 9.9], "ssim": [0.5, 0.25], "lr": [0.0003, 0.001], "epoch": [1.0, 2.0]}
    )
    assert [cells for cells, _ in readable(table).values()] == [
        ["31.7", "9.9"], ["0.500", "0.250"], ["0.0003", "0.0010"], ["1", "2"],
    ]  # fmt: skip
    assert readable(table[["rmse"]], digits=2)["RMSE"] == (["31.72", "9.90"], True)


def test_pivoted_columns_are_read_after_their_name():
    table = pd.DataFrame({"corruption": ["a", "b"], "severity": [1, 5], "drop": [0.1, 0.5]})
    wide = table.pivot(index="corruption", columns="severity", values="drop").reset_index()
    assert list(readable(wide)) == ["corruption", "severity 1", "severity 5"]
    assert readable(wide)["severity 5"][0] == ["—", "0.500"]


def test_words_that_never_change_move_to_the_caption():
    table = pd.DataFrame({"event": ["flipped"] * 2, "method": ["gradcam"] * 2, "auroc": [0.7, 0.8]})
    text = latex_table(table, "C.", "l")
    assert r"\caption{C. In all rows: event flipped; method Grad-CAM.}" in text
    assert text.count("flipped") == 1
    assert "Grad-CAM" in latex_table(table[["method"]], "C.", "l").split(r"\midrule")[1]


@pytest.mark.parametrize("columns", [["corruption", "value", "low", "high"], []])
def test_an_empty_table_says_so(columns):
    text = latex_table(pd.DataFrame(columns=columns), "C.", "l")
    assert r"{c}{no rows} \\" in text
    assert rf"\multicolumn{{{2 if columns else 1}}}" in text


def test_columns_that_read_the_same_are_refused():
    with pytest.raises(ValueError, match=r"two columns read 'a b'.*rename one of"):
        readable(pd.DataFrame({"a_b": [1], "a b": [2]}))


def test_tables_beyond_40_rows_run_over_pages():
    assert "longtable" not in latex_table(pd.DataFrame({"n": range(40)}), "C.", "l")
    text = latex_table(pd.DataFrame({"n": range(41)}), "C.", "l")
    assert r"\begin{longtable}{r}" in text
    assert text.count(r"\toprule") == 2


def test_kept_rows_are_printed_and_all_are_stored(tmp_path):
    table = pd.DataFrame({"a_b": ["x_y & 5 %", "other"], "value": [0.123456, 0.5], "none": NAN})
    assert figures.Bundle(tmp_path).table(table, "t", keep=table.head(1)[["a_b", "value"]]) is table
    text = (tmp_path / "t.tex").read_text()
    assert r"x\_y \& 5~\% & 0.123 \\" in text
    assert "other" not in text
    assert r"\caption{T.}" in text
    assert (tmp_path / "t.csv").read_text() == "a_b,value,none\nx_y & 5 %,0.123456,\nother,0.5,\n"


# Numbers


def test_numbers_by_hand(tmp_path):
    bundle = figures.Bundle(tmp_path / "demo", stage="05")
    rows = [
        ("clean auc", 0.96, 0.944, 0.9754, 0.0081, "AUC on\nclean images"),
        ("worst drop", -0.031, NAN, NAN, NAN, None),
        ("rmse", 31.72, 20.04, 40.0, 1e-9, "grey levels"),
        ("nothing", NAN, NAN, NAN, NAN, ""),
    ]
    bundle.numbers(pd.DataFrame(rows, columns=["name", "value", "low", "high", "p", "what"]))
    bundle.document()
    text = (tmp_path / "demo" / "numbers.tex").read_text()
    wanted = {
        "CleanAUC": "0.960", "CleanAUCLow": "0.944", "CleanAUCHigh": "0.975",
        "CleanAUCCI": "0.960 (0.944 to 0.975)", "CleanAUCP": r"\ensuremath{p}~=~.008",
        "WorstDrop": r"\ensuremath{-}0.031", "RMSECI": "31.7 (20.0 to 40.0)",
        "RMSEP": r"\ensuremath{p}~<~.001", "NothingCI": "not defined", "NothingP": "not defined",
    }  # fmt: skip
    for name, prints in wanted.items():
        assert rf"\newcommand{{\medrob{name}}}{{{prints}}}" in text
    assert not re.search("WorstDrop(CI|Low|High)", text)  # it has no interval
    assert "% AUC on clean images\n" in text
    assert "nan" not in text.lower().replace("name", "")


def test_numbers_from_a_mapping():
    found = quoted({"images": 600, "auc": (0.9, 0.8, 1.0), "worst": "contrast", "share": 0.25, "none": 0})
    assert {e["name"]: e["macros"] for e in found} == {
        "images": {"": "600"},
        "auc": {"": "0.900", "Low": "0.800", "High": "1.000", "CI": "0.900 (0.800 to 1.000)"},
        "worst": {"": "contrast"},
        "share": {"": "0.250"},
        "none": {"": "0"},
    }


def test_digits_can_be_given_for_each_number():
    rows = pd.DataFrame({"name": ["a", "b", "c"], "value": [2.0, 2.0, 0.5], "digits": [2, NAN, 1]})
    assert [e["macros"][""] for e in quoted(rows)] == ["2.00", "2", "0.5"]


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        (
            pd.DataFrame({"name": ["a b", "A-b"], "value": 1.0}),
            r"'a b' and 'A-b' both give the macro \\medrobAB",
        ),
        (pd.DataFrame({"name": ["layer4.1", "layer41"], "value": 1.0}), r"\\medrobLayerFourOne"),
        ({"x": (1, 0, 2), "x low": 3}, r"'x' and 'x low' both give the macro \\medrobXLow"),
        (pd.DataFrame({"name": ["a", "a"], "value": 1.0}), "two rows named 'a'"),
        (pd.DataFrame({"name": ["a"]}), "lacks the column value"),
        ({"a": (1, 2)}, r"numbers\['a'\]=\(1, 2\): give"),
    ],
)
def test_bad_numbers_are_refused_and_nothing_is_written(tmp_path, numbers, words):
    bundle = figures.Bundle(tmp_path / "run")
    with pytest.raises(ValueError, match=words):
        bundle.numbers(numbers)
    assert not (tmp_path / "run").exists()


def test_the_macro_of_a_p_value_names_its_correction(tmp_path):
    columns = ["name", "value", "low", "high", "p", "correction", "what"]
    rows = [
        ("one", 0.5, 0.4, 0.6, 0.012, "Holm", "first"),
        ("two", 0.5, 0.4, 0.6, 0.2, "Benjamini-Hochberg", ""),
        ("three", 0.5, 0.4, 0.6, 0.3, "none", ""),
        ("four", 0.5, 0.4, 0.6, NAN, "Holm", ""),
        ("five", 0.5, 0.4, 0.6, NAN, "", ""),
        ("six", "not shown", NAN, NAN, NAN, "", "the answer"),
    ]
    found = {e["name"]: e["macros"] for e in quoted(pd.DataFrame(rows, columns=columns))}
    ends = {name: [end for end in macros if end.startswith("P")] for name, macros in found.items()}
    assert ends == {
        "one": ["PHolm"],
        "two": ["PBH"],
        "three": ["PRaw"],
        "four": ["PHolm"],
        "five": [],
        "six": [],
    }
    assert found["four"]["PHolm"] == "not defined" and found["six"] == {"": "not shown"}
    bundle = figures.Bundle(tmp_path, stage="05")
    bundle.numbers(pd.DataFrame(rows, columns=columns))
    text = bundle.document().read_text()
    assert r"\medrobOnePHolm{} (Holm)" in text and r"\medrobThreePRaw{} (uncorrected)" in text
    assert r"\newcommand{\medrobThreePRaw}" in (tmp_path / "numbers.tex").read_text()


def test_numbers_must_be_a_table():
    with pytest.raises(TypeError, match=r"numbers is list: give a frame"):
        quoted([1, 2])


def test_numbers_add_up_in_a_stage_and_begin_anew_in_the_next_run(tmp_path):
    text = tmp_path / "numbers.tex"
    bundle = figures.Bundle(tmp_path, stage="05")
    bundle.numbers({"a": 1})
    bundle.numbers({"b": 2})
    bundle.numbers({"a": 3})
    bundle.document()
    assert r"\newcommand{\medrobA}{3}" in text.read_text()
    assert r"\newcommand{\medrobB}{2}" in text.read_text()
    stage(tmp_path, "05", [], {"c": 4})
    assert r"\medrobC}" in text.read_text()
    assert r"\medrobA}" not in text.read_text()


def test_two_stages_cannot_give_the_same_macro(tmp_path):
    stage(tmp_path, "03", [], {"clean auc": 0.9})
    with pytest.raises(ValueError, match=r"'clean auc' and 'clean-AUC' both give the macro \\medrobCleanAUC"):
        stage(tmp_path, "05", [], {"clean-AUC": 0.8})


@pytest.mark.parametrize("prefix", ["", "run1", "a b", r"\x"])
def test_prefixes_hold_letters(tmp_path, prefix):
    with pytest.raises(ValueError, match=r"prefix=.*letters alone"):
        figures.Bundle(tmp_path, prefix=prefix)


def test_a_stage_is_part_of_file_names(tmp_path):
    with pytest.raises(ValueError, match=r"stage='a/b': use letters"):
        figures.Bundle(tmp_path, stage="a/b")


# The folder


SCRIPT = """
import sys
sys.path.insert(0, sys.argv[1])
import test_export as t
t.style()
t.write_all(t.Path(sys.argv[2]))
"""


def write_all(folder):
    """Two stages with everything that can be written."""
    bundle = figures.Bundle(folder, stage="03_test", context={"data": NASTY, "seed": 0})
    bundle.figure(line(NASTY.rstrip("文")), "03_auc", f"AUC of {NASTY}")
    bundle.figure(image(), "03_picture")
    bundle.table(frame().assign(**{"class": NASTY, NASTY: [NASTY, "x"]}), "03_scores", NASTY)
    bundle.document()
    bundle = figures.Bundle(folder, stage="05_analysis", context="One seed, 60 images.")
    bundle.figure(line(), "summary", "The answer")
    bundle.table(
        pd.DataFrame({"n": range(60), "words": "many words that need a line, or two lines "}), "05_long"
    )
    bundle.table(pd.DataFrame(columns=["corruption", "value"]), "05_none")
    wide = pd.DataFrame(np.full((3, 16), 0.5), columns=[f"a_column_of_a_long_name_{i}" for i in range(16)])
    bundle.table(wide, "05_wide", "Wide")
    letters = " ".join([*map(chr, range(0xA1, 0x180)), *sorted(latex.PRINTED), *latex.SYMBOLS])
    rows = [
        ("clean auc", 0.96, 0.944, 0.975, 0.008, NASTY),
        ("a name of many words", NAN, NAN, NAN, NAN, letters),
    ]
    bundle.numbers(pd.DataFrame(rows, columns=["name", "value", "low", "high", "p", "what"]))
    return bundle.document()


@WITH_TEX
def test_the_same_bytes_in_another_process(tmp_path):
    write_all(tmp_path / "a" / "demo")
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(Path(__file__).parent), str(tmp_path / "b" / "demo")],
        check=True,
        env=os.environ | {"PYTHONHASHSEED": "7", "MPLBACKEND": "agg"},
    )
    first = contents(tmp_path / "a")
    assert {"demo/03_auc.pdf", "demo/03_auc.png", "demo/03_scores.csv", "demo/thesis.tex"} <= set(first)
    assert first == contents(tmp_path / "b")
    assert not [name for name in first if name.endswith(".part")]


def test_captions_end_with_the_context(tmp_path):
    stage(tmp_path, "03", ["03_auc"])
    text = (tmp_path / "captions.tex").read_text()
    assert (
        "\\newcommand{\\medrobCaptionZeroThreeAUC}{%\nCaption of 03\\_auc. Data: phantom; seed: 0.}\n" in text
    )


def test_stages_add_their_parts_in_any_order_and_the_summary_stands_first(tmp_path):
    for order in ("ab", "ba"):
        for name in order:
            folder = tmp_path / order / "demo"
            stage(folder, name, {"a": ["01_z", "summary"], "b": ["01_b", "03_a"]}[name], {f"of {name}": 1})
    assert contents(tmp_path / "ab") == contents(tmp_path / "ba")
    text = (tmp_path / "ab" / "demo" / "thesis.tex").read_text()
    labels = [part.split("}")[0] for part in text.split(r"\label{fig:demo:")[1:]]
    assert labels == ["summary", "01_b", "01_z", "03_a"]


def test_a_stage_removes_what_it_no_longer_writes_and_nothing_else(tmp_path):
    (tmp_path / "mine.pdf").write_text("not of a stage")
    stage(tmp_path, "01", ["01_healthy", "01_ill"], {"n": 1})
    stage(tmp_path, "03", ["03_auc"])
    stage(tmp_path, "01", ["01_ill", "01_new"])
    left = {Path(name).name for name in contents(tmp_path)}
    assert not [name for name in left if "healthy" in name or "numbers-" in name]
    assert {"mine.pdf", "01_ill.pdf", "01_new.png", "03_auc.pdf", "figure-03_auc.json"} <= left
    assert "healthy" not in "".join((tmp_path / f).read_text() for f in ("thesis.tex", "captions.tex"))


def test_without_a_stage_nothing_is_removed(tmp_path):
    stage(tmp_path, "", ["a"])
    stage(tmp_path, "", ["b"])
    assert {"a.pdf", "b.pdf"} <= set(contents(tmp_path))
    assert "a.pdf" in (tmp_path / "thesis.tex").read_text()


def test_stages_that_are_out_of_date_are_left_out(tmp_path):
    folder = tmp_path / "demo"
    stage(folder, "05", ["05_former"], {"former": 1})
    bundle = figures.Bundle(folder, stage="03")
    bundle.figure(line(), "03_new")
    bundle.document(stages=["01"])
    texts = [(folder / f"{name}.tex").read_text() for name in ("thesis", "captions", "numbers")]
    assert not [text for text in texts if "former" in text.lower()]
    assert "03_new" in texts[0]
    assert (folder / "05_former.pdf").exists()


@pytest.mark.parametrize("name", ["01_a/b", "01_a b"])
def test_two_names_for_one_file_are_refused(tmp_path, name):
    bundle = figures.Bundle(tmp_path)
    bundle.figure(line(), "01_a, b")
    bundle.figure(line(), "01_a, b")
    with pytest.raises(ValueError, match=r"figures '01_a, b' and .* would both be written to '01_a_b'"):
        bundle.figure(line(), name)


@pytest.mark.parametrize("name", ["thesis", "numbers", "captions"])
def test_names_of_the_bundle_are_kept(tmp_path, name):
    with pytest.raises(ValueError, match=rf"name='{name}' is kept for {name}.tex"):
        figures.Bundle(tmp_path).table(frame(), name)


def test_a_full_disk_changes_nothing(tmp_path, monkeypatch):
    stage(tmp_path, "03", ["03_auc"])
    before, write = contents(tmp_path), Path.write_bytes

    def full(path, content):
        if ".png" in path.name or "numbers.tex" in path.name:
            write(path, content[:5])
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    bundle = figures.Bundle(tmp_path, stage="03")
    with pytest.raises(OSError, match=r"03_auc\.png: No space left on device; nothing was changed"):
        bundle.figure(line("another"), "03_auc", "Another")
    with pytest.raises(OSError, match="nothing was changed"):
        bundle.document()
    assert contents(tmp_path) == before


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OSError, match=r"could not write .*t\.csv"):
        figures.Bundle(tmp_path / "file").table(frame(), "t")
    assert contents(tmp_path) == {"file": b"no folder"}


@pytest.mark.parametrize("damage", ["{", "[]", '{"kind": "figure"}', None])
def test_a_damaged_part_is_named(tmp_path, damage):
    stage(tmp_path, "03", ["03_auc"])
    part = tmp_path / "parts" / "figure-03_auc.json"
    elsewhere = json.dumps(json.loads(part.read_text()) | {"files": ["../../precious.pdf"]})
    part.write_text(elsewhere if damage is None else damage)
    with pytest.raises(ValueError, match=r"figure-03_auc\.json is damaged .*delete it and run"):
        stage(tmp_path, "03", [])


def test_the_style_of_the_reader_is_left_alone(tmp_path):
    before = dict(matplotlib.rcParams)
    stage(tmp_path, "03", ["03_auc"])
    assert dict(matplotlib.rcParams) == before


# TeX


@needs_tex
def test_pgf_is_written_where_tex_is_and_removed_where_it_is_not(tmp_path, monkeypatch):
    stage(tmp_path, "03", ["03_auc"])
    assert "AUC drop" in (tmp_path / "03_auc.pgf").read_text()
    assert "03_auc.pgf" in (tmp_path / "thesis.tex").read_text()
    monkeypatch.setattr("medrob.figures.pgf.engine", lambda: None)
    stage(tmp_path, "03", ["03_auc"])
    assert not (tmp_path / "03_auc.pgf").exists()
    assert "03_auc.pgf" not in (tmp_path / "thesis.tex").read_text()


@needs_tex
def test_pictures_and_huge_figures_have_no_pgf(monkeypatch):
    assert pgf(image(), "x") is None
    monkeypatch.setattr("medrob.figures.pgf.LARGEST", 1000)
    assert pgf(line(), "x") is None


@needs_tex
def test_many_points_cost_no_time_and_no_memory():
    figure, axes = figures.style.sized(0.4)
    axes[0][0].scatter(*np.random.default_rng(0).random((2, 200_000)))
    began = time.perf_counter()
    assert pgf(figure, "x") is None
    assert time.perf_counter() - began < 5


@needs_tex
def test_texts_in_pgf_are_escaped_and_maths_is_not():
    figure = line("a & b_c 5 %")
    figure.axes[0].set_xlabel(r"$\alpha_1$ is maths")
    text = pgf(figure, "x").decode()
    assert r"a \& b\_c 5~\%" in text
    assert r"\alpha_1" in text


@needs_tex
def test_what_tex_cannot_set_is_said():
    figure = line(r"$\nosuchmacro$")
    with pytest.warns(UserWarning, match=r"03_auc: no PGF, \w+tex cannot set it"):
        assert pgf(figure, "03_auc") is None


def compiled(folder):
    """Compile twice, as references need; the log."""
    for _ in range(2):
        command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "thesis.tex"]
        whole = os.environ | {"max_print_line": "9999"}  # no line breaks within names
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, errors="replace", env=whole
        )
        assert done.returncode == 0, done.stdout[-2000:]
    return (folder / "thesis.log").read_text(errors="replace")


@needs_pdflatex
@pytest.mark.parametrize("letters", ["of the figures", "of the text"])
def test_the_document_compiles(tmp_path, letters):
    thesis = write_all(tmp_path / "demo")
    if letters == "of the text":
        thesis.write_text(thesis.read_text().replace(r"%\medrobpgftrue", r"\medrobpgftrue"))
    log = compiled(tmp_path / "demo")
    for trouble in ("Overfull", "Warning", "undefined", "Missing character"):
        assert trouble not in log
    used = [name for name in ("03_auc.pgf", "03_auc.pdf", "03_picture.pdf") if f"./{name}" in log]
    first = "03_auc.pgf" if letters == "of the text" else "03_auc.pdf"
    assert used == [first, "03_picture.pdf"]


@needs_pdflatex
def test_an_empty_document_compiles(tmp_path):
    figures.Bundle(tmp_path / "demo").document()
    assert "Warning" not in compiled(tmp_path / "demo")
