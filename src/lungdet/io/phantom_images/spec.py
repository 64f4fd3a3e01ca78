"""What a collection of simulated 2-D images is asked to be."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lungdet.errors import ConfigError

#: Raised whenever the same spec gives other bytes; part of what a folder is known by.
GENERATOR_VERSION = 1

LAYOUTS = ("kaggle", "pcam")


@dataclass(frozen=True, kw_only=True)
class ImagePhantomSpec:
    """What both collections are asked; the same spec gives the same bytes.

    Attributes:
        n_images: labelled images of all partitions together, 20 to 100,000.
        seed: >= 0.
        difficulty: 0 (a lesion is plain) to 2 (it hardly stands out).

    Raises:
        ConfigError: lists every field that is out of range.
    """

    n_images: int = 240
    seed: int = 0
    difficulty: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "difficulty", float(self.difficulty))
        if problems := self.problems():
            raise ConfigError(problems)

    def problems(self) -> list[str]:
        """What is out of range, a sentence each."""
        limits = {"n_images": (20, 100_000), "seed": (0, 2**63 - 1), "difficulty": (0, 2)}
        return [
            f"{name}: {getattr(self, name)!r} is not between {low} and {high}"
            for name, (low, high) in limits.items()
            if not low <= getattr(self, name) <= high
        ]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the version of the generator."""
        fields = {name: list(v) if isinstance(v, tuple) else v for name, v in dataclasses.asdict(self).items()}
        return {"kind": type(self).__name__, "version": GENERATOR_VERSION, **fields}


@dataclass(frozen=True, kw_only=True)
class ChestXrayPhantomSpec(ImagePhantomSpec):
    """Chest X-rays in Kermany's layout.

    Attributes:
        n_images, seed, difficulty: see `ImagePhantomSpec`.
        size_hw: mean height and width, each 48 to 2048 pixels; single images differ by up to 15 %.
        pneumonia_fraction: share of the images, 0.2 to 0.8.
        framed_fraction: share with a dark frame on some sides, 0 to 1.
    """

    size_hw: Sequence[int] = (96, 128)
    pneumonia_fraction: float = 0.6
    framed_fraction: float = 0.2

    def __post_init__(self) -> None:
        object.__setattr__(self, "size_hw", tuple(int(n) for n in self.size_hw))
        super().__post_init__()

    def problems(self) -> list[str]:
        """What is out of range, a sentence each."""
        problems = super().problems()
        if len(self.size_hw) != 2 or not all(48 <= n <= 2048 for n in self.size_hw):
            problems.append(f"size_hw: {list(self.size_hw)} must be a height and a width from 48 to 2048; try [96,128]")
        if not 0.2 <= self.pneumonia_fraction <= 0.8:
            problems.append(f"pneumonia_fraction: {self.pneumonia_fraction!r} is not between 0.2 and 0.8")
        if not 0 <= self.framed_fraction <= 1:
            problems.append(f"framed_fraction: {self.framed_fraction!r} is not between 0 and 1")
        return problems


@dataclass(frozen=True, kw_only=True)
class HistopathologyPhantomSpec(ImagePhantomSpec):
    """Patches of 96 x 96 pixels in Kaggle's layout or in PCam's HDF5 files.

    Attributes:
        n_images, seed, difficulty: see `ImagePhantomSpec`.
        tumor_fraction: share of the patches, 0.2 to 0.8.
        n_slides: slides, each with a stain of its own, 2 (`pcam`: 6) to n_images.
        n_unlabelled: patches in test/, >= 0; Kaggle's layout only.
        layout: `kaggle` or `pcam`.
    """

    tumor_fraction: float = 0.4
    n_slides: int = 12
    n_unlabelled: int = 16
    layout: Literal["kaggle", "pcam"] = "kaggle"

    def problems(self) -> list[str]:
        """What is out of range, a sentence each."""
        problems = super().problems()
        if not 0.2 <= self.tumor_fraction <= 0.8:
            problems.append(f"tumor_fraction: {self.tumor_fraction!r} is not between 0.2 and 0.8")
        # PCam's partitions are of whole slides, and none of the three may be empty.
        fewest = 6 if self.layout == "pcam" else 2
        if not fewest <= self.n_slides <= self.n_images:
            problems.append(f"n_slides: {self.n_slides} is not between {fewest} and n_images={self.n_images}")
        if self.n_unlabelled < 0:
            problems.append(f"n_unlabelled: {self.n_unlabelled} must be >= 0")
        if self.layout not in LAYOUTS:
            problems.append(f"layout: {self.layout!r} must be one of {', '.join(LAYOUTS)}")
        return problems
