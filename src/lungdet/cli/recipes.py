"""From `pipeline=` and loaded networks to something that takes a scan and gives detections."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from lungdet.cli.networks import TrainedNetwork
from lungdet.errors import ConfigError, ShapeError

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
    """
    if pipeline.name == "book":
        return book_detector(networks)
    from lungdet.config.build import build
    from lungdet.pipeline.detect import detect

    asked = {role: _inference(pipeline, role) for role in networks}
    if networks["segmentation"]:
        segmenter = _segmenter(networks["segmentation"], asked["segmentation"])
        source = build(pipeline.segmentation, segmenter=segmenter)
    else:
        source = build(pipeline.blobs)
    recipe = build(
        pipeline.recipe,
        source=source,
        classifier=_classifier(networks["classifier"], asked["classifier"], role="classifier"),
        malignancy=_classifier(networks["malignancy"], asked["malignancy"], role="malignancy"),
    )
    used = _described(networks)
    settings = {**recipe.describe(), "networks": used}

    def run(scan: Scan) -> Detections:
        found = detect(scan, recipe)
        return dataclasses.replace(found, recipe={**found.recipe, "networks": used})

    return Detector("default", run, settings)


def book_detector(networks: Networks) -> Detector:
    """The seed book's run with these networks.

    Raises:
        ConfigError: a network missing, an ensemble, or one with another input than the book's.
    """
    from lungdet.pipeline.book import CROP, BookNetworks, detect_book

    problems = []
    for role, given in networks.items():
        if not given and role != "malignancy":
            problems.append(f"networks.{role}: pipeline=book needs one, such as a .state file of the book")
        if len(given) > 1:
            problems.append(f"networks.{role}: pipeline=book takes one network, got an ensemble of {len(given)}")
        for network in given:
            card = network.input
            fits = card.window_hu == CROP.window_hu and card.scale == CROP.scale and card.spacing_zyx_mm is None
            fits &= card.layout == "slices" if role == "segmentation" else card.crop_zyx_vox == CROP.shape_zyx
            if not fits:
                problems.append(
                    f"networks.{role}: {network.name} was not trained on the book's input (native voxels, HU clipped "
                    "to [-1000, 1000] and not scaled); use pipeline=default"
                )
    if problems:
        raise ConfigError(problems)
    nets = {role: given[0].net if given else None for role, given in networks.items()}
    assert nets["segmentation"] is not None and nets["classifier"] is not None  # noqa: PT018
    book = BookNetworks(
        segmenter=nets["segmentation"], classifier=nets["classifier"], malignancy=nets.get("malignancy")
    )
    used = _described(networks)

    def run(scan: Scan) -> Detections:
        found = detect_book(scan, book)
        return dataclasses.replace(found, recipe={**found.recipe, "networks": used})

    return Detector("book", run, {"pipeline": "book", "networks": used})


def _inference(pipeline: DictConfig, role: str) -> dict[str, Any]:
    """flips, mean and precision of one role, as plain values."""
    node = OmegaConf.to_container(pipeline.inference[role], resolve=True)
    assert isinstance(node, dict)
    allowed = {"flips", "mean", "precision", "batch_size", "overlap"}
    unknown = sorted(set(map(str, node)) - allowed)
    if unknown:
        raise ConfigError([f"pipeline.inference.{role}.{unknown[0]}: allowed are {', '.join(sorted(allowed))}"])
    settings = {str(key): value for key, value in node.items()}
    settings["flips"] = tuple(settings.get("flips", [""]))
    return settings


def _segmenter(networks: Sequence[TrainedNetwork], asked: dict[str, Any]) -> Segmenter:
    from lungdet.pipeline.segment import PatchSegmenter, SliceSegmenter

    card, nets = networks[0].input, tuple(network.net for network in networks)
    common = {
        "nets": nets,
        "window_hu": card.window_hu,
        "scale": card.scale,
        "spacing_zyx_mm": card.spacing_zyx_mm,
        **asked,
    }
    if card.layout == "volume":
        return PatchSegmenter(patch_zyx=card.crop_zyx_vox, **common)
    if "overlap" in asked:
        raise ConfigError(["pipeline.inference.segmentation.overlap: slices do not overlap; remove the key"])
    divisor = card.size_divisor or 1
    return SliceSegmenter(halo_px=_HALO_LEVELS * divisor, alignment=max(8, divisor), **common)


def _classifier(networks: Sequence[TrainedNetwork], asked: dict[str, Any], *, role: str) -> CandidateClassifier | None:
    from lungdet.pipeline.classify import CandidateClassifier

    if not networks:
        return None
    if "overlap" in asked:
        raise ConfigError([f"pipeline.inference.{role}.overlap: crops do not overlap; remove the key"])
    try:
        return CandidateClassifier(
            nets=tuple(network.net for network in networks),
            contract=crop_input(networks[0]),
            name=_SPOKEN[role],
            **asked,
        )
    except ShapeError as error:
        raise ConfigError([f"networks.{role}: {error}"]) from error


def crop_input(network: TrainedNetwork) -> CropInput:
    """What a network of crops was trained on.

    Raises:
        ConfigError: it takes slices.
    """
    from lungdet.pipeline.crops import CropInput

    card = network.input
    if card.layout != "volume" or card.channels != 1:
        raise ConfigError([f"{network.name} takes {card.channels} channels of {card.layout}, not crops of a volume"])
    return CropInput(
        shape_zyx=card.crop_zyx_vox,
        spacing_zyx_mm=card.spacing_zyx_mm,
        window_hu=card.window_hu,
        scale=card.scale,
        border=card.border,
    )


def _described(networks: Networks) -> dict[str, Any]:
    return {role: [network.describe() for network in given] for role, given in networks.items() if given}
