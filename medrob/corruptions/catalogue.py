"""Which corruptions exist, what each does to whom, and which suites they form."""

import difflib
import inspect
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medrob.corruptions import (
    blur,
    ct,
    digital,
    microscopy,
    mri,
    noise,
    photometric,
    ultrasound,
    weather,
    xray,
)
from medrob.corruptions.draws import Draws
from medrob.corruptions.medmnist_tables import MEDMNIST_C
from medrob.corruptions.tables import ARTEFACTS, IMAGENET_C, IMAGENET_C_EXTRA, TABLES, Levels

Function = Callable[[NDArray[np.uint8], Any, Draws], NDArray[np.uint8]]

HENDRYCKS = "Hendrycks & Dietterich 2019"
DI_SALVO = "Di Salvo et al. 2024"


@dataclass(frozen=True)
class Corruption:
    """What `describe` returns: one corruption and its severity tables.

    parameters: severities 1..5 at each scale ("224", "64", "32") for which a table was published; at the
    others, and wherever there is one table only, lengths in the "224" table are multiplied by size / 224.
    `key` names the random numbers: corruptions that share a key draw the same field. `colour` marks those
    that need RGB.
    """

    name: str
    group: str
    modalities: tuple[str, ...]
    parameters: Mapping[str, Levels]
    source: str
    summary: str
    key: str
    function: Function
    colour: bool = False

    @property
    def text(self) -> str:
        """What it does, what its parameters mean, and where it comes from, in full."""
        return (inspect.getdoc(self.function) if inspect.isfunction(self.function) else None) or self.summary


def _entry(
    name: str,
    function: Function,
    group: str,
    parameters: Mapping[str, Levels],
    modalities: tuple[str, ...] = ("any",),
    source: str = HENDRYCKS,
    key: str = "",
    colour: bool = False,
) -> Corruption:
    summary = (function.__doc__ or "").strip().split("\n")[0]
    return Corruption(
        name, group, modalities, parameters, source, summary, key or function.__name__, function, colour
    )


# name: (function, group, needs RGB)
_IMAGENET: dict[str, tuple[Function, str, bool]] = {
    "gaussian_noise": (noise.gaussian_noise, "noise", False),
    "shot_noise": (noise.shot_noise, "noise", False),
    "impulse_noise": (noise.impulse_noise, "noise", False),
    "speckle_noise": (noise.speckle_noise, "noise", False),
    "defocus_blur": (blur.defocus_blur, "blur", False),
    "glass_blur": (blur.glass_blur, "blur", False),
    "motion_blur": (blur.motion_blur, "blur", False),
    "zoom_blur": (blur.zoom_blur, "blur", False),
    "gaussian_blur": (blur.gaussian_blur, "blur", False),
    "snow": (weather.snow, "weather", False),
    "frost": (weather.frost, "weather", False),
    "fog": (weather.fog, "weather", False),
    "spatter": (weather.spatter, "weather", False),
    "brightness": (photometric.brightness, "photometric", False),
    "contrast": (photometric.contrast, "photometric", False),
    "saturate": (photometric.saturate, "photometric", True),
    "elastic_transform": (digital.elastic_transform, "digital", False),
    "pixelate": (digital.pixelate, "digital", False),
    "jpeg_compression": (digital.jpeg_compression, "digital", False),
}
# what MedMNIST-C does under a name of its own, or differently
_MEDMNIST: dict[str, tuple[Function, str, bool]] = {
    "brightness_up": (photometric.enhance_brightness, "photometric", False),
    "brightness_down": (photometric.enhance_brightness, "photometric", False),
    "contrast_up": (photometric.enhance_contrast, "photometric", False),
    "contrast_down": (photometric.enhance_contrast, "photometric", False),
    "gamma_corr_up": (photometric.gamma, "photometric", False),
    "gamma_corr_down": (photometric.gamma, "photometric", False),
    "saturate": (photometric.saturate_more, "photometric", True),
    "gaussian_blur": (blur.kernel_blur, "blur", False),
    "stain_deposit": (microscopy.stain_deposit, "artefact", False),
    "bubble": (microscopy.bubble, "artefact", False),
    "black_corner": (microscopy.black_corner, "artefact", False),
    "characters": (microscopy.characters, "artefact", False),
}
_ARTEFACTS: dict[str, tuple[Function, str]] = {
    "bias_field": (mri.bias_field, "Van Leemput et al. 1999"),
    "ghosting": (mri.ghosting, "Haacke & Patrick 1986"),
    "kspace_motion": (mri.kspace_motion, "Batchelor et al. 2005"),
    "kspace_spike": (mri.kspace_spike, "Heiland 2008"),
    "rician_noise": (mri.rician_noise, "Gudbjartsson & Patz 1995"),
    "ring_artefact": (ct.ring_artefact, "Sijbers & Postnov 2004"),
    "low_dose": (ct.low_dose, "Leuschner et al. 2021"),
    "beam_hardening": (ct.beam_hardening, "Brooks & Di Chiro 1976"),
    "metal_streaks": (ct.metal_streaks, "De Man et al. 1999"),
    "ultrasound_speckle": (ultrasound.ultrasound_speckle, "Burckhardt 1978"),
    "acoustic_shadow": (ultrasound.acoustic_shadow, "Kremkau & Taylor 1986"),
    "depth_gain": (ultrasound.depth_gain, "Hughes & Duck 1997"),
    "exposure": (xray.exposure, "Hurter & Driffield 1890"),
    "grid_lines": (xray.grid_lines, "Lin et al. 2006"),
    "scatter_fog": (xray.scatter_fog, "Boone & Seibert 1988"),
    "quantum_noise": (xray.quantum_noise, "Cohen et al. 1981"),
    "stain_shift": (microscopy.stain_shift, "Ruifrok & Johnston 2001; Tellez et al. 2018"),
    "vignetting": (microscopy.vignetting, "Kang & Weiss 2000"),
}
_MODALITIES = {
    "pathmnist": "histology",
    "bloodmnist": "blood microscopy",
    "dermamnist": "dermoscopy",
    "retinamnist": "fundus photography",
    "tissuemnist": "kidney microscopy",
    "octmnist": "optical coherence tomography",
    "breastmnist": "ultrasound",
    "chestmnist": "chest X-ray",
    "pneumoniamnist": "chest X-ray",
    "organamnist": "abdominal CT",
    "organcmnist": "abdominal CT",
    "organsmnist": "abdominal CT",
}


def _built_in() -> dict[str, Corruption]:
    entries = [
        _entry(name, function, group, TABLES[name], colour=colour)
        for name, (function, group, colour) in _IMAGENET.items()
    ]
    for suite, table in ARTEFACTS.items():
        for name, levels in table.items():
            function, source = _ARTEFACTS[name]
            colour = name == "stain_shift"
            entries.append(
                _entry(name, function, "artefact", {"224": levels}, (suite,), source, colour=colour)
            )
    for data, own in MEDMNIST_C.items():
        for name, levels in own.items():
            function, group, colour = (_IMAGENET | _MEDMNIST)[name]
            entries.append(
                _entry(
                    f"{data}/{name}",
                    function,
                    group,
                    {"224": levels},
                    (_MODALITIES[data],),
                    DI_SALVO,
                    name,
                    colour,
                )
            )
    for name in ("bubble", "stain_deposit"):  # also on their own, with PathMNIST's table
        published = {"224": MEDMNIST_C["pathmnist"][name]}
        entries.append(_entry(name, _MEDMNIST[name][0], "artefact", published, ("microscopy",), DI_SALVO))
    return {entry.name: entry for entry in entries}


CATALOGUE: dict[str, Corruption] = _built_in()  # `register` adds to it
BUILT_IN = frozenset(CATALOGUE)


SUITES: dict[str, tuple[str, ...]] = {
    "thesis": ("gaussian_noise", "speckle_noise", "motion_blur", "contrast", "brightness"),
    "imagenet-c": IMAGENET_C,
    "imagenet-c-extra": IMAGENET_C_EXTRA,
    "mri": tuple(ARTEFACTS["mri"]),
    "ct": tuple(ARTEFACTS["ct"]),
    "ultrasound": tuple(ARTEFACTS["ultrasound"]),
    "xray": tuple(ARTEFACTS["xray"]),
    "microscopy": ("stain_shift", "bubble", "stain_deposit", "defocus_blur", "vignetting"),
    **{f"medmnist-c:{data}": tuple(f"{data}/{n}" for n in table) for data, table in MEDMNIST_C.items()},
}


def suites() -> tuple[str, ...]:
    """The names of the suites that `names` takes."""
    return tuple(SUITES)


def names(suite: str = "thesis", *, channels: int | None = None) -> tuple[str, ...]:
    """The corruptions of a suite, in its order, as names that `corrupt` takes.

    Args:
        suite: one of `suites()`, "all" for everything that has no table of its own data set, or
            "registered" for what `register` added.
        channels: 1 leaves out those that exist only in colour, with a warning that names them.

    Raises:
        ValueError: unknown suite or number of channels.
    """
    also = {
        "all": [n for n in CATALOGUE if "/" not in n],
        "registered": [n for n in CATALOGUE if n not in BUILT_IN],
    }
    if not isinstance(suite, str):
        raise TypeError(f"suite is {suite!r}, but must be a string, one of suites()")
    if suite not in also | SUITES:
        raise ValueError(
            f"unknown suite {suite!r}{nearest(suite, SUITES)}; known: {', '.join([*also, *SUITES])}"
        )
    if channels not in (None, 1, 3) or isinstance(channels, bool):
        raise ValueError(f"channels is {channels!r}, but must be 1 (grey), 3 (RGB) or None")
    chosen = tuple((also | SUITES)[suite])
    colour = [name for name in chosen if CATALOGUE[name].colour]
    if channels == 1 and colour:
        warnings.warn(f"left out for grey images, RGB only: {', '.join(colour)}", stacklevel=2)
        chosen = tuple(name for name in chosen if name not in colour)
    return chosen


def describe(name: str) -> Corruption:
    """Group, modalities, parameters per scale and severity, and source of a corruption.

    Raises:
        TypeError, ValueError: a name that is no string or not known.
    """
    if not isinstance(name, str):
        raise TypeError(f"name is {name!r}, but must be a string such as 'gaussian_noise'")
    if name not in CATALOGUE:
        raise ValueError(
            f"unknown corruption {name!r}{nearest(name, CATALOGUE)}; "
            "medrob.corruptions.names(suite) lists them, suites() the suites"
        )
    return CATALOGUE[name]


def nearest(word: str, known: Mapping[str, Any]) -> str:
    """', did you mean ...?' for the known word closest to this one, or nothing."""
    close = difflib.get_close_matches(str(word), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""
