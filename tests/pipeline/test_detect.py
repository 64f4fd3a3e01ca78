from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from torch import nn

from lungdet.errors import RunError, ScanError
from lungdet.geometry import Geometry
from lungdet.io.luna16_tables import read_annotations
from lungdet.io.scan import Scan, read_scan
from lungdet.nets.book_segmenter import load_book_segmenter
from lungdet.nets.book_weights import load_book_classifier
from lungdet.nets.luna import LunaModel
from lungdet.pipeline.blobs import BlobSource
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.crops import CropInput
from lungdet.pipeline.detect import detect
from lungdet.pipeline.detections import COLUMNS
from lungdet.pipeline.lungs import find_lungs
from lungdet.pipeline.recipe import Recipe
from lungdet.pipeline.segment import SliceSegmenter
from lungdet.pipeline.sources import CandidateSource, SegmentationSource

BALLS = ((0.0, 0.0, -40.0, 16.0), (-20.0, 10.0, 40.0, 12.0), (10.0, -20.0, 38.0, 6.0))
POINT = CropInput(shape_zyx=(3, 3, 3))


@pytest.fixture(params=["blobs", "segmentation"])
def source(request: pytest.FixtureRequest, bright_tissue: Callable[..., nn.Module]) -> CandidateSource:
    if request.param == "blobs":
        return BlobSource(diameters_mm=(5.0, 8.0, 12.0, 16.0), minimum_contrast_hu=300.0, minimum_roundness=0.6)
    return SegmentationSource(segmenter=SliceSegmenter(nets=(bright_tissue(),), precision="fp32"))


def recipe(source: CandidateSource, net: nn.Module, contract: CropInput = POINT, **settings: object) -> Recipe:
    judge = CandidateClassifier(nets=(net,), contract=contract, precision="fp32")
    return Recipe(source=source, classifier=judge, **settings)  # type: ignore[arg-type]


def nearest(table: pd.DataFrame, ball: tuple[float, float, float, float]) -> tuple[int, float]:
    z, y, x, _ = ball
    distance = np.linalg.norm(table[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy() - [x, y, z], axis=1)
    return int(distance.argmin()), float(distance.min())


def test_nodules_are_found_scored_and_measured(
    chest_scan: Callable[..., Scan], source: CandidateSource, mean_density: Callable[..., nn.Module]
) -> None:
    found = detect(chest_scan(balls=BALLS), recipe(source, mean_density(-300.0)))
    table = found.table
    assert list(table.columns) == list(COLUMNS)
    assert table["candidate_id"].tolist() == list(range(len(table)))
    assert table["probability"].is_monotonic_decreasing
    for ball in BALLS:
        row, distance = nearest(table, ball)
        assert distance < 1.5
        assert table["logit"][row] == pytest.approx(3.3, abs=0.7)  # (30 + 300) / 100, noise of 15 HU
        assert table["diameter_mm"][row] == pytest.approx(ball[3], rel=0.45)
    # The first ball sits in the middle of the left lung, 30 mm from its side and 8 mm are its own.
    row, _ = nearest(table, BALLS[0])
    assert 20 < table["distance_to_pleura_mm"][row] < 32
    assert found.patient["nodule_probability"] == pytest.approx(table["probability"].max())
    assert found.patient["n_nodules"] == 3
    assert math.isnan(found.patient["malignancy_probability"])
    assert 300 < found.patient["lung_volume_ml"] < 900
    assert {"lungs", "classify", "suppress", "measure"} < set(found.seconds)
    assert json.loads(json.dumps(found.recipe)) == found.recipe


def test_of_near_marks_the_most_probable_stays(
    chest_scan: Callable[..., Scan], mean_density: Callable[..., nn.Module]
) -> None:
    scan = chest_scan(balls=(BALLS[0],))
    blobs = BlobSource(diameters_mm=(5.0, 8.0, 12.0, 16.0), minimum_contrast_hu=100.0, minimum_roundness=0.0)
    every = detect(scan, recipe(blobs, mean_density(), suppression_mm=0.0)).table
    few = detect(scan, recipe(blobs, mean_density(), suppression_mm=30.0)).table
    assert len(every) > len(few) >= 1
    assert few["probability"][0] == every["probability"][0]


def test_malignancy_and_patient_rule(
    chest_scan: Callable[..., Scan], source: CandidateSource, mean_density: Callable[..., nn.Module]
) -> None:
    malignancy = CandidateClassifier(nets=(mean_density(30.0),), contract=POINT, precision="fp32")
    found = detect(
        chest_scan(balls=BALLS),
        recipe(source, mean_density(-300.0), malignancy=malignancy, patient_rule="noisy_or", nodule_threshold=0.9),
    )
    table = found.table
    nodules = table["probability"] >= 0.9
    assert nodules.sum() == 3
    expected = 1 - np.prod(1 - table["malignancy_probability"][nodules].to_numpy(np.float64))
    assert found.patient["malignancy_probability"] == pytest.approx(expected)
    assert "malignancy" in found.seconds


def test_a_network_gets_the_grid_it_was_trained_on(
    chest_scan: Callable[..., Scan], mean_density: Callable[..., nn.Module], bright_tissue: Callable[..., nn.Module]
) -> None:
    scan = chest_scan(balls=BALLS, spacing_zyx_mm=(2.0, 1.6, 1.6), shape=(48, 120, 120))
    contract = CropInput(shape_zyx=(3, 3, 3), spacing_zyx_mm=(2.0, 2.0, 2.0))
    segmenter = SliceSegmenter(nets=(bright_tissue(),), precision="fp32", spacing_zyx_mm=(2.5, 2.5, 2.5))
    found = detect(scan, recipe(SegmentationSource(segmenter=segmenter), mean_density(), contract))
    assert "resample" in found.seconds
    assert found.notes == ()  # every network has its own grid, so the scan's spacing does not matter
    for ball in BALLS:
        row, distance = nearest(found.table, ball)
        assert distance < 1.5
        assert found.table["logit"][row] == pytest.approx(3.3, abs=0.7)


def test_without_a_classifier_the_sources_score_stands_and_a_note_says_so(
    chest_scan: Callable[..., Scan], source: CandidateSource
) -> None:
    found = detect(chest_scan(balls=BALLS), Recipe(source=source))
    assert len(found.table) >= 3
    assert found.table["logit"][0] > 1
    assert any("no classifier; probabilities are the candidate source's own" in note for note in found.notes)


def test_a_scan_without_lungs_is_an_honest_empty_result(
    chest_scan: Callable[..., Scan], source: CandidateSource, mean_density: Callable[..., nn.Module]
) -> None:
    found = detect(chest_scan(lungs=False), recipe(source, mean_density()))
    assert len(found.table) == 0
    assert math.isnan(found.patient["nodule_probability"])
    assert any("no lungs found, so nothing was searched" in note for note in found.notes)


def test_an_empty_lung_is_zero_and_not_nan(
    chest_scan: Callable[..., Scan], source: CandidateSource, mean_density: Callable[..., nn.Module]
) -> None:
    found = detect(chest_scan(), recipe(source, mean_density()))
    assert len(found.table) == 0
    assert found.patient["nodule_probability"] == 0.0


@pytest.mark.parametrize(
    ("shape", "spacing", "note"),
    [
        ((5, 96, 96), (2.0, 2.0, 2.0), "pixels are 2 mm wide"),
        ((40, 320, 320), (2.5, 0.3, 0.3), "pixels are 0.3 mm wide"),
        ((10, 96, 96), (10.0, 2.0, 2.0), "slices are 10 mm apart"),
    ],
    ids=["5 slices", "0.3 mm pixels", "10 mm slices"],
)
def test_unusual_grids_give_a_result_with_a_warning(
    chest_scan: Callable[..., Scan],
    source: CandidateSource,
    classifier: LunaModel,
    caplog: pytest.LogCaptureFixture,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    note: str,
) -> None:
    if spacing[1] == 0.3:  # a chest that fits into 96 mm
        scan = chest_scan(shape=(40, 96, 96), spacing_zyx_mm=(4.8, 2.0, 2.0), balls=((0.0, 0.0, -40.0, 30.0),))
        hu = np.ascontiguousarray(scan.hu.repeat(4, 1).repeat(4, 2)[:, 32:352, 32:352])
        geometry = type(scan.geometry)(hu.shape, (-48, -48, -50), (0.3, 0.3, 2.5))
        scan = Scan(hu, geometry, "fine")
    else:
        scan = chest_scan(shape=shape, spacing_zyx_mm=spacing, balls=((0.0, 0.0, -40.0, 16.0),))
    found = detect(scan, recipe(source, classifier, CropInput(shape_zyx=(16, 16, 16))))
    assert any(note in text and "do not rely on its scores" in text for text in found.notes)
    assert note in caplog.text
    assert np.isfinite(found.table[["probability", "diameter_mm", "distance_to_pleura_mm"]].to_numpy()).all()
    # A ball cut by both ends of the volume or drawn out over two slices is not round: no blob.
    assert len(found.table) > 0 or isinstance(source, BlobSource)


def test_a_little_air_in_a_box_is_called_small(
    chest_scan: Callable[..., Scan], mean_density: Callable[..., nn.Module]
) -> None:
    scan = chest_scan(lungs=False)
    scan.hu[16:32, 40:56, 40:58] = -850  # 37 mL
    found = detect(scan, recipe(BlobSource(), mean_density()))
    assert any("mL look like lung: is this a whole chest CT?" in note for note in found.notes)


def test_a_crop_that_cannot_be_shifted_inside_is_an_error(
    chest_scan: Callable[..., Scan], source: CandidateSource, classifier: LunaModel
) -> None:
    scan = chest_scan(shape=(20, 96, 96), balls=((0.0, 0.0, -40.0, 16.0),))
    with pytest.raises(ScanError, match="shifts crops inside the volume"):
        detect(scan, recipe(source, classifier, CropInput(shape_zyx=(32, 48, 48), border="shift")))


def test_nan_weights_are_an_error(classifier: LunaModel) -> None:
    nn.init.constant_(classifier.head_linear.bias, float("nan"))
    with pytest.raises(RunError, match=r"classifier network LunaModel has NaN .* head_linear\.bias"):
        recipe(BlobSource(), classifier)


@pytest.mark.realdata
@pytest.mark.parametrize("kind", ["blobs", "segmentation"])
def test_the_nodule_of_a_real_slab_is_the_first_mark(realdata: Path, kind: str) -> None:
    """16 slices around a nodule of 23 mm, with the book's two networks: the first of some hundred marks lies on it."""
    (path,) = (realdata / "luna16_slabs" / "subset0").glob("*170706757615202213033480003264.mhd")
    scan = read_scan(path)
    annotations = read_annotations(realdata / "luna16_slabs" / "annotations.csv")
    (nodule,) = annotations[annotations["series_uid"] == scan.series_uid].itertuples()
    (weights,) = sorted((realdata / "book_weights").glob("cls_*.state"))
    source: CandidateSource = BlobSource(max_candidates=60)
    if kind == "segmentation":
        (segmenter,) = sorted((realdata / "book_weights").glob("seg_*.state"))
        source = SegmentationSource(
            segmenter=SliceSegmenter(nets=(load_book_segmenter(segmenter),)), minimum_diameter_mm=4.0
        )
    found = detect(scan, Recipe(source=source, classifier=CandidateClassifier(nets=(load_book_classifier(weights),))))
    first = found.table.iloc[0]
    center = np.array([nodule.center_x_mm, nodule.center_y_mm, nodule.center_z_mm], dtype=np.float64)
    mark = first[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy(dtype=np.float64)
    assert np.linalg.norm(mark - center) < float(nodule.diameter_mm) / 2  # type: ignore[arg-type]
    assert first["probability"] > 0.9
    assert found.notes == ()


def test_noise_that_passes_for_lungs_is_pointed_out() -> None:
    hu = np.random.default_rng(0).integers(-1000, 1000, (40, 96, 96)).astype(np.int16)
    scan = Scan(hu, Geometry((40, 96, 96), (0.0, 0.0, 0.0), (3.0, 3.0, 3.0)), "noise")
    assert find_lungs(scan) is not None, "the case is only of interest where a mask is found"
    found = detect(scan, Recipe(source=BlobSource()))
    assert any("of what was taken for lungs is denser than -300 HU" in note for note in found.notes)
