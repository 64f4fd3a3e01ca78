"""The card of an exported network: what it takes, what its answer means, where it comes from."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from lungdet.errors import RunError

FORMAT_VERSION = 1
"""Raised whenever an older reader would misunderstand a card; cards of another version are refused."""

Task = Literal["candidate_classification", "malignancy", "segmentation", "image_classification"]
Layout = Literal["volume", "slices"]
Colours = Literal["grey", "RGB"]

INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment."
LICENCE = "The terms of the training data apply to the weights; the program that made this file is Apache-2.0."

PROBABILITY_OUTPUT = "probability"
"""Name of the second output of a classifier's graph, behind `outputs`."""


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """How the network is built again: a class below `lungdet.nets.` and its constructor arguments."""

    target: str
    arguments: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class InputSpec:
    """What the network takes: float32 [B, channels, D, H, W] (`volume`) or [B, slices, H, W] (`slices`).

    Attributes:
        layout: `volume` for crops or patches, `slices` for neighbouring axial slices, the wanted one in the middle.
        channels: of the tensor; for `slices` their number.
        crop_zyx_vox: voxels of a training sample; for `slices` (their number, H, W).
        size_divisor: None where the shape is exactly `crop_zyx_vox`; else height and width may be any multiple of this.
        plane: of the slices.
        spacing_zyx_mm: grid the network was trained on; None for the scan's own voxels.
        window_hu: HU are clipped to this range.
        scale: "unit" maps the window to [0, 1], "hu" keeps HU.
        border: "pad" fills crops that reach over the volume with air; they keep their centre.
    """

    layout: Layout
    channels: int
    crop_zyx_vox: tuple[int, int, int]
    size_divisor: int | None
    plane: str
    spacing_zyx_mm: tuple[float, float, float] | None
    window_hu: tuple[float, float]
    scale: Literal["unit", "hu"]
    border: Literal["pad", "shift"]

    def __post_init__(self) -> None:
        low, high = self.window_hu
        checks = {
            "layout": self.layout in get_args(Layout),
            "channels": self.channels >= 1,
            "crop_zyx_vox": min(self.crop_zyx_vox) >= 1,
            "size_divisor": self.size_divisor is None or self.size_divisor >= 1,
            "spacing_zyx_mm": self.spacing_zyx_mm is None or all(0 < s < math.inf for s in self.spacing_zyx_mm),
            "window_hu": -math.inf < low < high < math.inf,
            "scale": self.scale in ("unit", "hu"),
            "border": self.border in ("pad", "shift"),
        }
        _refuse_wrong(self, checks)

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of a training sample's tensor after the channels."""
        return self.crop_zyx_vox if self.layout == "volume" else self.crop_zyx_vox[1:]


@dataclass(frozen=True, kw_only=True)
class ImageInputSpec:
    """What a network for whole pictures takes: float32 [B, channels, H, W], grey values 0 to 255 divided by 255.

    Attributes:
        layout: `image`.
        channels: 1 for grey, 3 for RGB.
        colours: the same in words.
        size_hw: height and width, pixels.
        value_range: of what the network is given; normalisation is a part of the network.
        preparation: what happens to a file's pixels before, as data: the `to_dict` of
            `lungdet.store.image_preprocess.ImageSpec`, which `from_dict` takes.
        steps: all that happens to a file before, in words, in order.
        inside: what the network does itself, in words: nobody has to do it, and nobody must do it again.
    """

    layout: Literal["image"]
    channels: int
    colours: Colours
    size_hw: tuple[int, int]
    value_range: tuple[float, float]
    preparation: dict[str, Any]
    steps: tuple[str, ...]
    inside: tuple[str, ...]

    def __post_init__(self) -> None:
        checks = {
            "layout": self.layout == "image",
            "channels": self.channels == {"grey": 1, "RGB": 3}.get(self.colours),
            "size_hw": min(self.size_hw) >= 1 and list(self.preparation.get("size_hw", ())) == list(self.size_hw),
            "value_range": self.value_range == (0, 1),
        }
        _refuse_wrong(self, checks)

    @property
    def shape(self) -> tuple[int, int]:
        """Axes of the tensor after the channels."""
        return self.size_hw

    @property
    def size_divisor(self) -> None:
        """The size is fixed."""
        return None


def _refuse_wrong(spec: object, checks: Mapping[str, bool]) -> None:
    wrong = [f"{name}={getattr(spec, name)!r}" for name, right in checks.items() if not right]
    if wrong:
        raise RunError(f"the card's input is out of range: {', '.join(wrong)}; export the network again")


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the answer means.

    Attributes:
        channels: 2 for a softmax pair, 1 for one logit.
        per: one answer a `crop`, one an `image`, or one a `voxel` (of the middle slice for `slices`).
        class_names: the negative and the positive class.
        logit: how the logit of the positive class is computed from the outputs.
        probability: how a probability is computed from the logit.
    """

    channels: int
    per: Literal["crop", "image", "voxel"]
    class_names: tuple[str, str]
    logit: str
    probability: str

    def __post_init__(self) -> None:
        if self.per not in ("crop", "image", "voxel") or self.channels not in (1, 2):
            raise RunError(
                f"the card's output is out of range: per={self.per!r}, channels={self.channels!r}; export the network "
                "again"
            )


@dataclass(frozen=True, kw_only=True)
class FileEntry:
    """One file that holds the network.

    Attributes:
        file: its name, in the card's folder.
        sha256: of its bytes.
        n_bytes: its size.
        parity: largest absolute difference of outputs to the trained network, over how many inputs, and the tolerance;
            the same of the second output under `probability`.
    """

    file: str
    sha256: str
    n_bytes: int
    parity: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class NetworkCard:
    """Everything that a user of the files has to know. `training`, `metrics` and `software` are for people.

    Attributes:
        name: stem of the files.
        task: what the network was trained for.
        label_rule: how labels were made, where there is a choice.
        training: run, seed, split hash and rule, store fingerprint, git commit, versions.
        calibration: from the logit to a probability that can be read as a chance: `parameters` (with their method),
            `formula`, and the rows it was fitted on; None where there is none.
        second_output: name, meaning and formula of what graph files give behind their raw outputs, and whether it is
            calibrated; None where they give the raw outputs alone, and for weights alone.
        metrics: the run's headline numbers by partition, each with its interval; empty where none were computed.
        files: by format.
    """

    name: str
    task: Task
    network: NetworkSpec
    input: InputSpec | ImageInputSpec
    output: OutputSpec
    label_rule: str | None
    training: dict[str, Any]
    calibration: dict[str, Any] | None = None
    second_output: dict[str, Any] | None = None
    metrics: dict[str, Any]
    software: dict[str, Any]
    files: dict[str, FileEntry] = field(default_factory=dict)
    intended_use: str = INTENDED_USE
    licence: str = LICENCE
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise RunError(f"the card's task is {self.task!r}; known are {', '.join(get_args(Task))}")

    @property
    def ct_input(self) -> InputSpec:
        """The input of a network for CT.

        Raises:
            RunError: it takes pictures.
        """
        if not isinstance(self.input, InputSpec):
            raise RunError(f"{self.name} takes {self.input.colours} images, not CT; score them with lungdet predict")
        return self.input

    @property
    def image_input(self) -> ImageInputSpec:
        """The input of a network for pictures.

        Raises:
            RunError: it takes CT.
        """
        if not isinstance(self.input, ImageInputSpec):
            raise RunError(f"{self.name} was trained for {self.task} on CT; it takes no image files")
        return self.input

    @property
    def graph_outputs(self) -> tuple[str, ...]:
        """Names of what the graph files give, in their order; .pt2 and .ts.pt give a tuple where there are two."""
        return ("outputs",) if self.second_output is None else ("outputs", PROBABILITY_OUTPUT)

    def to_json(self) -> str:
        """Indented, in the order of the fields."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"
