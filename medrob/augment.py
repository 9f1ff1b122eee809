"""Augmentation of the training images: policies made of imgaug augmenters and of the corruptions."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np

from medrob import corruptions


def _none(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The images as they are."""
    return images


def _geometric(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shift up to 8 %, turn up to 10 degrees, scale 92-108 %: how a patient stands. No mirror: the heart."""
    return _imgaug(_geometric_augmenter(), images, rng)


def _photometric(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Brightness, contrast and gamma: how the picture was exposed."""
    return _imgaug(_photometric_augmenter(), images, rng)


def _corruptions(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A random corruption of the suite "thesis" at a random severity for each image (0 = clean)."""
    choices = corruptions.names("thesis")
    kinds = rng.integers(len(choices), size=len(images))
    severities = rng.integers(6, size=len(images))
    seed = int(rng.integers(2**31))
    result = images.copy()
    for kind, severity in {*zip(kinds.tolist(), severities.tolist(), strict=True)}:
        rows = np.flatnonzero((kinds == kind) & (severities == severity))
        if severity:
            result[rows] = corruptions.corrupt(images[rows], choices[kind], severity, seed=seed)
    return result


def _mixed(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Geometric, then photometric, then corruptions."""
    return _corruptions(_photometric(_geometric(images, rng), rng), rng)


def _augmix(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """AugMix (Hendrycks et al. 2020), severity 3: a random mean of three chains, mixed with the image.

    The chains are those of the paper (nothing that is a corruption of the test); its consistency loss is not
    part of it.
    """
    weights = rng.dirichlet([1, 1, 1], len(images))
    share = rng.beta(1, 1, len(images))[:, None, None, None]
    chains = [_imgaug(_augmix_augmenter(), images, rng) for _ in range(3)]
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


class Policy:
    """What is done to the training images of a batch.

    Attributes:
        name: how it was asked for.
        views: how many pictures an epoch makes of every image; 1 but for "exhaustive".
    """

    def __init__(self, name: str, apply: Callable[..., np.ndarray], views: int = 1) -> None:
        self.name, self.views, self._apply = name, views, apply

    def __call__(
        self, images: np.ndarray, rng: np.random.Generator, views: np.ndarray | None = None
    ) -> np.ndarray:
        """New images of the same shape, uint8 (N, H, W, C); `views` (N,) says which, None = any."""
        if self.views == 1:
            return self._apply(images, rng)
        views = rng.integers(self.views, size=len(images)) if views is None else views
        return self._apply(images, rng, views)


POLICIES: dict[str, tuple[Callable[..., np.ndarray], int]] = {
    "none": (_none, 1),
    "geometric": (_geometric, 1),
    "photometric": (_photometric, 1),
    "corruptions": (_corruptions, 1),
    "mixed": (_mixed, 1),
    "augmix": (_augmix, 1),
    "exhaustive": (_exhaustive, 26),  # the image, and 5 corruptions x 5 severities of it
}


SUMS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


def names() -> tuple[str, ...]:
    """The names that `policy` takes."""
    return tuple(POLICIES)


def policy(name: str) -> Policy:
    """The policy of that name: ``policy("mixed")(images, np.random.default_rng(0))``.

    Args:
        name: one of `names()`, or an expression of imgaug's augmenters (``iaa``) and parameters (``iap``),
            such as ``"iaa.Sequential([iaa.Fliplr(0.5), iaa.GaussianBlur((0, 1.5))])"``.

    Raises:
        ValueError: an unknown name, or an expression that is anything but augmenters and numbers.
    """
    if name in POLICIES:
        return Policy(name, *POLICIES[name])
    if not isinstance(name, str) or not name.strip().startswith("iaa."):
        raise ValueError(
            f"augment={name!r} is unknown; the policies are {', '.join(POLICIES)}; or give an imgaug "
            "expression such as 'iaa.Fliplr(0.5)'"
        )
    augmenter = _expression(name.strip())
    return Policy(name, lambda images, rng: _imgaug(augmenter, images, rng))


def _expression(text: str) -> Any:
    """The augmenter that an expression makes; it can call nothing but what imgaug defines."""
    iaa, iap = _library().augmenters, _library().parameters
    known = {"iaa": (iaa, iaa.Augmenter), "iap": (iap, iap.StochasticParameter)}

    def named(node: ast.Attribute) -> Any:
        """The class under a name such as ``iaa.Fliplr`` or ``iaa.pillike.Equalize``."""
        start, *path = ast.unparse(node).split(".")
        found, kind = known.get(start, (None, object))
        for inner in path[:-1]:  # modules of imgaug's, and no others
            found = getattr(found, inner, None)
            if not (isinstance(found, ModuleType) and found.__name__.startswith("imgaug.augmenters.")):
                found = None
        found = getattr(found, path[-1], None)
        writes = path[-1].startswith("SaveDebug")
        if not (isinstance(found, type) and issubclass(found, kind)) or start not in known or writes:
            raise ValueError(f"{ast.unparse(node)} is none of imgaug's")
        return found

    def value(node: ast.AST) -> Any:
        match node:
            case ast.Call(func=ast.Attribute() as called):
                kind = named(called)
                if any(k.arg is None for k in node.keywords):
                    raise ValueError("write the arguments themselves instead of **")
                options = {str(k.arg): value(k.value) for k in node.keywords}
                return kind(*map(value, node.args), **options)
            case ast.List(elts=items):
                return [value(item) for item in items]
            case ast.Dict(keys=keys, values=values) if all(keys):
                return {value(k): value(v) for k, v in zip(keys, values, strict=True) if k}
            case ast.Tuple(elts=items):
                return tuple(value(item) for item in items)
            case ast.UnaryOp(op=ast.USub(), operand=ast.BinOp() as inner):
                return -value(inner)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in SUMS:
                sides = value(left), value(right)
                if all(isinstance(side, (int, float)) for side in sides):
                    return SUMS[type(op)](*sides)
        try:
            return ast.literal_eval(ast.unparse(node))
        except ValueError:
            raise ValueError(f"{ast.unparse(node)} is neither an augmenter nor a number") from None

    try:
        augmenter = value(ast.parse(text, mode="eval").body)
    except Exception as error:  # imgaug raises many kinds on arguments that it does not know
        raise ValueError(f"augment={text!r} is no imgaug expression ({error})") from None
    if not isinstance(augmenter, iaa.Augmenter):
        raise ValueError(f"augment={text!r} gives a {type(augmenter).__name__}, not an augmenter")
    return augmenter


@cache
def _library() -> Any:
    """The module imgaug; the generator that it makes at first use draws from NumPy's, which is put back."""
    import imgaug

    state = np.random.get_state()  # noqa: NPY002
    imgaug.random.get_global_rng()
    np.random.set_state(state)  # noqa: NPY002
    return imgaug


@cache
def _geometric_augmenter() -> Any:
    iaa = _library().augmenters
    shift = {"x": (-0.08, 0.08), "y": (-0.08, 0.08)}
    return iaa.Affine(scale=(0.92, 1.08), translate_percent=shift, rotate=(-10, 10), mode="edge")


@cache
def _photometric_augmenter() -> Any:
    iaa = _library().augmenters
    return iaa.Sequential(
        [iaa.Multiply((0.8, 1.2)), iaa.LinearContrast((0.7, 1.3)), iaa.GammaContrast((0.7, 1.4))]
    )


@cache
def _augmix_augmenter() -> Any:
    """A chain of one to three operations (AugMix at severity 3), drawn for each image."""
    iaa = _library().augmenters
    move = {"percent": (-0.1, 0.1)}
    kinds = (
        *(iaa.pillike.Autocontrast, iaa.pillike.Equalize, lambda: iaa.Posterize(nb_bits=(3, 4))),
        *(lambda: iaa.Rotate((-9, 9)), lambda: iaa.Solarize(1.0, threshold=(179, 255))),
        *(lambda: iaa.ShearX((-5, 5)), lambda: iaa.ShearY((-5, 5))),
        *(lambda: iaa.TranslateX(**move), lambda: iaa.TranslateY(**move)),
    )

    def one() -> Any:
        return iaa.OneOf([kind() for kind in kinds])

    deeper = iaa.Sometimes(1 / 2, one())
    return iaa.Sequential([one(), iaa.Sometimes(2 / 3, iaa.Sequential([one(), deeper]))])


def _imgaug(augmenter: Any, images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Run an imgaug augmenter from a seed; the shared augmenter itself is left as it was."""
    from medrob.corruptions.imgaug_bridge import seeded

    try:
        changed = seeded(augmenter, int(rng.integers(2**31))).augment_images(images)
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
