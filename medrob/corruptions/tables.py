"""Severity tables: the numbers, and nothing else.

TABLES holds, for each corruption, the parameters of severities 1..5 at the scales where they were published:
"224" Hendrycks & Dietterich (2019), ImageNet-C; "64" Tiny-ImageNet-C; "32" CIFAR-10-C (the same authors).
The physical artefacts have tables of ours, graded by eye and by image distance. What the numbers mean is said
by the corruption's function.
"""

from typing import Any

Levels = tuple[Any, Any, Any, Any, Any]

TABLES: dict[str, dict[str, Levels]] = {
    "gaussian_noise": {
        "224": (0.08, 0.12, 0.18, 0.26, 0.38),
        "64": (0.04, 0.08, 0.12, 0.15, 0.18),
        "32": (0.04, 0.06, 0.08, 0.09, 0.10),
    },
    "shot_noise": {
        "224": (60, 25, 12, 5, 3),
        "64": (250, 100, 50, 30, 15),
        "32": (500, 250, 100, 75, 50),
    },
    "impulse_noise": {
        "224": (0.03, 0.06, 0.09, 0.17, 0.27),
        "64": (0.01, 0.02, 0.05, 0.08, 0.14),
        "32": (0.01, 0.02, 0.03, 0.05, 0.07),
    },
    "defocus_blur": {
        "224": ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        "64": ((0.5, 0.6), (1, 0.1), (1.5, 0.1), (2.5, 0.01), (3, 0.1)),
        "32": ((0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)),
    },
    "glass_blur": {
        "224": ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)),
        "32": ((0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)),
    },
    "motion_blur": {
        "224": ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)),
        "64": ((10, 1), (10, 1.5), (10, 2), (10, 2.5), (12, 3)),
        "32": ((6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)),
    },
    "zoom_blur": {
        "224": ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03)),
        "32": ((1.06, 0.01), (1.11, 0.01), (1.16, 0.01), (1.21, 0.01), (1.26, 0.01)),
    },
    "snow": {
        "224": (
            (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
            (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
            (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
            (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
            (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
        ),
        "32": (
            (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
            (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
            (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
            (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
            (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
        ),
    },
    "frost": {  # the third number is ours: CIFAR-10-C shrinks its photographs to a fifth
        "224": ((1, 0.4, 1), (0.8, 0.6, 1), (0.7, 0.7, 1), (0.65, 0.7, 1), (0.6, 0.75, 1)),
        "32": ((1, 0.2, 0.2), (1, 0.3, 0.2), (0.9, 0.4, 0.2), (0.85, 0.4, 0.2), (0.75, 0.45, 0.2)),
    },
    "fog": {
        "224": ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)),
        "32": ((0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)),
    },
    "brightness": {
        "224": (0.1, 0.2, 0.3, 0.4, 0.5),
        "32": (0.05, 0.1, 0.15, 0.2, 0.3),
    },
    "contrast": {
        "224": (0.4, 0.3, 0.2, 0.1, 0.05),
        "32": (0.75, 0.5, 0.4, 0.3, 0.15),
    },
    "elastic_transform": {
        "224": (
            (488.0, 170.8, 24.4),
            (488.0, 19.52, 48.8),
            (12.2, 2.44, 4.88),
            (17.08, 2.44, 4.88),
            (29.28, 2.44, 4.88),
        ),
        "32": (
            (0.0, 0.0, 2.56),
            (1.6, 6.4, 2.24),
            (2.56, 1.92, 1.92),
            (3.2, 1.28, 1.6),
            (3.2, 0.96, 0.96),
        ),
    },
    "pixelate": {
        "224": (0.6, 0.5, 0.4, 0.3, 0.25),
        "64": (0.9, 0.8, 0.7, 0.6, 0.5),
        "32": (0.95, 0.9, 0.85, 0.75, 0.65),
    },
    "jpeg_compression": {
        "224": (25, 18, 15, 10, 7),
        "64": (65, 58, 50, 40, 25),
        "32": (80, 65, 58, 50, 40),
    },
    "speckle_noise": {
        "224": (0.15, 0.2, 0.35, 0.45, 0.6),
        "64": (0.15, 0.2, 0.25, 0.3, 0.35),
        "32": (0.06, 0.1, 0.12, 0.16, 0.2),
    },
    "gaussian_blur": {
        "224": (1, 2, 3, 4, 6),
        "64": (0.5, 0.75, 1, 1.25, 1.5),
        "32": (0.4, 0.6, 0.7, 0.8, 1),
    },
    "spatter": {
        "224": (
            (0.65, 0.3, 4, 0.69, 0.6, 0),
            (0.65, 0.3, 3, 0.68, 0.6, 0),
            (0.65, 0.3, 2, 0.68, 0.5, 0),
            (0.65, 0.3, 1, 0.65, 1.5, 1),
            (0.67, 0.4, 1, 0.65, 1.5, 1),
        ),
        "32": (
            (0.62, 0.1, 0.7, 0.7, 0.5, 0),
            (0.65, 0.1, 0.8, 0.7, 0.5, 0),
            (0.65, 0.3, 1, 0.69, 0.5, 0),
            (0.65, 0.1, 0.7, 0.69, 0.6, 1),
            (0.65, 0.1, 0.5, 0.68, 0.6, 1),
        ),
    },
    "saturate": {
        "224": ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)),
        "32": ((0.3, 0), (0.1, 0), (1.5, 0), (2, 0.1), (2.5, 0.2)),
    },
}

IMAGENET_C = (
    *("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur"),
    *("zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate"),
    "jpeg_compression",
)
IMAGENET_C_EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")

ARTEFACTS: dict[str, dict[str, Levels]] = {
    "mri": {
        "bias_field": (0.2, 0.35, 0.5, 0.7, 0.95),
        "ghosting": (0.15, 0.3, 0.5, 0.75, 1.0),
        "kspace_motion": (0.004, 0.008, 0.014, 0.022, 0.032),
        "kspace_spike": (0.03, 0.06, 0.1, 0.15, 0.22),
        "rician_noise": (0.04, 0.07, 0.11, 0.16, 0.22),
    },
    "ct": {
        "ring_artefact": (0.08, 0.15, 0.24, 0.36, 0.5),
        "low_dose": (16000, 7000, 3000, 1400, 700),
        "beam_hardening": (0.06, 0.12, 0.2, 0.3, 0.42),
        "metal_streaks": (2.0, 3.5, 5.0, 7.0, 9.5),
    },
    "ultrasound": {
        "ultrasound_speckle": (0.15, 0.3, 0.5, 0.75, 1.0),
        "acoustic_shadow": (0.25, 0.4, 0.55, 0.75, 0.95),
        "depth_gain": (3, 6, 9, 14, 20),
    },
    "xray": {
        "exposure": (0.25, 0.5, 0.75, 1.0, 1.3),
        "grid_lines": (0.05, 0.09, 0.14, 0.21, 0.3),
        "scatter_fog": (0.25, 0.5, 0.9, 1.5, 2.5),
        "quantum_noise": (4000, 1600, 700, 300, 130),
    },
    "microscopy": {
        "stain_shift": (0.04, 0.08, 0.13, 0.19, 0.26),
        "vignetting": (0.4, 0.6, 0.8, 1.0, 1.3),
    },
}

# Tables whose image distance does not grow strictly from each severity to the next, on radiographs or on RGB
# textures: published so, and kept so. Corruption: the scales at which that shows.
NOT_MONOTONE: dict[str, tuple[str, ...]] = {
    "glass_blur": ("224", "32"),  # fewer iterations, or a smaller sigma, at a higher severity
    "motion_blur": ("32",),  # (6, 2) and (8, 2) differ only beyond six sigma
    "snow": ("224",),  # severity 3 raises the threshold
    "frost": ("224", "32"),  # the image's weight falls, and with it the mean brightness
    "spatter": ("224", "32"),  # fewer drops at 2 and 3, then mud instead of water
    "saturate": ("224", "32"),  # 1 and 2 take colour away, 3 to 5 add it
    "elastic_transform": ("224", "32"),  # wide waves at 1 and 2, narrow ones from 3 on
    "pathmnist/motion_blur": ("224",),  # (10, 5) and (15, 5) differ only beyond four sigma
    "dermamnist/motion_blur": ("224",),
    "bloodmnist/stain_deposit": ("224",),  # severities 3 and 4 are the same
}
