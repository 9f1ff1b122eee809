"""Pictures and tables on disk, as users have them, and how they are loaded."""

import cv2
import numpy as np
import pytest

from medrob import data
from medrob.data import load
from medrob.files import cache


def picture(seed=0, side=16, colours=1, dtype=np.uint8):
    rng = np.random.default_rng(seed)
    image = rng.integers(0, np.iinfo(dtype).max, (side, side, colours), endpoint=True).astype(dtype)
    return image[..., 0] if colours == 1 else image


def put(file, image):
    file.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(file), image)
    return file


def splits(source, **options):
    return data.load_splits(str(source), *data.SPLITS, **options)


def refuse(source, match, **options):
    with pytest.raises(ValueError, match=match):
        load(str(source), **options)
    assert not list(cache().glob("*.npy"))


def table(tmp_path, frame, name="own.csv"):
    file = tmp_path / name
    frame.to_parquet(file) if name.endswith("parquet") else frame.to_csv(file, index=False)
    return str(file)
