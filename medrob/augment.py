"""Augmentation of the training images: policies made of imgaug augmenters and of the corruptions."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from types import ModuleType
from typing import Any

import numpy as np

from medrob import corruptions

# imgaug expressions, as `policy` takes them. No mirror: the heart is on the left.
GEOMETRIC = (  # how a patient stands
    "iaa.Affine(scale=(0.92, 1.08), translate_percent={'x': (-0.08, 0.08), 'y': (-0.08, 0.08)}, "
    "rotate=(-10, 10), mode='edge')"
)
PHOTOMETRIC = (  # how the picture was exposed
    "iaa.Sequential([iaa.Multiply((0.8, 1.2)), iaa.LinearContrast((0.7, 1.3)), "
    "iaa.GammaContrast((0.7, 1.4))])"
)
# An operation of AugMix at severity 3, and a chain of one to three of them, drawn for each image.
OPERATION = (
    "iaa.OneOf([iaa.pillike.Autocontrast(), iaa.pillike.Equalize(), iaa.Posterize(nb_bits=(3, 4)), "
    "iaa.Rotate((-9, 9)), iaa.Solarize(1.0, threshold=(179, 255)), iaa.ShearX((-5, 5)), iaa.ShearY((-5, 5)), "
    "iaa.TranslateX(percent=(-0.1, 0.1)), iaa.TranslateY(percent=(-0.1, 0.1))])"
)
CHAIN = (
    f"iaa.Sequential([{OPERATION}, "
    f"iaa.Sometimes(2 / 3, iaa.Sequential([{OPERATION}, iaa.Sometimes(1 / 2, {OPERATION})]))])"
)
SYNTAX = (ast.Expression, ast.Load, ast.Call, ast.keyword, ast.Constant, ast.List, ast.Tuple, ast.Dict)
SUMS = (ast.BinOp, ast.UnaryOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.USub)


@dataclass(frozen=True)
class Policy:
    """What is done to the training images of a batch.

    Attributes:
        name: how it was asked for.
        views: how many pictures an epoch makes of every image; 1 but for "exhaustive".
    """

    name: str
    change: Callable[..., np.ndarray]
    views: int = 1

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, views: np.ndarray | None = None
    ) -> np.ndarray:
        """New images of the same shape, uint8 (N, H, W, C); `views` (N,) says which, None = any."""
        if self.views == 1:
            return self.change(images, rng)
        views = rng.integers(self.views, size=len(images)) if views is None else views
        return self.change(images, rng, views)


def _corruptions(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random corruption of the suite "thesis" at a random severity for each image (0 = clean)."""
    kinds = rng.integers(len(corruptions.names("thesis")), size=len(images))
    severities = rng.integers(6, size=len(images))
    return _exhaustive(images, rng, np.where(severities > 0, 5 * kinds + severities, 0))


def _mixed(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Geometric, then photometric, then corruptions."""
    for name in ("geometric", "photometric", "corruptions"):
        images = policy(name)(images, rng)
    return images


def _augmix(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """AugMix (Hendrycks et al. 2020), severity 3: a random mean of three chains, mixed with the image.

    The chains are those of the paper (nothing that is a corruption of the test); its consistency loss is not
    part of it.
    """
    weights = rng.dirichlet([1, 1, 1], len(images))
    share = rng.beta(1, 1, len(images))[:, None, None, None]
    chains = [_imgaug(_augmenter(CHAIN), images, rng) for _ in range(3)]
    mixed = np.einsum("nk,knhwc->nhwc", weights, np.stack(chains), dtype=float)
    return np.rint((1 - share) * images + share * mixed).astype(np.uint8)


def _exhaustive(images: np.ndarray, rng: np.random.Generator, views: np.ndarray) -> np.ndarray:
    """View 0 is the image; views 1 to 25 are the corruptions of the suite "thesis" at severities 1 to 5."""
    choices = corruptions.names("thesis")
    seed = int(rng.integers(2**31))
    result = images.copy()
    for view in np.unique(views[views > 0]).tolist():
        rows = np.flatnonzero(views == view)
        kind, severity = divmod(view - 1, 5)
        result[rows] = corruptions.corrupt(images[rows], choices[kind], severity + 1, seed=seed)
    return result


POLICIES: dict[str, str | Callable[..., np.ndarray]] = {
    "none": lambda images, rng: images,
    "geometric": GEOMETRIC,
    "photometric": PHOTOMETRIC,
    "corruptions": _corruptions,
    "mixed": _mixed,
    "augmix": _augmix,
    "exhaustive": _exhaustive,
}
VIEWS = {"exhaustive": 26}  # the image, and 5 corruptions x 5 severities of it


def names() -> tuple[str, ...]:
    """The names that `policy` takes."""
    return tuple(POLICIES)


def corruptions_of(name: str) -> tuple[str, ...]:
    """The corruptions that a policy applies."""
    return corruptions.names("thesis") if name in ("corruptions", "mixed", "exhaustive") else ()


def policy(name: str) -> Policy:
    """The policy of that name: ``policy("mixed")(images, np.random.default_rng(0))``.

    Args:
        name: one of `names()`, or an expression of imgaug's augmenters (``iaa``) and parameters (``iap``),
            such as ``"iaa.Sequential([iaa.Fliplr(0.5), iaa.GaussianBlur((0, 1.5))])"``.

    Raises:
        ValueError: an unknown name, or an expression that is anything but augmenters and numbers.
    """
    if not isinstance(name, str) or (name not in POLICIES and not name.strip().startswith("iaa.")):
        raise ValueError(
            f"augment={name!r} is unknown; the policies are {', '.join(POLICIES)}; or give an imgaug "
            "expression such as 'iaa.Fliplr(0.5)'"
        )
    change = POLICIES.get(name, name)
    if isinstance(change, str):
        change = partial(_imgaug, _augmenter(change.strip()))
    return Policy(name, change, VIEWS.get(name, 1))


@cache
def _augmenter(text: str) -> Any:
    """The augmenter that an expression makes; it can call nothing but what imgaug defines."""
    library = _library()
    try:
        tree = ast.parse(text, mode="eval")
        _check_syntax(tree)
        known = {"__builtins__": {}, "iaa": library.augmenters, "iap": library.parameters}
        augmenter = eval(compile(tree, "<augment>", "eval"), known)  # only what _check_syntax lets pass
        if not isinstance(augmenter, library.augmenters.Augmenter):
            raise ValueError(f"it gives a {type(augmenter).__name__}, not an augmenter")
    except Exception as error:  # imgaug raises many kinds on arguments that it does not know
        raise ValueError(f"augment={text!r} is no imgaug expression ({error})") from None
    return augmenter


def _check_syntax(tree: ast.AST) -> None:
    """Raise unless an expression holds calls of imgaug's classes, and plain values."""
    functions: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            _check_class(ast.unparse(node.func))
            functions |= set(ast.walk(node.func))
        if isinstance(node, ast.BinOp | ast.UnaryOp):
            for part in ast.walk(node):  # numbers alone: a repeated string could fill the memory
                if not isinstance(part, SUMS) and type(getattr(part, "value", None)) not in (int, float):
                    raise ValueError(f"{ast.unparse(node)} is no number")
        unpacked = (isinstance(node, ast.keyword) and node.arg is None) or None in getattr(node, "keys", [])
        if node not in functions and (unpacked or not isinstance(node, SYNTAX + SUMS)):
            raise ValueError(f"{ast.unparse(node)} is neither an augmenter nor a number")


def _check_class(path: str) -> None:
    """Raise unless a name such as ``iaa.pillike.Equalize`` is a class of imgaug's that draws or augments."""
    library = _library()
    start, *inner, name = path.split(".")
    found = {"iaa": library.augmenters, "iap": library.parameters}.get(start)
    kind = library.augmenters.Augmenter if start == "iaa" else library.parameters.StochasticParameter
    for part in inner:  # modules of imgaug's, and no others
        found = getattr(found, part, None)
        if not (isinstance(found, ModuleType) and found.__name__.startswith("imgaug.augmenters.")):
            found = None
    found = getattr(found, name, None)
    writes = name.startswith("SaveDebug")
    if not (isinstance(found, type) and issubclass(found, kind)) or writes:
        raise ValueError(f"{path} is none of imgaug's")


@cache
def _library() -> Any:
    """The module imgaug; the generator that it makes at first use draws from NumPy's, which is put back."""
    import imgaug

    state = np.random.get_state()  # noqa: NPY002
    imgaug.random.get_global_rng()
    np.random.set_state(state)  # noqa: NPY002
    return imgaug


def _imgaug(augmenter: Any, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Run a copy of an imgaug augmenter from a seed; the shared augmenter itself is left as it was.

    All augmenters inside it are seeded one by one: imgaug's own `seed_` misses one that is itself a list of
    children, such as a OneOf within a Sometimes, which would draw from imgaug's global generator.
    """
    augmenter, seed = copy.deepcopy(augmenter), int(rng.integers(2**31))
    try:
        for number, part in enumerate(_parts(augmenter)):
            part.seed_(seed + number, deterministic_too=True)
        changed = augmenter.augment_images(images)
    except Exception as error:  # imgaug raises many kinds on images that it does not take
        kind = "grey images; leave out what changes colours" if images.shape[-1] == 1 else "these images"
        raise ValueError(
            f"the augmentation cannot be made of {kind} ({type(error).__name__}: {error})"
        ) from error
    other = next((image.shape for image in changed if image.shape != images.shape[1:]), None)
    if other:
        raise ValueError(
            f"the augmentation makes images of {other} of {images.shape[1:]}; keep their size, keep_size=True"
        )
    return np.stack(list(changed))


def _parts(augmenter: Any) -> Iterator[Any]:
    """The augmenter and all inside it, outer ones first."""
    yield augmenter
    for children in augmenter.get_children_lists():
        # A Sequential is its own list of children; a OneOf within a Sometimes is one child.
        single = hasattr(children, "augment_images") and children is not augmenter
        for child in [children] if single else children:
            yield from _parts(child)
