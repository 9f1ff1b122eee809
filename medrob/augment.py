"""Augmentation of the training images: policies made of imgaug augmenters and of the corruptions."""

import ast
import copy
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from importlib import import_module
from typing import Any

import numpy as np
from numpy.random import Generator

from medrob import corruptions

Array = np.ndarray
# An operation of AugMix at severity 3, and a chain of one to three of them, drawn for each image.
OPERATION = (
    "iaa.OneOf([iaa.pillike.Autocontrast(), iaa.pillike.Equalize(), iaa.Posterize(nb_bits=(3, 4)), "
    "iaa.Rotate((-9, 9)), iaa.Solarize(1.0, threshold=(179, 255)), iaa.ShearX((-5, 5)), iaa.ShearY((-5, 5)), "
    "iaa.TranslateX(percent=(-0.1, 0.1)), iaa.TranslateY(percent=(-0.1, 0.1))])"
)
MORE = f"iaa.Sometimes(2 / 3, iaa.Sequential([{OPERATION}, iaa.Sometimes(1 / 2, {OPERATION})]))"
CHAIN = f"iaa.Sequential([{OPERATION}, {MORE}])"
SUMS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


@dataclass(frozen=True)
class Policy:
    """What is done to the training images of a batch; an epoch makes `views` pictures of every image."""

    name: str
    change: Callable[..., Array]
    views: int = 1

    def __call__(self, images: Array, rng: Generator, views: Array | None = None) -> Array:
        """New images of the same shape, uint8 (N, H, W, C); `views` (N,) says which, None = any."""
        return self.change(images, rng, views)


def _corruptions(images: Array, rng: Generator, _: Array | None = None) -> Array:
    kinds = rng.integers(len(corruptions.names("thesis")), size=len(images))
    severities = rng.integers(6, size=len(images))
    return _exhaustive(images, rng, np.where(severities > 0, 5 * kinds + severities, 0))


def _mixed(images: Array, rng: Generator, _: Array | None = None) -> Array:
    for name in ("geometric", "photometric", "corruptions"):
        images = policy(name)(images, rng)
    return images


def _augmix(images: Array, rng: Generator, _: Array | None = None) -> Array:
    """AugMix (Hendrycks et al. 2020), severity 3, without its consistency loss."""
    weights = rng.dirichlet([1, 1, 1], len(images))
    share = rng.beta(1, 1, len(images))[:, None, None, None]
    chains = [_imgaug(_augmenter(CHAIN), images, rng) for _ in range(3)]
    mixed = np.einsum("nk,knhwc->nhwc", weights, np.stack(chains), dtype=float)
    return np.rint((1 - share) * images + share * mixed).astype(np.uint8)


def _exhaustive(images: Array, rng: Generator, views: Array | None = None) -> Array:
    """View 0 is the image; views 1 to 25 are the corruptions of the suite "thesis" at severities 1 to 5."""
    conditions = corruptions.grid(corruptions.names("thesis"))
    views = rng.integers(len(conditions), size=len(images)) if views is None else views
    seed = int(rng.integers(2**31))
    result = images.copy()
    for view in np.unique(views[views > 0]).tolist():
        rows = np.flatnonzero(views == view)
        result[rows] = corruptions.corrupt(images[rows], *conditions[view], seed=seed)
    return result


POLICIES: dict[str, str | Callable[..., Array]] = {
    "none": lambda images, rng, views: images,
    # How a patient stands (no mirror: the heart is on the left), and how the picture was exposed.
    "geometric": "iaa.Affine(scale=(0.92, 1.08), translate_percent={'x': (-0.08, 0.08), 'y': (-0.08, 0.08)}, "
    "rotate=(-10, 10), mode='edge')",
    "photometric": "iaa.Sequential([iaa.Multiply((0.8, 1.2)), iaa.LinearContrast((0.7, 1.3)), "
    "iaa.GammaContrast((0.7, 1.4))])",
    "corruptions": _corruptions,
    "mixed": _mixed,
    "augmix": _augmix,
    "exhaustive": _exhaustive,
}


def names() -> tuple[str, ...]:
    """The names that `policy` takes."""
    return tuple(POLICIES)


def corruptions_of(name: str) -> tuple[str, ...]:
    """The corruptions that a policy applies."""
    return corruptions.names("thesis") if name in ("corruptions", "mixed", "exhaustive") else ()


def policy(name: str) -> Policy:
    """The policy of that name: ``policy("mixed")(images, np.random.default_rng(0))``.

    Or one of an expression of imgaug's augmenters (``iaa``) and parameters (``iap``), such as
    ``"iaa.Sequential([iaa.Fliplr(0.5), iaa.GaussianBlur((0, 1.5))])"``; a ValueError for anything else.
    """
    change = POLICIES.get(name, name.strip())
    if isinstance(change, str):
        if not change.startswith("iaa."):
            known = f"the policies are {', '.join(POLICIES)}; or give an imgaug expression"
            raise ValueError(f"augment={name!r} is unknown; {known} such as 'iaa.Fliplr(0.5)'")
        change = partial(_imgaug, _augmenter(change))
    return Policy(name, change, 26 if name == "exhaustive" else 1)


@cache
def _augmenter(text: str) -> Any:
    """The augmenter that an expression makes; it can call nothing but what imgaug defines."""
    state = np.random.get_state()  # noqa: NPY002  imgaug's generator draws from NumPy's when it is made
    try:
        augmenter = _value(ast.parse(text, mode="eval").body)
        if not hasattr(augmenter, "augment_images"):
            raise ValueError(f"it gives a {type(augmenter).__name__}, not an augmenter")
    except Exception as error:  # imgaug raises many kinds on arguments that it does not know
        raise ValueError(f"augment={text!r} is no imgaug expression ({error})") from None
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return augmenter


def _value(node: Any) -> Any:
    match node:
        case ast.Call(function, arguments, keywords):
            named: dict[Any, Any] = {keyword.arg: _value(keyword.value) for keyword in keywords}
            return _class(ast.unparse(function))(*map(_value, arguments), **named)
        case ast.List(parts) | ast.Tuple(parts):
            return (list if isinstance(node, ast.List) else tuple)(map(_value, parts))
        case ast.Dict(keys, values):
            return dict(zip(map(_value, keys), map(_value, values), strict=True))
        case ast.UnaryOp(ast.USub(), number):
            return -_value(number)
        case ast.BinOp(ast.Constant(int() | float() as a), sign, ast.Constant(int() | float() as b)):
            return SUMS[type(sign)](a, b)
        case ast.Constant(value):
            return value
    raise ValueError(f"{ast.unparse(node)} is neither an augmenter nor a number")


def _class(path: str) -> type:
    """What a name such as ``iaa.pillike.Equalize`` stands for: a class of imgaug's that draws or augments."""
    from imgaug import augmenters, parameters

    start, *inner, name = path.split(".")
    module = ".".join(["imgaug", {"iaa": "augmenters", "iap": "parameters"}.get(start, "?"), *inner])
    found = getattr(import_module(module), name)
    if not issubclass(found, (augmenters.Augmenter, parameters.StochasticParameter)) or "SaveDebug" in name:
        raise ValueError(f"{path} is none of imgaug's")
    return found


def _imgaug(augmenter: Any, images: Array, rng: Generator, _: Array | None = None) -> Array:
    """Run a copy of an imgaug augmenter from a seed; the shared augmenter itself is left as it was."""
    augmenter, seed = copy.deepcopy(augmenter), int(rng.integers(2**31))
    try:
        for number, part in enumerate(_parts(augmenter)):  # imgaug's own `seed_` misses a list of children
            part.seed_(seed + number, deterministic_too=True)
        changed = augmenter.augment_images(images)
    except Exception as error:  # imgaug raises many kinds on images that it does not take
        kind = "grey images; leave out what changes colours" if images.shape[-1] == 1 else "these images"
        told = f"the augmentation cannot be made of {kind} ({type(error).__name__}: {error})"
        raise ValueError(told) from error
    for other in {image.shape for image in changed} - {images.shape[1:]}:
        told = f"the augmentation makes images of {other} of {images.shape[1:]}"
        raise ValueError(f"{told}; keep their size, keep_size=True")
    return np.stack(list(changed))


def _parts(augmenter: Any) -> Iterator[Any]:
    yield augmenter
    for children in augmenter.get_children_lists():
        # A Sequential is its own list of children; a OneOf within a Sometimes is one child.
        single = hasattr(children, "augment_images") and children is not augmenter
        for child in [children] if single else children:
            yield from _parts(child)
