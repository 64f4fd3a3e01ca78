"""What a phantom cohort is asked to be: sizes, oddities and how hard it should be to tell nodules from look-alikes."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from lungdet.errors import ConfigError

#: Raised whenever the same spec gives other bytes; part of the fingerprint, so cohorts of two versions never mix.
GENERATOR_VERSION = 1

_KNOBS = ("nodule_contrast", "noise_hu", "lookalike_fraction", "lookalike_elongation")


@dataclass(frozen=True)
class Difficulty:
    """The four quantities that decide how hard the candidates are, after `PhantomSpec.difficulty` is resolved.

    Attributes:
        nodule_contrast: 1 paints a nodule at the attenuation of its texture, 0.5 half-way back to lung.
        noise_hu: standard deviation of the noise in the middle of the body of an average scan.
        lookalike_fraction: share of the false candidates that sit on an object drawn to look like a nodule; the rest
            sit on ordinary anatomy.
        lookalike_elongation: mean ratio of the long to the short axis of those objects; 1 would be spheres, which
            nothing but their attachment tells from nodules.
    """

    nodule_contrast: float
    noise_hu: float
    lookalike_fraction: float
    lookalike_elongation: float


@dataclass(frozen=True)
class PhantomSpec:
    """Everything that decides the bytes of a cohort: the same spec gives the same files on any number of processes.

    Attributes:
        n_scans: series to make, >= 1.
        seed: >= 0.
        difficulty: 0 (easy) to 2 (hard); sets the four knobs below where they are None.
        shape_zyx: nominal voxels, each >= 32. The in-plane size is kept; the number of slices follows from the drawn
            slice distance, and equals shape_zyx[0] at 1 mm. A small shape is a miniature thorax: anatomy scales with
            the field of view, nodules keep their millimetres. (300, 512, 512) is an adult.
        nodules_per_scan: mean number among the series that have any, >= 1 (LUNA16: 2.0).
        nodule_free_fraction: share of patients without nodules, 0 to 0.9 (LUNA16: 0.32).
        candidates_per_scan: mean number of false candidates, 50 to 400.
        flipped_fraction: share with direction diag(-1, -1, 1), the patient prone (LUNA16: 0.016).
        oblique_fraction: share with an oblique direction matrix.
        padded_fraction: share with a circular field of view, -2048 or -3024 HU outside of it.
        patients_with_two_series: patients scanned twice, the two series in different subsets (LUNA16: 1); none in a
            cohort of fewer than four scans.
        nodule_contrast, noise_hu, lookalike_fraction, lookalike_elongation: see `Difficulty`; None follows
            `difficulty`.

    A share > 0 gives at least one such series from four scans on, so that a small cohort holds every oddity.

    Raises:
        ConfigError: lists every field that is out of range.
    """

    n_scans: int = 24
    seed: int = 0
    difficulty: float = 1.0
    shape_zyx: tuple[int, int, int] = (128, 160, 160)
    nodules_per_scan: float = 3.0
    nodule_free_fraction: float = 1 / 3
    candidates_per_scan: int = 100
    flipped_fraction: float = 0.02
    oblique_fraction: float = 0.08
    padded_fraction: float = 0.4
    patients_with_two_series: int = 1
    nodule_contrast: float | None = None
    noise_hu: float | None = None
    lookalike_fraction: float | None = None
    lookalike_elongation: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape_zyx", tuple(int(n) for n in self.shape_zyx))
        for field in dataclasses.fields(self):
            # One type per field, so that 1 and 1.0 make the same cohort and the same fingerprint.
            value = getattr(self, field.name)
            if field.type in ("float", "float | None") and isinstance(value, int):
                object.__setattr__(self, field.name, float(value))
        problems = [
            f"{name}: {getattr(self, name)!r} is not between {low} and {high}"
            for name, (low, high) in _RANGES.items()
            if getattr(self, name) is not None and not low <= getattr(self, name) <= high
        ]
        if len(self.shape_zyx) != 3 or min(self.shape_zyx) < 32:
            problems.append(f"shape_zyx: {self.shape_zyx} is not three sizes >= 32; try (128, 160, 160)")
        if 2 * self.patients_with_two_series > self.n_scans >= 4:
            problems.append(
                f"patients_with_two_series: {self.patients_with_two_series} need {2 * self.patients_with_two_series} "
                f"scans, n_scans is {self.n_scans}"
            )
        if problems:
            raise ConfigError(problems)

    @property
    def knobs(self) -> Difficulty:
        """The four quantities in force: those given, the rest from `difficulty`."""
        d = self.difficulty
        resolved = Difficulty(
            nodule_contrast=1.0 - 0.1 * d,
            noise_hu=8.0 + 12.0 * d,
            lookalike_fraction=0.06 + 0.16 * d,
            lookalike_elongation=3.6 - 0.7 * d,
        )
        given = {name: getattr(self, name) for name in _KNOBS if getattr(self, name) is not None}
        return dataclasses.replace(resolved, **given)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that decides the bytes."""
        text = json.dumps({"version": GENERATOR_VERSION, **self.to_dict()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `PhantomSpec.from_dict` gives an equal spec back."""
        return {**dataclasses.asdict(self), "shape_zyx": list(self.shape_zyx)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> PhantomSpec:
        """Inverse of `to_dict`."""
        return cls(**record)


_RANGES: dict[str, tuple[float, float]] = {
    "n_scans": (1, 100_000),
    "seed": (0, 2**63),
    "difficulty": (0.0, 2.0),
    "nodules_per_scan": (1.0, 10.0),
    "nodule_free_fraction": (0.0, 0.9),
    "candidates_per_scan": (50, 400),
    "flipped_fraction": (0.0, 1.0),
    "oblique_fraction": (0.0, 1.0),
    "padded_fraction": (0.0, 1.0),
    "patients_with_two_series": (0, 100),
    "nodule_contrast": (0.2, 1.5),
    "noise_hu": (0.0, 150.0),
    "lookalike_fraction": (0.0, 1.0),
    "lookalike_elongation": (1.2, 5.0),
}


def random_stream(spec: PhantomSpec, *key: int) -> np.random.Generator:
    """The generator of one purpose: independent of every other key and of the order in which scans are made."""
    return np.random.default_rng(np.random.SeedSequence(spec.seed, spawn_key=key))
