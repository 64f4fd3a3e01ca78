from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
import scipy.ndimage

from lungdet.errors import ConfigError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.pipeline.blobs import BlobSource, blur, contrast, hessian_roundness, levelled, peaks
from lungdet.pipeline.candidates import Candidates
from lungdet.pipeline.lungs import Lungs
from lungdet.pipeline.timing import StageClock

SPACING = (1.25, 1.0, 1.0)
SHAPE = (50, 60, 70)
GEOMETRY = Geometry(SHAPE, (10.0, -20.0, 30.0), (1.0, 1.0, 1.25))


def coordinates() -> list[np.ndarray[tuple[int, ...], np.dtype[np.float64]]]:
    return [n * s for n, s in zip(np.ogrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]], SPACING, strict=True)]


def lung_block(*balls: tuple[float, float, float, float, float], tube: float | None = None) -> Scan:
    """Lung with balls (z, y, x, diameter in mm, HU) and a tube of a diameter along x, smooth as a scanner makes it."""
    z, y, x = coordinates()
    hu = np.full(SHAPE, -850.0)
    for bz, by, bx, diameter, value in balls:
        hu[(z - bz) ** 2 + (y - by) ** 2 + (x - bx) ** 2 < (diameter / 2) ** 2] = value
    if tube is not None:
        hu[np.broadcast_to((z - 45) ** 2 + (y - 45) ** 2 < (tube / 2) ** 2, SHAPE)] = 30.0
    return Scan(np.rint(scipy.ndimage.gaussian_filter(hu, 0.5)).astype(np.int16), GEOMETRY, "lung")


def find(
    scan: Scan, source: BlobSource, mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]] | None = None
) -> Candidates:
    mask = np.ones(scan.hu.shape, bool) if mask is None else mask
    return source.find(scan, Lungs(mask, scan.geometry), clock=StageClock())


@pytest.mark.parametrize("diameter", [4.0, 5.7, 8.0, 11.3, 16.0, 22.6])
def test_a_ball_is_found_with_its_place_size_and_contrast(diameter: float) -> None:
    scan = lung_block((30.0, 28.0, 33.0, diameter, -50.0))
    found = find(scan, BlobSource())
    best = int(np.argmax(found.logit))
    center = GEOMETRY.index_to_world(np.array([30 / 1.25, 28, 33]))
    assert np.linalg.norm(found.center_xyz_mm[best] - center) < 0.8
    assert found.diameter_mm[best] == pytest.approx(diameter, rel=0.45)
    # 800 HU of contrast and a roundness near 1 make a logit of (800 - 300) / 75; voxels and the scanner's blur cost
    # small balls some of it.
    assert (0.5 if diameter < 5 else 2.5) < found.logit[best] < 7.0
    assert found.mean_hu[best] > -600


def test_a_tube_is_told_from_a_ball_by_its_roundness() -> None:
    scan = lung_block((22.0, 20.0, 30.0, 8.0, 30.0), tube=6.0)
    every = find(scan, BlobSource(minimum_roundness=0.0, minimum_contrast_hu=300))
    round_ones = find(scan, BlobSource(minimum_roundness=0.3, minimum_contrast_hu=300))
    on_tube = np.abs(GEOMETRY.world_to_index(round_ones.center_xyz_mm)[:, 0] * 1.25 - 45) < 4
    assert len(round_ones) >= 1
    assert not on_tube.any()
    assert len(every) > len(round_ones)


def test_only_the_search_region_counts_and_the_chest_wall_leaves_no_edge() -> None:
    scan = lung_block((22.5, 20.0, 30.0, 8.0, 30.0), (40.0, 40.0, 60.0, 8.0, 30.0))
    scan.hu[:, :6] = 40  # a wall
    mask = np.zeros(SHAPE, bool)
    mask[:, 6:30] = True
    found = find(scan, BlobSource(minimum_contrast_hu=300), mask)
    assert len(found) == 1
    assert np.linalg.norm(found.center_xyz_mm[0] - GEOMETRY.index_to_world(np.array([18, 20, 30]))) < 1


def test_at_most_so_many_and_the_strongest_first() -> None:
    balls = [(12.0 * i + 12, 15.0, 12.0 * j + 10, 6.0, -800 + 150.0 * (i + j)) for i in range(3) for j in range(4)]
    scan = lung_block(*balls)
    everything = find(scan, BlobSource(minimum_contrast_hu=50))
    few = find(scan, BlobSource(minimum_contrast_hu=50, max_candidates=5))
    assert len(everything) > 5
    assert (np.diff(few.logit) <= 0).all()
    np.testing.assert_array_equal(few.logit, np.sort(everything.logit)[::-1][:5])


def test_an_empty_lung_has_no_blobs() -> None:
    assert len(find(lung_block(), BlobSource())) == 0


def test_blur_is_scipys_gaussian() -> None:
    image = np.random.default_rng(0).standard_normal((9, 20, 30)).astype(np.float32)
    sigma = np.array([0.8, 1.5, 2.2])
    expected = scipy.ndimage.gaussian_filter(image, sigma, mode="nearest", truncate=5)
    np.testing.assert_allclose(blur(image, sigma), expected, atol=2e-4)


def test_contrast_is_the_laplacian_of_a_parabola() -> None:
    """F = z^2 + 2 y^2 + 3 x^2 has Laplacian 12 everywhere; sigma^2 * -12 / 0.925 away from the border."""
    z, y, x = coordinates()
    image = (z**2 + 2 * y**2 + 3 * x**2).astype(np.float32)
    answer = contrast(image, sigma=2.0, spacing_zyx_mm=np.asarray(SPACING))
    np.testing.assert_allclose(answer[5:-5, 5:-5, 5:-5], -4 * 12 / 0.925, rtol=2e-2)


@pytest.mark.parametrize(
    ("curvatures", "expected"), [((1, 1, 1), 1.0), ((0.5, 1, 2), 0.25), ((0, 1, 1), 0.0), ((-1, 1, 1), -1.0)]
)
def test_roundness_is_the_ratio_of_curvatures_whatever_the_axes(
    curvatures: tuple[float, float, float], expected: float
) -> None:
    turn = scipy.spatial.transform.Rotation.from_euler("zyx", [0.4, 1.1, -0.7]).as_matrix()
    form = turn @ np.diag(curvatures) @ turn.T
    axes = [(np.arange(3) - 1.0) * s for s in SPACING]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    image = -np.einsum("...i,ij,...j->...", points, form, points)
    (roundness,) = hessian_roundness(image.astype(np.float32), np.array([[1, 1, 1]]), np.asarray(SPACING))
    assert roundness == pytest.approx(expected, abs=1e-5)


def test_a_valley_is_not_round() -> None:
    bowl = np.array([[[3.0, 2, 3], [2, 1, 2], [3, 2, 3]]] * 3, dtype=np.float32)
    bowl[1] -= 1
    assert hessian_roundness(bowl, np.array([[1, 1, 1], [1, 1, 1]]), np.ones(3)).tolist() == [-1.0, -1.0]
    assert hessian_roundness(bowl, np.empty((0, 3), np.int64), np.ones(3)).shape == (0,)


def test_peaks_by_hand() -> None:
    """Two scales; the peak at (1, 2, 2) is higher in the second, (1, 2, 6) in the first; (1, 2, 8) is below."""
    first, second = np.zeros((3, 5, 10), np.float32), np.zeros((3, 5, 10), np.float32)
    first[1, 2, 2], second[1, 2, 2] = 5, 6
    first[1, 2, 6], second[1, 2, 6] = 7, 4
    first[1, 2, 8] = 1
    inside = np.ones((3, 5, 10), bool)
    scale, position = peaks([first, second], minimum=2, inside=inside)
    assert scale.tolist() == [0, 1]
    assert position.tolist() == [[1, 2, 6], [1, 2, 2]]
    inside[1, 2, 2] = False
    assert peaks([first, second], minimum=2, inside=inside)[1].tolist() == [[1, 2, 6]]
    assert peaks([first], minimum=2, inside=np.ones_like(inside))[1].tolist() == [[1, 2, 2], [1, 2, 6]]


def test_levelling() -> None:
    hu = np.array([[[-3024, -900, -300, 3000, 50]]], np.int16)
    inside = np.array([[[True, True, True, True, False]]])
    assert levelled(hu, inside).tolist() == [[[-850, -850, -300, 100, -850]]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"diameters_mm": ()}, "needs increasing positive sizes"),
        ({"diameters_mm": (4.0, 4.0)}, "needs increasing positive sizes"),
        ({"diameters_mm": (0.0, 4.0)}, "needs increasing positive sizes"),
        ({"minimum_roundness": 1.5}, r"minimum_roundness=1.5 must lie in \[0, 1\]"),
        ({"minimum_contrast_hu": 0.0}, "minimum_contrast_hu must be positive"),
        ({"max_candidates": 0}, "max_candidates at least 1"),
        ({"spacing_zyx_mm": (1.0, 0.0, 1.0)}, "three positive numbers"),
    ],
)
def test_impossible_settings_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        BlobSource(**arguments)  # type: ignore[arg-type]


def test_settings_are_ready_for_json(chest_scan: Callable[..., Scan]) -> None:
    for source in (BlobSource(), BlobSource(spacing_zyx_mm=None)):
        record = source.describe()
        assert json.loads(json.dumps(record)) == record
