from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import nn

from lungdet.errors import RunError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan, read_scan
from lungdet.nets.book_segmenter import load_book_segmenter
from lungdet.nets.book_weights import load_book_classifier
from lungdet.nets.luna import LunaModel
from lungdet.nets.unet import SliceUNet
from lungdet.pipeline.book import BookNetworks, detect_book, report_centers, segment_scan, settle_doubtful
from lungdet.pipeline.box import whole_volume
from lungdet.pipeline.components import erode_once, label, measure
from lungdet.pipeline.detections import Detections
from lungdet.pipeline.segment import SliceSegmenter

FLIPPED = Geometry((33, 60, 56), (180.0, 171.3, -290.5), (0.703125, 0.703125, 2.5), (-1, 0, 0, 0, -1, 0, 0, 0, 1))


def balanced(net: SliceUNet, scan: Scan, share: float) -> SliceUNet:
    """Move the last bias so that this share of the scan's voxels passes the threshold."""
    segmenter = SliceSegmenter(nets=(net,), precision="fp32", batch_size=4)
    logits = np.concatenate([logit for _, logit in segmenter.logits(scan.hu, whole_volume(scan.geometry.shape_zyx))])
    assert net.unet.last.bias is not None
    torch.nn.init.constant_(net.unet.last.bias, net.unet.last.bias.item() - float(np.quantile(logits, 1 - share)))
    return net


def compare(found: Detections, reference: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> None:
    """Detection by detection, in order."""
    table = found.table
    assert len(table) == len(reference)
    centers = table[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy()
    np.testing.assert_allclose(centers, reference[:, :3], rtol=0, atol=1e-9)
    np.testing.assert_allclose(table["probability"], reference[:, 3], rtol=0, atol=2e-6)


@pytest.mark.parametrize("geometry", [None, FLIPPED], ids=["identity", "flipped"])
@pytest.mark.parametrize("kind", ["unet", "level"])
def test_gives_the_detections_of_the_plain_program(
    noise_scan: Callable[..., Scan],
    segmenter: SliceUNet,
    classifier: LunaModel,
    bright_tissue: Callable[..., nn.Module],
    book_reference: ModuleType,
    geometry: Geometry | None,
    kind: str,
) -> None:
    # 33 slices and some 50 pixels: most crops reach over a border and are shifted.
    scan = noise_scan((33, 60, 56), seed=4, geometry=geometry, sigma=1.2 if kind == "unet" else 2.5)
    # The UNet's components are small ones, the level's large ones, some of whose voxels lie at the level exactly.
    net = balanced(segmenter, scan, 0.2) if kind == "unet" else bright_tissue(250.0)
    found = detect_book(scan, BookNetworks(segmenter=net, classifier=classifier))
    contiguous = torch.contiguous_format
    reference, _ = book_reference.detect_plainly(
        scan, net.to(memory_format=contiguous), classifier.to(memory_format=contiguous)
    )
    assert 20 < len(reference) < 100
    assert reference[:, 3].std() > 1e-4
    if kind == "level":
        assert (scan.hu == 250).any()
        assert found.table["diameter_mm"].max() > 8
    compare(found, reference)
    assert found.patient["nodule_probability"] == pytest.approx(reference[:, 3].max())
    assert list(found.seconds) == ["segment", "group", "classify"]
    assert np.isnan(found.table["malignancy_probability"]).all()
    assert np.isnan(found.patient["malignancy_probability"])


def test_voxels_at_the_threshold_are_decided_as_the_plain_program_does(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet, book_reference: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    scan = noise_scan((10, 40, 40), seed=8, sigma=1.2)
    balanced(segmenter, scan, 0.4)
    monkeypatch.setattr("lungdet.pipeline.book._DOUBTFUL_LOGIT", 0.02)
    mask, doubtful = segment_scan(scan, SliceSegmenter(nets=(segmenter,), precision="fp32"))
    assert 20 < len(doubtful) < 2000
    wrong = mask.copy()
    wrong.ravel()[doubtful] ^= True
    settled, n_slices = settle_doubtful(scan, segmenter, mask=wrong, doubtful=doubtful)
    reference = book_reference.segment(
        scan.hu.astype(np.float32).clip(-1000, 1000), segmenter.to(memory_format=torch.contiguous_format)
    )
    assert n_slices >= 4
    assert (erode_once(wrong) != reference).any()
    np.testing.assert_array_equal(erode_once(settled), reference)


def test_doubtful_voxels_without_consequence_are_left_alone(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet
) -> None:
    """One lone voxel: eroded away, on or off. One inside a filled block: its neighbours' erosion depends on it."""
    scan = noise_scan((40, 48, 48))
    mask = np.zeros(scan.hu.shape, bool)
    nothing = np.empty(0, np.int64)
    assert settle_doubtful(scan, segmenter, mask=mask, doubtful=nothing) == (mask, 0)
    lone = np.array([np.ravel_multi_index((20, 20, 20), mask.shape)])
    settled, n_slices = settle_doubtful(scan, segmenter, mask=mask, doubtful=lone)
    assert n_slices == 0
    assert settled is mask
    mask[18:23, 18:23, 18:23] = True
    _, n_slices = settle_doubtful(scan, segmenter, mask=mask, doubtful=lone)
    assert n_slices == 4


def test_halves_are_rounded_as_on_the_books_detour() -> None:
    """Two voxels of equal HU have their centre at half a voxel; the way to world and back decides which one it is."""
    geometry = Geometry((4, 4, 200), (-192.199997, -200.0, -368.0), (0.78125, 0.78125, 2.5))
    labels = np.zeros((4, 4, 200), np.uint32)
    for number, x in enumerate(range(0, 198, 3), start=1):
        labels[1, 2, x : x + 2] = number
    rows, centers = report_centers(measure(labels, np.zeros(labels.shape, np.int16)), geometry)
    assert rows.tolist() == sorted(rows.tolist())
    origin, spacing = np.array(geometry.origin_xyz_mm), np.array(geometry.spacing_xyz_mm)
    for x, center in zip(range(0, 198, 3), centers, strict=True):
        world = np.array([x + 0.5, 2.0, 1.0]) * spacing + origin
        voxel = np.round((world - origin) / spacing)
        np.testing.assert_array_equal(center, voxel * spacing + origin)


def test_a_malignancy_network_judges_the_same_crops(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet, classifier: LunaModel
) -> None:
    scan = noise_scan((33, 52, 48), seed=2, sigma=1.5)
    balanced(segmenter, scan, 0.2)
    found = detect_book(scan, BookNetworks(segmenter=segmenter, classifier=classifier, malignancy=classifier))
    np.testing.assert_array_equal(found.table["malignancy_probability"], found.table["probability"])
    assert "malignancy" in found.seconds


def test_nothing_segmented_is_an_empty_table(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet, classifier: LunaModel
) -> None:
    torch.nn.init.constant_(segmenter.unet.last.weight, 0.0)
    assert segmenter.unet.last.bias is not None
    torch.nn.init.constant_(segmenter.unet.last.bias, -5.0)
    found = detect_book(noise_scan((32, 48, 48)), BookNetworks(segmenter=segmenter, classifier=classifier))
    assert len(found.table) == 0
    assert found.patient["nodule_probability"] == 0.0


@pytest.mark.parametrize("shape", [(5, 64, 64), (40, 44, 64), (40, 64, 44)])
def test_a_scan_smaller_than_the_crop_is_refused(
    noise_scan: Callable[..., Scan], segmenter: SliceUNet, classifier: LunaModel, shape: tuple[int, int, int]
) -> None:
    with pytest.raises(ScanError, match=r"needs \(32, 48, 48\) voxels .*which has only"):
        detect_book(noise_scan(shape), BookNetworks(segmenter=segmenter, classifier=classifier))


def test_nan_weights_are_refused(noise_scan: Callable[..., Scan], segmenter: SliceUNet, classifier: LunaModel) -> None:
    bad = LunaModel()
    nn.init.constant_(bad.head_linear.bias, float("nan"))
    with pytest.raises(RunError, match=r"head_linear\.bias"):
        detect_book(noise_scan((32, 48, 48)), BookNetworks(segmenter=segmenter, classifier=bad))


def real_scan(realdata: Path) -> Scan:
    (path,) = sorted((realdata / "luna16" / "subset3").glob("*.mhd"))
    return read_scan(path)


def real_networks(realdata: Path) -> tuple[SliceUNet, LunaModel]:
    (segmenter,) = sorted((realdata / "book_weights").glob("seg_*.state"))
    (classifier,) = sorted((realdata / "book_weights").glob("cls_*.state"))
    return load_book_segmenter(segmenter), load_book_classifier(classifier)


@pytest.mark.realdata
def test_a_block_of_the_real_scan_gives_the_plain_programs_detections(
    realdata: Path, book_reference: ModuleType
) -> None:
    """33 slices of 112 x 112 pixels with the 7.1 mm nodule, with the book's weights."""
    scan = real_scan(realdata)
    low = (90, 236, 100)
    hu = np.ascontiguousarray(scan.hu[90:123, 236:348, 100:212])
    x, y, z = scan.geometry.index_to_world(low).tolist()
    block = Scan(hu, Geometry(hu.shape, (x, y, z), scan.geometry.spacing_xyz_mm), "block")
    segmenter, classifier = real_networks(realdata)
    found = detect_book(block, BookNetworks(segmenter=segmenter, classifier=classifier))
    reference, _ = book_reference.detect_plainly(block, *real_networks(realdata))
    assert len(reference) == 8
    assert reference[:, 3].max() > 0.9
    compare(found, reference)


@pytest.mark.slow
@pytest.mark.realdata
def test_the_whole_real_scan_gives_the_plain_programs_detections(realdata: Path, book_reference: ModuleType) -> None:
    scan = real_scan(realdata)
    segmenter, classifier = real_networks(realdata)
    found = detect_book(scan, BookNetworks(segmenter=segmenter, classifier=classifier))
    reference, _ = book_reference.detect_plainly(scan, *real_networks(realdata))
    assert len(reference) == 774
    compare(found, reference)


def test_order_is_by_x_then_y_then_z() -> None:
    labels = np.zeros((3, 5, 5), np.uint32)
    for number, voxel in enumerate([(0, 0, 4), (0, 4, 0), (2, 0, 0), (0, 0, 0)], start=1):
        labels[voxel] = number
    components = measure(labels, np.zeros(labels.shape, np.int16))
    _, centers = report_centers(components, Geometry((3, 5, 5), (0, 0, 0), (1, 1, 1)))
    assert centers.tolist() == [[0, 0, 0], [0, 0, 2], [0, 4, 0], [4, 0, 0]]
    assert len(measure(label(labels > 0), np.zeros(labels.shape, np.int16))) == 4
