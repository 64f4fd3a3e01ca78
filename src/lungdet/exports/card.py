"""The card of an exported network: what it takes, what its answer means, where it comes from. JSON, parsed strictly."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

from lungdet.errors import MissingFileError, RunError

FORMAT_VERSION = 1
"""Raised whenever an older reader would misunderstand a card; cards of another version are refused."""

Task = Literal["candidate_classification", "malignancy", "segmentation"]
Layout = Literal["volume", "slices"]

INTENDED_USE = "Research use only. Not a medical device; not for diagnosis or treatment."
LICENCE = "The terms of the training data apply to the weights; the program that made this file is Apache-2.0."

PROBABILITY_OUTPUT = "probability"
"""Name of the second output of a classifier's graph, behind `outputs`."""

T = TypeVar("T")


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
        wrong = [f"{name}={getattr(self, name)!r}" for name, right in checks.items() if not right]
        if wrong:
            raise RunError(f"the card's input is out of range: {', '.join(wrong)}; export the network again")

    @property
    def shape(self) -> tuple[int, ...]:
        """Axes of a training sample's tensor after the channels."""
        return self.crop_zyx_vox if self.layout == "volume" else self.crop_zyx_vox[1:]


@dataclass(frozen=True, kw_only=True)
class OutputSpec:
    """What the answer means.

    Attributes:
        channels: 2 for a softmax pair, 1 for one logit.
        per: one answer a `crop`, or one a `voxel` (of the middle slice for `slices`).
        class_names: the negative and the positive class.
        logit: how the logit of the positive class is computed from the outputs.
        probability: how a probability is computed from the logit.
    """

    channels: int
    per: Literal["crop", "voxel"]
    class_names: tuple[str, str]
    logit: str
    probability: str


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
    input: InputSpec
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
    def graph_outputs(self) -> tuple[str, ...]:
        """Names of what the graph files give, in their order; .pt2 and .ts.pt give a tuple where there are two."""
        return ("outputs",) if self.second_output is None else ("outputs", PROBABILITY_OUTPUT)

    def to_json(self) -> str:
        """Indented, in the order of the fields."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False) + "\n"


def read_card(path: Path) -> NetworkCard:
    """Read a card.

    Raises:
        MissingFileError: no such file.
        RunError: not JSON, another version, or a field that is missing, unknown or of another type.
    """
    if not path.is_file():
        raise MissingFileError(f"no card at {path}: copy the .json file that was exported beside the network, too")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}): copy it again, or export the network again") from error
    if not isinstance(record, dict) or not isinstance(record.get("format_version"), int):
        raise RunError(f"{path} is not the card of an exported network: it has no format_version")
    if record["format_version"] != FORMAT_VERSION:
        raise RunError(
            f"{path} has format_version {record['format_version']}, this lungdet reads {FORMAT_VERSION}: use the "
            "lungdet that exported it, or export it again with this one"
        )
    try:
        return _parse_card(record)
    except _WrongFieldError as error:
        raise RunError(f"{path}: {error}; export the network again") from error
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


class _WrongFieldError(ValueError):
    pass


def _parse_card(record: Mapping[str, Any]) -> NetworkCard:
    files = record.get("files")
    if not isinstance(files, dict):
        raise _WrongFieldError("files: expects an object")
    parsed = {
        # Of cards from before there was any.
        "calibration": None,
        "second_output": None,
        **record,
        "network": _parse(NetworkSpec, record.get("network"), "network."),
        "input": _parse(InputSpec, record.get("input"), "input."),
        "output": _parse(OutputSpec, record.get("output"), "output."),
        "files": {name: _parse(FileEntry, entry, f"files.{name}.") for name, entry in files.items()},
    }
    return _parse(NetworkCard, parsed, "")


def _parse(kind: type[T], record: object, where: str) -> T:
    """Build a dataclass from an object of JSON, lists becoming tuples; every field must be there and fit."""
    if not isinstance(record, dict):
        raise _WrongFieldError(f"{where.rstrip('.')}: expects an object")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if record.keys() != fields.keys():
        missing, unknown = sorted(fields.keys() - record.keys()), sorted(record.keys() - fields.keys())
        raise _WrongFieldError(f"{where or 'the card'}: missing {missing}, unknown {unknown}")
    values = {}
    for name, value in record.items():
        values[name] = tuple(value) if isinstance(value, list) else value
        if not _fits(values[name], str(fields[name].type)):
            raise _WrongFieldError(f"{where}{name}={value!r}: expects {fields[name].type}")
    return kind(**values)


_SIMPLE = {"str": (str,), "int": (int,), "float": (int, float), "None": (type(None),)}


def _fits(value: object, annotation: str) -> bool:
    """Whether a value of JSON is what a field's annotation (as text) says."""
    for option in annotation.split(" | "):
        kinds = _SIMPLE.get(option)
        if kinds is not None and isinstance(value, kinds) and not isinstance(value, bool):
            return True
        items = re.fullmatch(r"tuple\[(.*)\]", option)
        if items is not None and isinstance(value, tuple):
            expected = items.group(1).split(", ")
            return len(value) == len(expected) and all(map(_fits, value, expected))
        if option.startswith("dict[") and isinstance(value, dict):
            return True
        if option[0].isupper() and option not in _SIMPLE:
            # Literals and parsed parts: their values are checked by the dataclass that holds them.
            return isinstance(value, str) or dataclasses.is_dataclass(value)
    return False
