from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError
from lungdet.io.scan import Scan
from lungdet.nets.unet import SliceUNet
from lungdet.pipeline.box import Box, whole_volume
from lungdet.pipeline.segment import PatchSegmenter, Segmenter, SliceSegmenter

Floats = npt.NDArray[np.float32]


def collect(segmenter: Segmenter, scan: Scan, box: Box) -> Floats:
    answer = np.full(box.shape_zyx, np.nan, np.float32)
    expected = 0
    for z, logit in segmenter.logits(scan.hu, box):
        assert z == expected  # slabs in order, without gaps
        answer[z : z + len(logit)] = logit
        expected = z + len(logit)
    assert not np.isnan(answer).any()
    return answer


def plainly(net: SliceUNet, hu: npt.NDArray[np.int16], z: int) -> Floats:
    rows = [min(max(z + step, 0), len(hu) - 1) for step in range(-3, 4)]
    image = torch.from_numpy(np.stack([hu[row] for row in rows]).astype(np.float32)).clamp(-1000, 1000)
    with torch.no_grad():
        answer: Floats = net(image[None])[0, 0].numpy()
    return answer


@pytest.mark.parametrize("batch_size", [1, 3, 20])
def test_every_full_slice_is_segmented_with_three_neighbours(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet, batch_size: int
) -> None:
    scan = noise_scan((8, 32, 40))
    found = collect(
        SliceSegmenter(nets=(segmenter,), batch_size=batch_size, precision="fp32"), scan, whole_volume((8, 32, 40))
    )
    expected = np.stack([plainly(segmenter, scan.hu, z) for z in range(8)])
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found.std() > 0.1


def test_a_grown_box_gives_the_full_slices_logits_inside(noise_scan: Callable[..., Scan], segmenter: SliceUNet) -> None:
    scan = noise_scan((6, 128, 140))
    net = SliceSegmenter(nets=(segmenter,), precision="fp32")
    full = collect(net, scan, whole_volume((6, 128, 140)))
    inner = Box((2, 57, 61), (5, 70, 83))
    grown = inner.grown(net.halo_zyx, shape_zyx=(6, 128, 140))
    part = collect(net, scan, grown)[:, 24:-24, 24:-24]
    assert part.shape == inner.shape_zyx
    np.testing.assert_allclose(part, full[inner.slices], atol=1e-4)


def test_sizes_that_pooling_does_not_divide_repeat_their_border(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet
) -> None:
    scan = noise_scan((3, 30, 33))
    found = collect(SliceSegmenter(nets=(segmenter,), precision="fp32"), scan, whole_volume((3, 30, 33)))
    padded = np.pad(scan.hu, [(0, 0), (0, 2), (0, 3)], mode="edge")
    expected = np.stack([plainly(segmenter, padded, z)[:30, :33] for z in range(3)])
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_mirrored_views_are_averaged(noise_scan: Callable[..., Scan], segmenter: SliceUNet) -> None:
    scan = noise_scan((4, 16, 16))
    box = whole_volume((4, 16, 16))
    plain = collect(SliceSegmenter(nets=(segmenter,), precision="fp32"), scan, box)
    mirrored = Scan(np.ascontiguousarray(scan.hu[:, :, ::-1]), scan.geometry, "mirrored")
    other = collect(SliceSegmenter(nets=(segmenter,), precision="fp32"), mirrored, box)[:, :, ::-1]
    both = collect(SliceSegmenter(nets=(segmenter,), flips=("", "x"), precision="fp32"), scan, box)
    np.testing.assert_allclose(both, (plain + other) / 2, atol=1e-4)
    upside_down = Scan(np.ascontiguousarray(scan.hu[::-1]), scan.geometry, "upside down")
    other = collect(SliceSegmenter(nets=(segmenter,), precision="fp32"), upside_down, box)[::-1]
    by_z = collect(SliceSegmenter(nets=(segmenter,), flips=("z",), precision="fp32"), scan, box)
    np.testing.assert_allclose(by_z, other, atol=1e-4)


class Offset(nn.Module):
    """Adds a constant: what a patch network answers is then known everywhere."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.25


@pytest.mark.parametrize("flips", [("",), ("", "x", "zy")])
def test_patches_are_stitched(noise_scan: Callable[..., Scan], flips: tuple[str, ...]) -> None:
    scan = noise_scan((20, 30, 25))
    net = PatchSegmenter(nets=(Offset(),), patch_zyx=(8, 8, 8), flips=flips, precision="fp32", batch_size=3)
    box = Box((3, 2, 1), (19, 30, 25))
    expected = (scan.hu[box.slices].clip(-1000, 400) + 1000) / 1400 + 0.25
    np.testing.assert_allclose(collect(net, scan, box), expected, atol=1e-5)
    assert net.halo_zyx == (1, 1, 1)


def test_a_softmax_pair_and_a_box_smaller_than_the_patch(noise_scan: Callable[..., Scan]) -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([-x, x], dim=1)

    scan = noise_scan((6, 6, 6))
    net = PatchSegmenter(nets=(Pair(),), patch_zyx=(8, 8, 8), window_hu=(-1000, 1000), scale="hu", precision="fp32")
    box = Box((1, 1, 1), (5, 6, 4))
    np.testing.assert_allclose(collect(net, scan, box), 2 * scan.hu[box.slices].clip(-1000, 1000), rtol=1e-5)


def test_nan_answers_and_nan_weights_are_errors(noise_scan: Callable[..., Scan], segmenter: SliceUNet) -> None:
    class Hole(nn.Module):
        in_channels = 7

        def forward(self, x: Tensor) -> Tensor:
            y = x[:, 3:4].clone()
            y[0, 0, 5, 5] = float("inf")
            return y

    scan = noise_scan((4, 16, 16))
    with pytest.raises(RunError, match="segmentation network answers NaN or infinity"):
        collect(SliceSegmenter(nets=(Hole(),)), scan, whole_volume((4, 16, 16)))
    torch.nn.init.constant_(segmenter.unet.last.weight, float("nan"))
    with pytest.raises(RunError, match=r"segmentation network SliceUNet has NaN .* in unet\.last\.weight"):
        SliceSegmenter(nets=(segmenter,))


@pytest.mark.parametrize(
    ("kind", "arguments", "message"),
    [
        (SliceSegmenter, {"nets": ()}, "needs at least one network"),
        (SliceSegmenter, {"batch_size": 0}, "batch_size=0 of the segmentation"),
        (SliceSegmenter, {"window_hu": (1, 1)}, "lower and a higher end"),
        (SliceSegmenter, {"scale": "x"}, "scale='x'"),
        (SliceSegmenter, {"mean": "x"}, "mean='x'"),
        (SliceSegmenter, {"precision": "x"}, "precision='x'"),
        (SliceSegmenter, {"flips": ("q",)}, "flips="),
        (SliceSegmenter, {"spacing_zyx_mm": (0, 1, 1)}, "three positive numbers"),
        (PatchSegmenter, {"nets": ()}, "needs at least one network"),
        (PatchSegmenter, {"overlap": 1.0}, r"overlap=1.0 must lie in \[0, 1\)"),
        (PatchSegmenter, {"patch_zyx": (8, 8, 0)}, "three sizes >= 1"),
        (PatchSegmenter, {"scale": "x"}, "scale='x'"),
        (PatchSegmenter, {"window_hu": (1, 1)}, "lower and a higher end"),
        (PatchSegmenter, {"spacing_zyx_mm": (1, 1)}, "three positive numbers"),
    ],
)
def test_impossible_segmenters_are_refused(kind: Any, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        kind(**{"nets": (Offset(),), **arguments})


def test_settings_are_ready_for_json(segmenter: SliceUNet) -> None:
    slices = SliceSegmenter(nets=(segmenter,), precision="bf16").describe()
    assert slices["context_slices"] == 3
    assert slices["precision"] == "bf16"
    patches = PatchSegmenter(nets=(Offset(),), spacing_zyx_mm=(1, 1, 1)).describe()
    assert patches["spacing_zyx_mm"] == [1, 1, 1]
    assert PatchSegmenter(nets=(Offset(),)).describe()["spacing_zyx_mm"] is None
    for record in (slices, patches):
        assert json.loads(json.dumps(record)) == record
