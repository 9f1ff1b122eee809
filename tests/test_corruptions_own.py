"""Corruptions of one's own: the decorator, dotted names, what is refused, and what a plan follows from."""

import subprocess
import sys

import numpy as np
import pytest

from medrob.corruptions import corrupt, corruption, describe, fingerprint, names, registry

PLAIN = '''
import numpy as np

def salt(images, severity, rng):
    """White pixels, more at each severity."""
    assert images.shape[0] == 1
    return np.where(rng.random(images.shape) < 0.05 * severity, 255, images).astype(np.uint8)

def larger(images, severity, rng):
    return np.repeat(images, 2, axis=1)

def shares(images, severity, rng):
    return images / 255

CONSTANT = 3
'''
DECORATED = """
import numpy as np
from medrob.corruptions import corruption
from helpers_of_mine import shifted

@corruption("photometric", source="Li 2020", severities=(10, 20, 30, 40, 50))
def lift(images, levels, draws):
    "Lift, and noise of one level."
    return shifted(images, levels + (draws.bits(images.shape[1:]) & 1))
"""
HELPERS = """
import numpy as np
import limits_of_mine

def shifted(images, levels):
    return np.minimum(images.astype(int) + levels, limits_of_mine.TOP).astype(np.uint8)
"""
LIMITS = "TOP = 255"


IMAGES = np.random.default_rng(0).integers(0, 200, (5, 28, 30, 1), dtype=np.uint8)


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """Modules of a student's in a folder on the path; afterwards all is as before."""
    modules = dict(plain_ones=PLAIN, decorated_ones=DECORATED, helpers_of_mine=HELPERS, limits_of_mine=LIMITS)
    modules["broken_ones"] = "1 / 0"
    modules["again"] = "from decorated_ones import lift"
    for name, text in modules.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_REGISTERED", dict(registry._REGISTERED))
    yield tmp_path
    for name in modules:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["plain_ones:salt", "decorated_ones:lift"])
def test_a_slice_of_the_result_is_the_result_of_the_slice(name):
    whole = corrupt(IMAGES, name, 3, seed=4, start=7)
    assert whole.dtype == np.uint8 and (whole != IMAGES).any()
    np.testing.assert_array_equal(corrupt(IMAGES[3:], name, 3, seed=4, start=10), whole[3:])
    assert (corrupt(IMAGES, name, 3, seed=5, start=7) != whole).any()
    assert corrupt(IMAGES[:0], name, 3).shape == (0, 28, 30, 1)


def test_another_process_makes_the_same_images_and_knows_dotted_names(mine):
    chosen = ("plain_ones:salt", "decorated_ones:lift", "glass_blur", "fog", *names("mri"))
    code = (
        "import sys, numpy as np; from medrob.corruptions import corrupt\n"
        "x = np.random.default_rng(0).integers(0, 200, (5, 28, 30, 1), dtype=np.uint8)\n"
        f"for name in {chosen}:\n"
        "    sys.stdout.buffer.write(corrupt(x, name, 4, seed=5, start=2).tobytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, cwd=mine)
    assert done.stdout == b"".join(corrupt(IMAGES, name, 4, seed=5, start=2).tobytes() for name in chosen)


def test_what_is_said_of_it_comes_from_the_decorator_or_claims_nothing():
    wanted = ["contrast", "plain_ones:salt", "decorated_ones:lift"]
    assert names(wanted, channels=1) == tuple(wanted)
    plain, decorated = describe("plain_ones:salt"), describe("decorated_ones:lift")
    assert (plain.group, plain.source) == ("own", "own")
    assert plain.summary == "White pixels, more at each severity."
    assert plain.parameters == {"224": (1, 2, 3, 4, 5)}
    assert (decorated.name, decorated.source) == ("decorated_ones:lift", "Li 2020")
    assert decorated.parameters == {"224": (10, 20, 30, 40, 50)}
    assert (corrupt(IMAGES, "again:lift", 3) == corrupt(IMAGES, "decorated_ones:lift", 3)).all()
    assert "lift" not in names("all")  # which is the same in every process


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_module:salt", "'no_such_module:salt' cannot be imported.*PYTHONPATH"),
        ("plain_ones:slat", "has no attribute 'slat'"),
        ("plain_ones:CONSTANT", "is a int, and must be a function"),
        ("broken_ones:salt", r"cannot be imported \(ZeroDivisionError"),
    ],
)
def test_a_wrong_module_or_function_is_refused(name, message):
    with pytest.raises(ValueError, match=message):
        names(["contrast", name])


def test_another_shape_or_dtype_and_a_table_of_three_are_refused():
    for name in ("plain_ones:larger", "plain_ones:shares"):
        with pytest.raises(ValueError, match=rf"{name}' made .*; it must return uint8 of the same shape"):
            corrupt(IMAGES, name, 1)
    with pytest.raises(ValueError, match="must be five"):
        corruption(severities=(1, 2, 3))(lambda images, level, draws: images)


def test_a_corruption_follows_from_all_files_that_it_needs_and_from_no_others(mine):
    def plan(*wanted: str) -> str:
        for module in ("decorated_ones", "helpers_of_mine", "limits_of_mine"):
            sys.modules.pop(module, None)
        for name in [name for name in registry._REGISTERED if ":" in name]:
            del registry._REGISTERED[name]  # as in another process
        return fingerprint(wanted)

    thesis, lift = plan(*names("thesis")), plan("decorated_ones:lift")
    (mine / "decorated_ones.py").write_text(DECORATED.replace("50)", "500)"))
    assert plan("decorated_ones:lift") != lift and plan(*names("thesis")) == thesis
    (mine / "decorated_ones.py").write_text(DECORATED)
    assert plan("decorated_ones:lift") == lift
    (mine / "plain_ones.py").write_text(PLAIN + "# other words")
    assert plan("decorated_ones:lift") == lift
    (mine / "limits_of_mine.py").write_text("TOP = 254")
    assert plan("decorated_ones:lift") != lift and plan(*names("thesis")) == thesis
