"""The parameters of the notebooks: the one place where they are judged.

Notebooks (`medrob.stage.begin`), study files and ``snakemake --config`` all go through `mistakes`. What only
another room can list (suites, methods) is named by ``"module:function"``, and looked up when a parameter
differs from its default.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from pkgutil import resolve_name
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, model_validator
from pydantic.functional_validators import AfterValidator, BeforeValidator


def accepted(source: str) -> AfterValidator:
    """Allow what a function ``"module:function"`` takes without a ValueError."""

    def check(value: Any) -> Any:
        try:
            resolve_name(source)(value)
        except (TypeError, OSError) as error:  # pydantic gathers ValueErrors alone
            raise ValueError(str(error)) from None
        return value

    return AfterValidator(check)


def _suite(value: str | list[str], info: ValidationInfo) -> str | list[str]:
    """The suite "auto" becomes that of the data set: a record says which it was."""
    return resolve_name("medrob.corruptions:suite_of")(value, info.data.get("dataset", ""))


def _names_or_all(value: str | list[str]) -> str | list[str]:
    if isinstance(value, list):
        return different(value)
    if value != "all":
        raise ValueError("give 'all', or a list such as ['layer4.1']")
    return value


def different(values: list[Any]) -> list[Any]:
    """The values, if there are some and each is there once."""
    if not values or len({*map(repr, values)}) < len(values):
        raise ValueError("the list is empty or names one twice")
    return values


def _indices(value: int | list[int]) -> int | list[int]:
    indices = different(value) if isinstance(value, list) else [value]
    if min(indices) < 0:
        raise ValueError("give a number of images, 0 for all, or a list of indices such as [3, 17]")
    return value


def _whole(value: Any) -> Any:
    # True == 1 == 1.0: a Literal takes all of them, and so does an int that is not strict.
    if isinstance(value, bool | float):
        raise ValueError("give a whole number")
    return value


# Mean and spread in shares of 255.
NORMALISE: dict[str, tuple[Any, Any]] = {
    "half": (0.5, 0.5),
    "imagenet": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
}


def scale(normalise: Any) -> tuple[Any, Any]:
    """Mean and spread, in shares of 255, that `normalise` of notebook 02 means; of "auto" None twice."""
    if isinstance(normalise, str) and normalise in ("auto", *NORMALISE):
        return NORMALISE.get(normalise, (None, None))
    if not isinstance(normalise, str) and len(normalise) == 2:
        low, high = normalise
        means, spreads = (value if isinstance(value, list | tuple) else [value] for value in normalise)
        numbers = [*means, *spreads]
        if all(isinstance(n, int | float) and math.isfinite(n) for n in numbers):
            if all(0 <= n <= 1 for n in means) and all(0 < n <= 1 for n in spreads):
                return low, high
            if len(numbers) == 2 and low <= 0 < high:
                return -low / (high - low), 1 / (high - low)
    raise ValueError(
        f"normalise={normalise!r}: give 'auto', 'half', 'imagenet', [mean, std] in shares of 255 such as "
        "[0.48, 0.23], or what black and white become, such as [-1024, 1024]"
    )


Device = Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")]
Count = Annotated[int, BeforeValidator(_whole), Field(ge=0)]
Positive = Annotated[int, BeforeValidator(_whole), Field(ge=1)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
RunName = Annotated[str, accepted("medrob.run:Run")]
Suite = Annotated[str | list[str], AfterValidator(_suite), accepted("medrob.corruptions:names")]
Names = Annotated[list[str], AfterValidator(different)]
Change = Literal["noise", "shift", "flip", "contrast"]
CAMS = ["gradcam", "gradcam++", "hirescam", "xgradcam", "layercam"]


class Parameters(BaseModel):
    """Exact types, no unknown names, no change afterwards. The text below a parameter is its help."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True, use_attribute_docstrings=True)


class OfRun(Parameters):
    """Every notebook but the last."""

    run: RunName = "demo"
    "name of the run: its folder is data/runs/<run>"


class Augment(OfRun):
    """Notebook 01_augment."""

    dataset: Annotated[str, accepted("medrob.data:find")] = "phantom"
    '"phantom", a MedMNIST name, or a path: an .npz, a folder of class folders, a table'
    size: Count = 0
    "side of the images in pixels; 0: the set's own (phantom 48, MedMNIST 28)"
    limit: Count = 0
    "at most so many images of each split, every class in proportion; 0: all"
    suite: Suite = Field("auto", validate_default=True)
    '''which corruptions: "auto" (phantom: "thesis", five; MedMNIST: MedMNIST-C's own; else the 19 of
    ImageNet-C, 18 if grey), another of medrob.corruptions.suites(), or a list of names;
    your own: "package.module:function"'''
    channels: Annotated[Literal[0, 1, 3], BeforeValidator(_whole)] = 0
    "of image files: 1 makes all grey, 3 RGB; 0: RGB if most show colours, else grey"
    group: str = ""
    """what keeps images in one split: a column of a table, "file name" (the number of whom it shows),
    "folder" (in class folders); "": columns are found by their usual names"""
    label: str = ""
    'columns of a table that hold the labels, separated by commas; "": found by their usual names'
    uncertain: Literal["", "zeros", "ones", "drop"] = ""
    'what -1 in a table of labels becomes: "zeros", "ones", "drop" (no image); blanks become 0'
    seed: Count = 0
    "of the phantom, the noise, splits that are made and the choice of images"


class Network(OfRun):
    """What notebook 02_train trains."""

    arch: str = "resnet14"
    'one of medrob.models.architectures(), "timm:name", or your "package.module:function"'
    stem: Literal["small", "torchvision", "auto"] = "small"
    'of the ResNets: "small" (3x3, stride 1), "torchvision" (7x7, stride 2, pooling) or "auto"'
    width: Count = 16
    "of the ResNets: channels of the first stage; 64: as published; 16 learns in minutes"
    weights: str = ""
    """"": random; "DEFAULT" or another name of torchvision's; a .safetensors or a state_dict"""
    normalise: Annotated[str | list[Any], accepted("medrob.config:scale")] = "auto"
    """grey levels: "auto" (as for the weights, if known), "half" (by 0.5), "imagenet", [mean, std] in shares
    of 255 (numbers, or a list each, one a channel; two numbers from 0 to 1 are always this), or what black
    and white become, such as [-1024, 1024]"""


class Recipe(Parameters):
    """How it is trained."""

    epochs: Count = 8
    "at most so many passes over the training images; 0: none, the network is judged as it comes"
    batch_size: Annotated[int, Field(ge=2)] = 32  # batch norm needs two
    "images a step"
    optimizer: Literal["adamw", "adam", "sgd"] = "adamw"
    '"adamw", "adam" or "sgd" (Nesterov momentum 0.9)'
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.005
    "highest learning rate"
    schedule: Literal["cosine", "step", "constant"] = "cosine"
    '"cosine" (to zero), "step" (a tenth after 50 % and 75 % of the epochs) or "constant"'
    weight_decay: Amount = 0.0001
    'decoupled for "adamw", an L2 penalty else'
    class_weights: Literal["none", "balanced"] = "none"
    '"balanced": rare classes weigh more in the loss'
    precision: Literal["mixed", "float32"] = "mixed"
    '"mixed": bfloat16 on GPUs that have it; "float32": never'
    augment: Annotated[str, accepted("medrob.augment:policy")] = "none"
    'one of medrob.augment.names(), or your own augmenter or function, "package.module:name"'
    monitor: Literal["auc", "loss"] = "auc"
    'which epoch is kept: highest validation "auc" or lowest validation "loss"'
    patience: Count = 4
    "stop after so many epochs without a better one; 0: never"


class Train(Recipe, Network):  # in the order of the notebook: pydantic begins with the last base
    """Notebook 02_train."""

    seed: Count = 0
    "of the first weights, the order of the images and the augmentation"
    device: Device = "auto"
    '"auto", "cpu", "cuda" or "mps"'

    @model_validator(mode="after")
    def _can_be_built(self) -> Self:
        if not (self.epochs or self.weights or self.own):
            advice = "give its weights=, or as arch your own function that loads them"
            raise ValueError(f"epochs=0 takes a network that has been trained; {advice}")
        fields = type(self).model_fields
        if any(getattr(self, name) != fields[name].default for name in ("arch", "stem", "weights")):
            resolve_name("medrob.models:check_choice")(self)
        return self

    @property
    def own(self) -> bool:
        """Whether the network is made by code of the user's."""
        return ":" in self.arch.removeprefix("timm:")

    @property
    def form(self) -> dict[str, Any]:
        """Stem and width; those that are left at their defaults are the weights', if there are any."""
        given = {"stem": self.stem, "width": self.width}
        usual = {name: type(self).model_fields[name].default for name in given}
        of_weights = {"stem": "auto", "width": 0}
        return {k: of_weights[k] if self.weights and v == usual[k] else v for k, v in given.items()}


class Test(OfRun):
    """Notebook 03_test."""

    batch_size: Positive = 256
    "images a pass"
    resamples: Count = 2000
    "of the bootstrap; 0: no intervals"
    positive: str = ""
    'the class that an alarm is for, against all others; "": the second'
    device: Device = "auto"
    '"auto", "cpu", "cuda" or "mps"'


class Heatmaps(OfRun):
    """Notebook 04_heatmaps."""

    methods: Annotated[Names, accepted("medrob.saliency:check_methods")] = CAMS
    "of medrob.saliency.names()"
    layers: Annotated[str | list[str], AfterValidator(_names_or_all)] = "all"
    '"all": every block, or a list such as ["layer4.1"]'
    images: Annotated[int | list[int], AfterValidator(_indices)] = 40
    "how many images of each class; 0: all; or a list of indices such as [3, 17]"
    select: Literal["random", "correct", "wrong"] = "random"
    'which of them: "random", "correct" or "wrong" (as predicted when clean)'
    target: str = "predicted"
    'the class explained: "predicted" (for the clean image), "label" or a class name'
    samples: Positive = 10
    "noisy copies or steps, for the methods that need several (integrated gradients: at least 50)"
    channels: Count = 0
    "how many channels of a layer the score CAMs weigh; 0: all"
    changes: Annotated[list[Change], AfterValidator(different)] = ["noise", "shift", "flip", "contrast"]
    "under which a map should be steady: of drift.CHANGES"
    checked: Count = 5
    "images of each class for the checks of trust; 0: all that were chosen"
    seed: Count = 0
    "of the choice of images, the noise of methods and the checks"
    batch_size: Positive = 64
    "images a pass; memory grows with it"
    device: Device = "auto"
    '"auto", "cpu", "cuda" or "mps"'


class Analysis(Parameters):
    """Notebook 05_analysis."""

    runs: Names = ["demo"]
    "the first one is analysed and written to; all are compared side by side at the end"
    results: str = ""
    'name of the folder that is written to; "": that of the first run'
    textwidth: Annotated[int, BeforeValidator(_whole), Field(ge=100, le=2000)] = 418
    "width of the figures in points, as LaTeX prints it for \\the\\textwidth"


STAGES: dict[str, type[Parameters]] = {
    "01_augment": Augment,
    "02_train": Train,
    "03_test": Test,
    "04_heatmaps": Heatmaps,
    "05_analysis": Analysis,
}


def judge(stage: str, values: Mapping[str, Any]) -> Parameters:
    """The parameters of a stage, with the defaults of those that are not given.

    Raises:
        ValueError: every mistake at once, a line each: what came, what is allowed, the nearest known name.
    """
    if problems := list(mistakes(STAGES[stage], values)):
        raise ValueError(f"{stage}: " + "\n  ".join(text for _, text in problems))
    return STAGES[stage](**values)


def mistakes(model: type[BaseModel], values: Mapping[str, Any]) -> Iterable[tuple[str | None, str]]:
    """What is wrong with values for a model: pairs of a parameter (None: of several) and a sentence.

    What does not go together is looked for when each value is right by itself.
    """
    fields = model.model_fields
    # A default is right as it is; leaving it out saves the imports that looking up a choice costs.
    usual = {name: repr(field.default) for name, field in fields.items()}
    other = {name: value for name, value in values.items() if repr(value) != usual.get(name)}
    try:
        model(**other)
    except ValidationError as error:
        told = set[str | None]()  # one mistake gives an error for each kind of value that is allowed
        for problem in error.errors(include_url=False):
            name = str(problem["loc"][0]) if problem["loc"] else None
            if name not in told:
                yield name, _sentence(name or "", problem, model, other.get(name or ""))
            told.add(name)


def first_error(error: Exception) -> str:
    """An error, or the first of pydantic's and where it is: ``stages.02_train.files: Input should ...``."""
    if not isinstance(error, ValidationError):
        return str(error)
    problem = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}".removeprefix(": ")


def _sentence(name: str, problem: Mapping[str, Any], model: type[BaseModel], value: Any) -> str:
    """An error of pydantic, with the parameter and what came."""
    if problem["type"] == "extra_forbidden":
        return f"unknown parameter {name!r}{nearest([name], model.model_fields)}"
    if problem["type"] == "value_error":
        text = str(problem["ctx"]["error"])  # which another room may have begun with the parameter's name
        return text if not name or text.startswith(f"{name}=") else f"{name}={value!r}: {text}"
    return f"{name}={value!r}: {problem['msg'].replace('Input', 'it').replace('String', 'it')}"


def nearest(unknown: Iterable[str], names: Iterable[str]) -> str:
    """``; did you mean 'epochs'? Known are ...``"""
    names = [str(name) for name in names]
    near = [n for item in unknown for n in difflib.get_close_matches(str(item), names, 1)]
    hint = f"; did you mean {', '.join(map(repr, near))}?" if near else "."
    return f"{hint} Known: {', '.join(names)}"
