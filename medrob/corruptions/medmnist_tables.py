"""MedMNIST-C: severities 1..5 of every corruption for each data set (Di Salvo et al. 2024), at 224 pixels.

Grey stays grey here. The authors' own files of grey sets were corrupted as RGB and turned into luminance
afterwards, so that their Gaussian noise has 0.67 of the sigma that the table names. Their code has severities
4 and 5 of black_corner the other way round.
"""

from medrob.corruptions.tables import TABLES, Levels

_CD = ("contrast_down", (0.9, 0.8, 0.7, 0.6, 0.4))
_CU = ("contrast_up", (1.1, 1.2, 1.3, 1.4, 1.6))
_J = ("jpeg_compression", (50, 30, 15, 10, 7))
_BU = ("brightness_up", (1.1, 1.2, 1.3, 1.4, 1.5))
_BD = ("brightness_down", (0.9, 0.8, 0.7, 0.6, 0.5))
_GAMMA_UP = ("gamma_corr_up", (1.1, 1.2, 1.3, 1.4, 1.6))
_GAMMA_DOWN = ("gamma_corr_down", (0.9, 0.8, 0.7, 0.6, 0.4))
_COARSE = ("pixelate", (0.3, 0.25, 0.2, 0.15, 0.1))
_SMOOTH = ("gaussian_blur", (3, 5, 7, 9, 11))
_RAYS = (  # chest radiographs
    _COARSE,
    _J,
    ("gaussian_noise", (0.04, 0.08, 0.12, 0.18, 0.26)),
    ("speckle_noise", (0.05, 0.15, 0.2, 0.35, 0.45)),
    ("impulse_noise", (0.01, 0.03, 0.06, 0.09, 0.17)),
    ("shot_noise", (60, 25, 18, 10, 5)),
    *(_SMOOTH, _BU, _BD, _CU, _CD, _GAMMA_UP, _GAMMA_DOWN),
)
_ORGAN = (
    ("pixelate", (0.7, 0.6, 0.5, 0.4, 0.35)),
    _J,
    ("gaussian_noise", (0.04, 0.08, 0.12, 0.16, 0.2)),
    ("speckle_noise", (0.05, 0.1, 0.2, 0.3, 0.4)),
    ("impulse_noise", (0.01, 0.02, 0.03, 0.05, 0.08)),
    ("shot_noise", (200, 100, 50, 25, 15)),
    ("gaussian_blur", (11, 13, 15, 17, 21)),
    ("brightness_up", (1.2, 1.3, 1.4, 1.5, 1.6)),
    ("brightness_down", (0.8, 0.75, 0.7, 0.65, 0.6)),
    ("contrast_up", (1.3, 1.4, 1.6, 1.7, 1.8)),
    ("contrast_down", (0.8, 0.7, 0.6, 0.55, 0.5)),
    ("gamma_corr_up", (1.3, 1.4, 1.6, 1.8, 2.0)),
    _GAMMA_DOWN,
)
MEDMNIST_C: dict[str, dict[str, Levels]] = {
    "pathmnist": dict(
        (
            ("pixelate", (0.8, 0.6, 0.4, 0.3, 0.25)),
            _J,
            ("defocus_blur", ((3, 0.1), (4, 0.1), (5, 0.2), (6, 0.2), (7, 0.3))),
            ("motion_blur", ((5, 5), (10, 5), (15, 5), (15, 8), (15, 12))),
            ("brightness_up", (1.1, 1.15, 1.2, 1.22, 1.25)),
            ("brightness_down", (0.85, 0.8, 0.75, 0.72, 0.7)),
            _CU,
            ("contrast_down", (0.8, 0.7, 0.6, 0.55, 0.5)),
            ("saturate", (0.05, 0.1, 0.15, 0.2, 0.25)),
            ("stain_deposit", ((1, 24), (2, 24), (3, 24), (4, 24), (5, 32))),
            ("bubble", ((7, 15), (10, 15), (12, 15), (15, 20), (17, 25))),
        )
    ),
    "bloodmnist": dict(
        (
            ("pixelate", (0.6, 0.5, 0.4, 0.3, 0.25)),
            _J,
            ("defocus_blur", ((2, 0.01), (3, 0.1), (4, 0.1), (5, 0.1), (6, 0.1))),
            ("motion_blur", ((3, 3), (5, 5), (10, 5), (10, 7), (10, 9))),
            ("brightness_up", (1.1, 1.2, 1.3, 1.35, 1.4)),
            _BD,
            ("contrast_up", (1.1, 1.15, 1.2, 1.25, 1.3)),
            ("contrast_down", (0.9, 0.8, 0.7, 0.6, 0.5)),
            ("saturate", (0.05, 0.1, 0.15, 0.17, 0.2)),
            ("stain_deposit", ((1, 24), (2, 24), (3, 24), (3, 24), (3, 32))),
            ("bubble", ((5, 10), (7, 10), (10, 10), (12, 12), (15, 12))),
        )
    ),
    "dermamnist": dict(
        (
            ("pixelate", (0.7, 0.5, 0.4, 0.3, 0.25)),
            ("jpeg_compression", (30, 20, 15, 10, 7)),
            ("gaussian_noise", (0.04, 0.08, 0.12, 0.18, 0.26)),
            ("speckle_noise", (0.05, 0.15, 0.2, 0.35, 0.45)),
            ("impulse_noise", (0.01, 0.03, 0.06, 0.09, 0.17)),
            ("shot_noise", (60, 25, 18, 10, 5)),
            ("defocus_blur", ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5))),
            ("motion_blur", ((10, 5), (15, 5), (15, 8), (15, 12), (20, 15))),
            ("zoom_blur", TABLES["zoom_blur"]["224"]),
            _BU,
            _BD,
            _CU,
            ("contrast_down", (0.8, 0.7, 0.6, 0.5, 0.4)),
            ("black_corner", (1.1, 1.05, 1.0, 0.95, 0.9)),
            ("characters", ((1, 6, 0.14), (2, 7, 0.15), (3, 8, 0.16), (4, 9, 0.17), (6, 10, 0.18))),
        )
    ),
    "retinamnist": dict(
        (
            ("pixelate", (0.8, 0.6, 0.5, 0.4, 0.35)),
            ("jpeg_compression", (30, 25, 20, 10, 5)),
            ("gaussian_noise", (0.04, 0.08, 0.12, 0.16, 0.2)),
            ("speckle_noise", (0.1, 0.15, 0.2, 0.25, 0.3)),
            ("defocus_blur", ((4, 0.1), (5, 0.2), (6, 0.3), (7, 0.4), (8, 0.5))),
            ("motion_blur", ((8, 5), (15, 5), (15, 8), (15, 12), (20, 15))),
            _BD,
            _CD,
        )
    ),
    "tissuemnist": dict(
        (
            ("pixelate", (0.4, 0.3, 0.2, 0.15, 0.1)),
            ("jpeg_compression", (25, 20, 15, 10, 7)),
            ("impulse_noise", (0.01, 0.015, 0.02, 0.025, 0.03)),
            ("gaussian_blur", (13, 15, 17, 21, 25)),
            ("brightness_up", (1.3, 1.4, 1.5, 1.6, 1.7)),
            ("brightness_down", (0.8, 0.7, 0.6, 0.5, 0.4)),
            _CU,
            _CD,
        )
    ),
    "octmnist": dict(
        (
            _COARSE,
            ("jpeg_compression", (30, 15, 10, 7, 5)),
            ("speckle_noise", (0.15, 0.3, 0.4, 0.5, 0.6)),
            ("defocus_blur", ((0.5, 0.6), (1, 0.5), (1.5, 0.1), (2, 0.5), (2.5, 0.1))),
            ("motion_blur", ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))),
            ("contrast_down", (0.6, 0.4, 0.3, 0.2, 0.15)),
        )
    ),
    "breastmnist": dict(
        (
            _COARSE,
            _J,
            ("speckle_noise", (0.1, 0.15, 0.2, 0.25, 0.3)),
            ("motion_blur", ((5, 5), (9, 7), (9, 10), (13, 10), (17, 12))),
            ("brightness_up", (1.4, 1.5, 1.6, 1.8, 2.0)),
            ("brightness_down", (0.55, 0.5, 0.45, 0.4, 0.3)),
            _CD,
        )
    ),
    "chestmnist": dict(_RAYS),
    "pneumoniamnist": {
        **dict(_RAYS),
        "pixelate": (0.8, 0.7, 0.6, 0.5, 0.4),
        "gaussian_noise": (0.04, 0.05, 0.06, 0.07, 0.08),
        "speckle_noise": (0.05, 0.07, 0.1, 0.15, 0.2),
        "impulse_noise": (0.005, 0.01, 0.013, 0.017, 0.02),
        "shot_noise": (300, 200, 150, 100, 80),
    },
    "organamnist": dict(_ORGAN),
    "organcmnist": dict(_ORGAN),
    "organsmnist": dict(_ORGAN),
}
