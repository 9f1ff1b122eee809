"""What a newcomer runs first on a folder: ``python -m medrob check``."""

import re

import cv2
import numpy as np
import pytest
import torch

from medrob import data, evaluation, models
from medrob.__main__ import main
from medrob.files import home


def checked(capsys, *arguments):
    """The exit code and what is printed."""
    code = main(["check", *map(str, arguments)])
    return code, "".join(capsys.readouterr())


def test_the_page_counts_what_loading_gives(tmp_path, capsys):
    noise, folder = np.random.default_rng(0), tmp_path / "set"
    for name, ending in (("<a & b>", "jpg"), ("c", "png"), ("d", "png")):
        (folder / name).mkdir(parents=True)
        for i in range(20):
            cv2.imwrite(str(folder / name / f"{i}.{ending}"), noise.integers(0, 256, (24, 32), np.uint8))
    (folder / "d" / "notes.txt").write_text("no picture")
    code, text = checked(capsys, folder, "--seed", 3)
    assert code == 0 and re.match("set can be used by .* guessed or left out: 1 warning.\n", text)
    for name in ("<a & b>", "c", "d"):
        splits = [data.load(str(folder), split, seed=3).counts[name] for split in data.SPLITS]
        assert re.search(rf"{name} +" + " +".join(map(str, [*splits, 20])), text)
    assert "60 images of 32x24 pixels, grey" in text
    for kind, count in {"PNG": 40, "JPEG": 20}.items():
        assert re.search(rf"{kind}, grey, 8 bit +32 +32 +24 +24 +{count}\n", text)
    cv2.imwrite(str(folder / "d" / "more.png"), noise.integers(0, 256, (40, 32), np.uint8))
    said = checked(capsys, folder, "--channels=1")[1]
    assert "parameters and --size=224" in said and "each becomes 224 x 224 pixels" in said
    sheet = home() / "data" / "check" / "set.png"
    assert str(sheet) in text and cv2.imread(str(sheet)).std() > 20


def test_a_layout_that_is_refused_is_shown(tmp_path, capsys):
    for name in ("1.nii", "2.nii", "notes.txt"):
        (tmp_path / name).touch()
    code, text = checked(capsys, tmp_path)
    assert code == 1 and re.search(r"ending\n.nii +2\n.txt +1$", text, re.M)


def test_patients_in_several_splits_are_counted(tmp_path, capsys):
    noise = np.random.default_rng(0)
    names = [f"{split}/{name}/person{{}}.png" for split in ("train", "test") for name in "ab"]
    for k, name in enumerate(names):
        (tmp_path / name).parent.mkdir(parents=True)
        for number in range(10):
            file = tmp_path / name.format(5 * k + number)
            cv2.imwrite(str(file), noise.integers(0, 256, (24, 32), np.uint8))
    text = checked(capsys, tmp_path)[1]
    assert "\n25 groups of images (such as patients) are known; of these, 5 are in several splits." in text


def test_a_network_whose_head_is_random_gives_no_answers(tmp_path, capsys):
    models.save(models.build("resnet18", in_channels=1, num_classes=5, width=4), tmp_path)
    weights = ("--arch", "resnet18", "--weights", tmp_path / "model.safetensors")
    code, text = checked(capsys, "phantom", "--limit", 9, *weights)
    assert code == 1 and text.startswith("fc.weight, fc.bias would not be as trained") and "p_" not in text


def test_a_network_is_tried_on_ten_images(capsys):
    network = ("--arch", "resnet18", "--width", 4, "--layers", "[layer2.1, layer4.1]")
    code, text = checked(capsys, "phantom", "--limit=30", *network)
    test = data.subset(data.load("phantom", "test", limit=30), 10, 0)
    model = models.build("resnet18", in_channels=1, num_classes=3, width=4, size=48, seed=0)
    p = evaluation.predict(model, test.images)
    rows = re.findall(r"^ *\d +(\w+) +(\w+) +(\d\.\d+) +(\d\.\d+) +(\d\.\d+)$", text, re.M)
    assert code == 0 and text.startswith("phantom can be used as it is")
    assert [row[0] for row in rows] == [test.class_names[k] for k in test.labels]
    assert [row[1] for row in rows] == [test.class_names[k] for k in p.argmax(1)]
    np.testing.assert_allclose(np.array([row[2:] for row in rows], float), p, atol=6e-4)
    assert re.search(r"layer2.1 +24x24\n *layer4.1 +6x6", text)


class Broken(torch.nn.Module):
    def __init__(self, in_channels, num_classes):
        super().__init__()
        self.classes = num_classes

    def forward(self, x):
        return x.new_zeros(len(x), self.classes) if len(x) < 3 else 1 / 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nowhere/at/all", "dataset='nowhere/at/all': no file or folder"),
        ("phantom --size -1 --width x", "size=-1: it should be greater than or equal to 0\nwidth='x': "),
        ("phantom --limit 9 --layers [layer9]", "layers: unknown 'layer9'"),
        (f"phantom --limit 9 --arch {__name__}:Broken", "Network: ZeroDivisionError: "),
    ],
)
def test_what_is_refused_is_the_first_sentence(arguments, said, capsys):
    code, text = checked(capsys, *arguments.split())
    assert code == 1 and text.startswith(said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("phantom --epochs 0 --lr=1", "error: unrecognized arguments: --epochs 0 --lr=1"),
        ("phantom --lim 9", "error: unrecognized arguments: --lim 9"),
        ("--size 3", "error: the following arguments are required: dataset"),
    ],
)
def test_options_that_it_does_not_take_are_refused(arguments, said, capsys):
    with pytest.raises(SystemExit):
        checked(capsys, *arguments.split())
    assert said in capsys.readouterr().err
