"""From `pipeline=` and loaded networks to something that takes a scan and gives detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from lungdet.cli.networks import TASKS, TrainedNetwork
from lungdet.errors import ConfigError, LungdetError, ShapeError

if TYPE_CHECKING:
    from lungdet.io.scan import Scan
    from lungdet.pipeline.classify import CandidateClassifier
    from lungdet.pipeline.crops import CropInput
    from lungdet.pipeline.detections import Detections
    from lungdet.pipeline.segment import Segmenter

Networks = dict[str, tuple[TrainedNetwork, ...]]
"""Role -> networks, one or an ensemble; empty for none."""

# A pixel's receptive field in the 2.5-D UNet, in units of its coarsest level; 24 pixels at three levels.
_HALO_LEVELS = 6
_SPOKEN = {"classifier": "classifier", "malignancy": "malignancy classifier"}
_BOOK_SLICES = 7
# Nodules that matter begin at 4 to 6 mm; in thicker slices they lie between two centres.
_THICK_MM = 5.0
# Lungs of a grown-up are 200 to 300 mm high, those of the phantom at least 80.
_SHORT_MM = 60.0


@dataclasses.dataclass(frozen=True)
class Detector:
    """A pipeline that is ready to run.

    Attributes:
        name: "default" or "book".
        run: scan -> detections; `Detections.recipe` names the networks.
        settings: all that decides the result, ready for JSON.
    """

    name: str
    run: Callable[[Scan], Detections]
    settings: dict[str, Any]


def build_detector(pipeline: DictConfig, networks: Networks) -> Detector:
    """Put a pipeline together.

    Raises:
        ConfigError: networks or settings that do not fit together; the config path comes first.
        RunError: a network whose weights are NaN or infinite.
    """
    if pipeline.name == "book":
        return book_detector(networks)
    from lungdet.pipeline.detect import detect

    asked = _inference(pipeline.inference)
    if networks["segmentation"]:
        segmenter = _segmenter(networks["segmentation"], asked["segmentation"])
        source = _part(pipeline, "segmentation", segmenter=segmenter)
    else:
        source = _part(pipeline, "blobs")
    judges = {role: _classifier(networks[role], asked[role], role=role) for role in _SPOKEN}
    recipe = _part(pipeline, "recipe", source=source, **judges)
    used = _described(networks, calibrated=True)
    return Detector(
        "default", _completed(lambda scan: detect(scan, recipe), used), {**recipe.describe(), "networks": used}
    )


def book_detector(networks: Networks) -> Detector:
    """The seed book's run with these networks.

    Raises:
        ConfigError: a network missing, an ensemble, or one with another input than the book's.
    """
    from lungdet.pipeline.book import CROP, BookNetworks, detect_book

    problems = []
    for role, given in networks.items():
        if not given and role != "malignancy":
            problems.append(f"networks.{role}: the book's recipe needs one, such as a .state file of the book")
        if len(given) > 1:
            problems.append(f"networks.{role}: the book's recipe takes one network, got an ensemble of {len(given)}")
        for network in given:
            card = network.input
            fits = card.window_hu == CROP.window_hu and card.scale == CROP.scale and card.spacing_zyx_mm is None
            if role == "segmentation":
                fits &= card.layout == "slices" and card.channels == _BOOK_SLICES
            else:
                fits &= card.layout == "volume" and card.crop_zyx_vox == CROP.shape_zyx
            if not fits:
                problems.append(
                    f"networks.{role}: {network.name} was not trained on the book's input (native voxels, HU clipped "
                    "to [-1000, 1000] and not scaled); type pipeline=default with_book=false"
                )
    if problems:
        raise ConfigError(problems)
    nets = {role: given[0].net if given else None for role, given in networks.items()}
    assert nets["segmentation"] is not None and nets["classifier"] is not None  # noqa: PT018
    book = BookNetworks(
        segmenter=nets["segmentation"], classifier=nets["classifier"], malignancy=nets.get("malignancy")
    )
    used = _described(networks, calibrated=False)  # the book's recipe takes the networks' own probabilities
    return Detector(
        "book", _completed(lambda scan: detect_book(scan, book), used), {"pipeline": "book", "networks": used}
    )


def _completed(run: Callable[[Scan], Detections], used: dict[str, Any]) -> Callable[[Scan], Detections]:
    """Detections that name their networks, and say where the scan itself limits what any recipe can find."""

    def complete(scan: Scan) -> Detections:
        found = run(scan)
        notes = tuple(f"{scan.series_uid}: {limit}" for limit in _limits(scan))
        return dataclasses.replace(found, notes=(*found.notes, *notes), recipe={**found.recipe, "networks": used})

    return complete


def _limits(scan: Scan) -> Iterator[str]:
    n_slices, thickness = scan.geometry.shape_zyx[0], scan.geometry.spacing_zyx_mm[0]
    if thickness > _THICK_MM:
        yield f"slices are {thickness:g} mm apart: nodules smaller than that can lie between them and be missed"
    if n_slices * thickness < _SHORT_MM:
        yield f"only {n_slices * thickness:g} mm of the chest were scanned: nothing is known of the rest of the lungs"


def _part(pipeline: DictConfig, name: str, **given: Any) -> Any:
    """A step of the pipeline from its node."""
    from lungdet.config.build import build

    node = pipeline[name]
    if node is None:
        raise ConfigError([f"pipeline.{name}: null; pipeline=default needs a node with _target_"])
    # Steps are compared and hashed by their values, which lists cannot be.
    values = {str(key): tuple(value) for key, value in node.items() if isinstance(value, ListConfig)}
    with _path_first(f"pipeline.{name}"):
        return build(OmegaConf.create({**node, "_partial_": True}))(**values, **given)


def _inference(node: DictConfig | None) -> dict[str, dict[str, Any]]:
    """Role -> flips, mean, precision and batch_size, as plain values.

    Raises:
        ConfigError: an unknown role or key, a value of another type; all of them together.
    """
    from lungdet.config.nodes import mismatch, near_word
    from lungdet.pipeline.inference import Mean, Precision

    hints = {"flips": Sequence[str], "mean": Mean, "precision": Precision, "batch_size": int, "overlap": float}
    given: Any = {} if node is None else OmegaConf.to_container(node, resolve=True)
    asked: dict[str, dict[str, Any]] = {role: dict(given.get(role) or {}) for role in TASKS}
    problems = [
        f"pipeline.inference.{role}: there is no network '{role}'{near_word(str(role), TASKS)}"
        for role in given
        if role not in TASKS
    ]
    for role, settings in asked.items():
        for key, value in settings.items():
            path = f"pipeline.inference.{role}.{key}"
            if key not in hints:
                problems.append(f"{path}: there is no key '{key}'{near_word(str(key), hints)}")
            elif (expected := mismatch(value, hints[key])) is not None:
                problems.append(f"{path}: expects {expected}, got {value!r}")
            elif key == "overlap" and role != "segmentation":
                problems.append(f"{path}: crops do not overlap; remove the key")
    if problems:
        raise ConfigError(problems)
    for settings in asked.values():
        settings["flips"] = tuple(settings.get("flips", [""]))
    return asked


def _segmenter(networks: Sequence[TrainedNetwork], asked: Mapping[str, Any]) -> Segmenter:
    from lungdet.pipeline.segment import PatchSegmenter, SliceSegmenter

    card, nets = networks[0].input, tuple(network.net for network in networks)
    common = {
        "nets": nets,
        "window_hu": card.window_hu,
        "scale": card.scale,
        "spacing_zyx_mm": card.spacing_zyx_mm,
        **asked,
    }
    with _path_first("pipeline.inference.segmentation", network="networks.segmentation"):
        if card.layout == "volume":
            return PatchSegmenter(patch_zyx=card.crop_zyx_vox, **common)
        if "overlap" in asked:
            raise ConfigError(["overlap: slices do not overlap; remove the key"])
        divisor = card.size_divisor or 1
        return SliceSegmenter(halo_px=_HALO_LEVELS * divisor, alignment=max(8, divisor), **common)


def _classifier(
    networks: Sequence[TrainedNetwork], asked: Mapping[str, Any], *, role: str
) -> CandidateClassifier | None:
    from lungdet.pipeline.calibrated import CalibratedNetwork
    from lungdet.pipeline.classify import CandidateClassifier

    if not networks:
        return None
    with _path_first(f"pipeline.inference.{role}", network=f"networks.{role}"):
        nets = tuple(
            network.net if network.calibrator is None else CalibratedNetwork(network.net, network.calibrator)
            for network in networks
        )
        return CandidateClassifier(nets=nets, contract=crop_input(networks[0]), name=_SPOKEN[role], **asked)


def crop_input(network: TrainedNetwork) -> CropInput:
    """What a network of crops was trained on.

    Raises:
        ShapeError: it takes slices.
    """
    from lungdet.pipeline.crops import CropInput

    card = network.input
    if card.layout != "volume" or card.channels != 1:
        raise ShapeError(f"{network.name} takes {card.channels} channels of {card.layout}, not crops of a volume")
    return CropInput(
        shape_zyx=card.crop_zyx_vox,
        spacing_zyx_mm=card.spacing_zyx_mm,
        window_hu=card.window_hu,
        scale=card.scale,
        border=card.border,
    )


@contextmanager
def _path_first(settings: str, *, network: str = "") -> Iterator[None]:
    """Puts the config path in front of what a step complains about: its settings, or the network it was given."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError([f"{settings}: {problem}" for problem in error.problems]) from error
    except LungdetError as error:
        raise type(error)(f"{network or settings}: {error}") from error


def _described(networks: Networks, *, calibrated: bool) -> dict[str, Any]:
    """The record of each role's networks, with the calibration that their probabilities went through."""
    from lungdet.pipeline.calibrated import describe_calibrator

    described: dict[str, Any] = {}
    for role, given in networks.items():
        for network in given:
            record = network.describe()
            if calibrated and network.calibrator is not None:
                record["calibration"] = describe_calibrator(network.calibrator)
            described.setdefault(role, []).append(record)
    return described
