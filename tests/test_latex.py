"""Words, numbers and tables as LaTeX: by hand, and what cannot be printed."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from chain import write

from medrob import saliency
from medrob.thesis import CAPTIONS, Bundle, latex
from medrob.thesis.bundle import TEXTS
from medrob.thesis.latex_table import latex_table, readable

NAN = float("nan")
NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


def numbers(**values):
    rows = {"name": values.keys(), "value": pd.Series(values.values(), dtype=object)}
    return pd.DataFrame(rows).assign(low=NAN, high=NAN, what="")


def frame():
    return pd.DataFrame(
        {"corruption": ["motion_blur", "contrast"], "auroc": [0.98765, 0.5], "low": [0.95, NAN],
         "high": [1.0, NAN], "p": [0.0004, 0.25], "cases": [60, 12345]}
    )  # fmt: skip


LETTER = r"\ifdefined\medrobLetters{\medrobLetters 文}\else\texttt{U+6587}\allowbreak\fi{}"


def p_value(p):
    return latex.p_value(p).replace("\N{NO-BREAK SPACE}", " ")


@pytest.mark.parametrize(
    ("write_one", "given", "wanted"),
    [
        (latex.escape, "a_b & #1 $x$ {y}", r"a\_b \& \#1 \$x\$ \{y\}"),
        (latex.escape, "95 % of 3%", r"95~\% of 3\%"),
        (latex.escape, "~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        (latex.escape, "é œ ß – “x” ±", "é œ ß – “x” ±"),
        (latex.escape, "e\N{COMBINING ACUTE ACCENT}", "é"),
        (latex.escape, "≥ 3 → α", r"\ensuremath{\geq} 3 \ensuremath{\to} \ensuremath{\alpha}"),
        (latex.escape, "−1 two\n\tlines\x00", r"\ensuremath{-}1 two lines "),
        (latex.escape, "ǆ ﬁ ①", "dz fi 1"),
        (latex.escape, "文", LETTER),
        (latex.cited, "so (He et al. 2016).", r"so~\cite{he2016}."),
        (latex.cited, r"(Brooks \& Di Chiro 1976)", r"~\cite{brooks1976}"),
        (latex.cited, r"(Ruifrok \& Johnston 2001; Tellez et al. 2018)", r"~\cite{ruifrok2001,tellez2018}"),
        (latex.cited, "(Nobody 1999)", "(Nobody 1999)"),
        (latex.cited, "(since 2016)", "(since 2016)"),
        *((latex.file_name, *pair) for pair in (("03_auc", "03_auc"), ("e\u0301–文", "e_u6587"))),
        *((latex.file_name, *pair) for pair in (("01_a/b, c. d", "01_a_b_c_d"), ("../x", "x"))),
        *((p_value, *pair) for pair in ((0.0081, "= .008"), (0.001, "= .001"), (0.00099, "< .001"))),
        *((p_value, *pair) for pair in ((0.13, "= .130"), (1, "> .999"))),
    ],
)
def test_words_and_numbers_as_latex(write_one, given, wanted):
    assert write_one(given) == wanted


def test_numbers_and_their_digits():
    wanted = {(0.9604, 3): "0.960", (-0.0314, 3): "−0.031", (-0.0004, 3): "0.000", (1301, 0): "1301"}
    wanted |= {(649000, 0): "649\N{THIN SPACE}000", (NAN, 3): "not defined", (-np.inf, 3): "−∞"}
    assert [latex.number(*given) for given in wanted] == list(wanted.values())
    sizes = {0: 3, 0.02: 3, 1: 3, 1.01: 2, 31.7: 1, 100.5: 0, 0.005: 4, 0.0003: 5, 1e-12: 6, NAN: 3}
    assert [latex.decimals(size) for size in sizes] == list(sizes.values())
    values = {"images": 600, "worst": "contrast", "share": 0.25, "none": 0}
    printed = [entry["macros"][""] for entry in latex.quoted(numbers(**values))]
    assert printed == ["600", "contrast", "0.250", "0"]


def test_macros_hold_letters_alone():
    wanted = {
        "clean auc": "CleanAUC",
        "drift gradcam layer4.1": "DriftGradCAMLayerFourOne",
        "drift gradcam++ layer4.1": "DriftGradCAMPlusPlusLayerFourOne",
        "spearman é": "SpearmanE",
        "top 20 %": "TopTwoZeroPercent",
    }
    assert [latex.macro(name) for name in wanted] == [rf"\medrob{name}" for name in wanted.values()]
    for make in (latex.macro, latex.file_name):
        with pytest.raises(ValueError, match="holds no letter or digit"):
            make("≥ –")


def test_a_table_by_hand():
    assert latex_table(frame(), "Five_p.", "tab:r:t", ending="Seed: 0.").splitlines() == [
        r"{\setlength{\tabcolsep}{3pt}\footnotesize",
        r"\begin{table}",
        r"\centering\footnotesize",
        r"\caption{Five\_p. A dash (—): not defined. Seed: 0.}",
        r"\label{tab:r:t}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"corruption & \begin{tabular}[b]{@{}r@{}}AUROC \\ (95~\% interval)\end{tabular}"
        r" & \ensuremath{p} & cases \\",
        r"\midrule",
        r"motion blur & 0.988 (0.950 to 1.000) & <~.001 & 60 \\",
        r"contrast & 0.500 (—) & .250 & 12\,345 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "}",
    ]


def test_what_is_wider_than_the_text_stands_on_a_page_on_its_side():
    frames = [pd.DataFrame({f"{k}": ["ten letters"] * 30 for k in range(n)}) for n in (6, 9)]
    texts = [latex_table(frame, "C.", "l") for frame in frames]
    assert [text.startswith("\\begin{landscape}") for text in texts] == [False, True]
    assert ["longtable" in text for text in texts] == [False, True]  # such a page is less high


CITED = re.compile(
    r"((?:Di |Van |De )?[A-Z][a-z]+)(?: et al\.| & (?:Di )?[A-Z][a-z]+)?,? \(?((?:19|20)\d\d)\b"
)
ENTRY = re.compile(r"^@(\w+){(\w+),\n(.*?)\n}", re.MULTILINE | re.DOTALL)


def test_every_work_that_notebooks_captions_and_methods_cite_is_in_the_references():
    cells = [cell for file in NOTEBOOKS for cell in json.loads(file.read_text())["cells"]]
    texts = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"]
    texts += CAPTIONS.values()
    keys = {name.replace(" ", "").lower() + year for text in texts for name, year in CITED.findall(text)}
    template = (Path(latex.__file__).parent / "methods.tex.jinja").read_text()
    keys |= set(re.findall(r"\\cite{(\w+)}", template)) | set(TEXTS["methods"].values())
    assert {"adebayo2018", "holm1979", "youden1950"} <= keys <= latex.WORKS
    assert set(TEXTS["methods"]) == set(saliency.names())


def test_every_reference_has_what_a_citation_needs():
    entries = {
        key: (kind, dict.fromkeys(re.findall(r"(\w+) = ", body)))
        for kind, key, body in ENTRY.findall(latex.REFERENCES)
    }
    assert entries.keys() == latex.WORKS
    for kind, fields in entries.values():
        assert {"author", "title", "year", "journal" if kind == "article" else "booktitle"} <= fields.keys()
    without = {key for key, (_, fields) in entries.items() if "doi" not in fields}
    assert without == {"holm1979", "ruifrok2001"}  # two journals gave none


def test_every_interval_joins_its_value_and_digits_follow_the_size_of_a_column():
    columns = ["value", "low", "high", "drop", "drop_low", "drop_high", "gain"]
    table = pd.DataFrame([[0.9, 0.8, 1.0, -0.1, -0.2, 0.0, 3.0]], columns=columns)
    assert {name: cells for name, (cells, _) in readable(table).items()} == {
        "value\n(95 % interval)": ["0.900 (0.800 to 1.000)"],
        "drop\n(95 % interval)": ["−0.100 (−0.200 to 0.000)"],
        "gain": ["3"],
    }
    table = pd.DataFrame({"auc": [0.9, 0.85], "low": NAN, "high": NAN})  # an interval nowhere
    assert readable(table) == {"AUC": (["0.900", "0.850"], True)}
    table = pd.DataFrame({"rmse": [31.72, 9.9], "ssim": [0.5, 0.25], "lr": [3e-4, 1e-3], "epoch": [1.0, 2.0]})
    cells = [["31.7", "9.9"], ["0.500", "0.250"], ["0.0003", "0.0010"], ["1", "2"]]
    assert [column.cells for column in readable(table).values()] == cells


def test_pivoted_columns_are_read_after_their_name():
    table = pd.DataFrame({"corruption": ["a", "b"], "severity": [1, 5], "drop": [0.1, 0.5]})
    wide = table.pivot(index="corruption", columns="severity", values="drop").reset_index()
    assert list(readable(wide)) == ["corruption", "severity 1", "severity 5"]
    assert readable(wide)["severity 5"][0] == ["—", "0.500"]


def test_tables_beyond_40_rows_run_over_pages_and_methods_that_failed_are_marked():
    assert "longtable" not in latex_table(pd.DataFrame({"n": range(40)}), "C.", "l")
    text = latex_table(pd.DataFrame({"n": range(41)}), "C.", "l")
    assert r"\begin{longtable}{r}" in text and text.count(r"\toprule") == 2
    table = pd.DataFrame({"method": ["gradcam", "layercam"], "value": [0.5, 0.6]})
    text = latex_table(table, "C.", "l", failed=[("gradcam", "layer4.1")])
    assert "Grad-CAM† & 0.500" in text and "LayerCAM & 0.600" in text


def test_kept_rows_are_printed_and_all_are_stored(tmp_path):
    table = pd.DataFrame({"a_b": ["x_y & 5 %", "other"], "value": [0.123456, 0.5], "none": NAN})
    bundle = Bundle(tmp_path, "03")
    bundle.table(table, "t", keep=table.head(1)[["a_b", "value"]])
    write(bundle)
    text = (tmp_path / "t.tex").read_text()
    assert r"x\_y \& 5~\% & 0.123 \\" in text and "other" not in text and r"\caption{T.}" in text
    assert (tmp_path / "t.csv").read_text() == "a_b,value,none\nx_y & 5 %,0.123456,\nother,0.5,\n"


def test_numbers_by_hand(tmp_path):
    bundle = Bundle(tmp_path / "demo", "05")
    rows = [
        ("clean auc", 0.96, 0.944, 0.9754, 0.0081, "Holm", "AUC on\nclean images"),
        ("worst drop", -0.031, NAN, NAN, NAN, "", "a drop"),
        ("rmse", 31.72, 20.04, 40.0, 1e-9, "none", "grey levels"),
        ("nothing", NAN, NAN, NAN, NAN, "Holm", "no number"),
        ("answer", "not shown", NAN, NAN, NAN, "", "a text"),
        ("other", 0.5, 0.4, 0.6, 0.2, "Benjamini-Hochberg", ""),
    ]
    columns = ["name", "value", "low", "high", "p", "correction", "what"]
    bundle.numbers(pd.DataFrame(rows, columns=columns))
    listed = write(bundle).read_text()
    assert r"\medrobCleanAUCPHolm{} (Holm)" in listed and r"\medrobRMSEPRaw{} (uncorrected)" in listed
    text = (tmp_path / "demo" / "numbers.tex").read_text()
    wanted = {
        "CleanAUC": "0.960", "CleanAUCLow": "0.944", "CleanAUCHigh": "0.975",
        "CleanAUCCI": "0.960 (0.944 to 0.975)", "CleanAUCPHolm": r"\ensuremath{p}~=~.008",
        "WorstDrop": r"\ensuremath{-}0.031", "RMSECI": "31.7 (20.0 to 40.0)",
        "RMSEPRaw": r"\ensuremath{p}~<~.001", "NothingCI": "not defined", "NothingPHolm": "not defined",
        "Answer": "not shown", "OtherPBH": r"\ensuremath{p}~=~.200",
    }  # fmt: skip
    for name, prints in wanted.items():
        assert rf"\newcommand{{\medrob{name}}}{{{prints}}}" in text
    assert not re.search("WorstDrop(CI|Low|High|P)|Answer(CI|P)", text)  # no interval, no test
    assert "% AUC on clean images\n" in text
    assert "nan" not in text.lower().replace("name", "")
