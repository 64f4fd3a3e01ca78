"""What a network for pictures takes, in words and as data: what happens to a file before, and what the network does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from lungdet.errors import RunError
from lungdet.exports.card import Colours, ImageInputSpec, NetworkSpec
from lungdet.exports.rebuild import describe_network, nested
from lungdet.nets.image_input import ImageInput
from lungdet.nets.image_views import VIEWS, ViewAverage

VIEW_AVERAGE = "lungdet.nets.image_views.ViewAverage"

_COLOURS: dict[int, Colours] = {1: "grey", 3: "RGB"}
_READ = {
    "grey": "Decode the file (upright as its EXIF tag says); colours to grey by the luma of ITU-R 601, 16 bits to 8.",
    "RGB": "Decode the file (upright as its EXIF tag says) to RGB of 8 bits; a grey one three times.",
}
_IN_WORDS = ("size_hw", "fit", "pad", "dark_frame", "stain")
_FITS = {
    "cover": "Scale by one factor until the picture covers {h} x {w} pixels (height x width) and cut what hangs over "
    "on both sides alike",
    "pad": "Scale by one factor until the picture lies within {h} x {w} pixels (height x width) and fill the rest on "
    "both sides alike ({pad})",
}


def predicting_network(model: Mapping[str, Any]) -> NetworkSpec:
    """How the network of a `model` node is built again as predictions ask it: with the views that they average over.

    Raises:
        RunError: see `describe_network`.
    """
    network = describe_network(model["net"])
    views = _views(model)
    return NetworkSpec(target=VIEW_AVERAGE, arguments={"net": nested(network), **views}) if views else network


def with_views(net: nn.Module, model: Mapping[str, Any]) -> nn.Module:
    """The network as predictions ask it: what `predicting_network` builds, around a network that is there.

    Args:
        net: of `model`, in evaluation mode.
        model: the `model` node of its run.
    """
    views = _views(model)
    return ViewAverage(net, **views).eval() if views else net


def _views(model: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of `ViewAverage`; empty where a network is asked once, about all of the picture."""
    views, center_crop = str(model.get("views", "one")), float(model.get("center_crop", 1.0))
    return {} if (views, center_crop) == ("one", 1.0) else {"views": views, "center_crop": center_crop}


def image_input_of(
    net: nn.Module, preparation: Mapping[str, Any], *, views: str | None = None, center_crop: float | None = None
) -> ImageInputSpec:
    """Describe the input of a network for pictures.

    Args:
        net: with `in_channels` 1 or 3 and a `lungdet.nets.image_input.ImageInput`, for the words.
        preparation: `to_dict` of the `ImageSpec` that the run's store was made with.
        views: what predictions average over, None for the picture alone.
        center_crop: side of the part that is looked at, None or 1 for all of it.

    Raises:
        RunError: other channels.
    """
    channels = int(getattr(net, "in_channels", 0))
    if channels not in _COLOURS:
        raise RunError(f"{type(net).__name__} takes {channels} channels; of pictures 1 (grey) or 3 (RGB) are exported")
    height, width = (int(n) for n in preparation["size_hw"])
    return ImageInputSpec(
        layout="image",
        channels=channels,
        colours=_COLOURS[channels],
        size_hw=(height, width),
        value_range=(0.0, 1.0),
        preparation=dict(preparation),
        steps=steps_before(preparation, _COLOURS[channels]),
        inside=steps_inside(net, views=views, center_crop=center_crop),
    )


def steps_before(preparation: Mapping[str, Any], colours: Colours) -> tuple[str, ...]:
    """What happens to a file before the network sees it, one sentence a step."""
    height, width = preparation["size_hw"]
    steps = [_READ[colours]]
    frame = preparation.get("dark_frame")
    if frame is not None:
        steps.append(
            f"Cut off a dark frame, at most {float(frame['at_most']):.0%} a side "
            "(lungdet.store.dark_frame; its settings are under preparation.dark_frame)."
        )
    if preparation.get("stain") is not None:
        steps.append(
            "Bring it to the reference stain (Macenko et al. 2009, lungdet.store.stain; under preparation.stain)."
        )
    other = sorted(key for key, value in preparation.items() if key not in _IN_WORDS and value is not None)
    steps += [f"Apply preparation.{key}, which lungdet.store.image_preprocess explains." for key in other]
    fit = _FITS[preparation["fit"]].format(h=height, w=width, pad=preparation.get("pad"))
    steps.append(f"{fit}; averaged over areas where it shrinks, bilinear where it grows. A picture of the size stays.")
    axes = "a channel axis of one in front" if colours == "grey" else "the colours as the first axis"
    steps.append(f"Divide by 255 (float32 in [0, 1]), {axes}.")
    return tuple(steps)


def steps_inside(net: nn.Module, *, views: str | None, center_crop: float | None) -> tuple[str, ...]:
    """What the network does by itself, one sentence a step."""
    steps = []
    if center_crop is not None and center_crop < 1:
        steps.append(f"It looks at the middle {center_crop:.0%} of each side.")
    if views is not None and len(VIEWS[views]) > 1:
        steps.append(f"It answers the mean logit over {len(VIEWS[views])} views ({views}) of the picture.")
    first = next((module for module in net.modules() if isinstance(module, ImageInput)), None)
    if first is not None and first.resize_hw is not None:
        steps.append(f"It resizes to {first.resize_hw[0]} x {first.resize_hw[1]} pixels.")
    steps.append("It normalises by mean and deviation of each channel.")
    return tuple(steps)
