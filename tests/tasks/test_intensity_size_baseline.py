from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest
from scipy.special import logit as true_logit
from sklearn.metrics import roc_auc_score

from lungdet.errors import ShapeError, TableError
from lungdet.tasks.intensity_size_baseline import FEATURE_NAMES, features, fit_baseline

Volume = npt.NDArray[np.int16]


def ball(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    *,
    diameter_mm: float,
    offset_mm: tuple[float, float, float] = (0, 0, 0),
    hu: int = 40,
) -> Volume:
    """A crop of lung with one ball near its centre voxel."""
    axes = [(np.arange(n) - n // 2) * s - o for n, s, o in zip(shape, spacing, offset_mm, strict=True)]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    inside = z**2 + y**2 + x**2 <= (diameter_mm / 2) ** 2
    return np.where(inside, hu, -850).astype(np.int16)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.25, 0.7, 0.7), (2.5, 0.5, 0.5)])
@pytest.mark.parametrize("diameter", [6.0, 12.0, 25.0])
def test_size_is_the_diameter_of_a_ball_on_any_spacing(spacing: tuple[float, float, float], diameter: float) -> None:
    shape = tuple(round(40 / s) for s in spacing)
    crop = ball((shape[0], shape[1], shape[2]), spacing, diameter_mm=diameter)
    row = features(crop[None], spacing)[0]
    assert row[1] == pytest.approx(diameter, rel=0.06)
    assert row[0] == pytest.approx(40 if diameter >= 8 else -850 + 890 * (6 / 8) ** 3, abs=90)


def test_mean_hu_is_over_a_sphere_of_8_mm() -> None:
    crop = np.full((24, 24, 24), -850, np.int16)
    z, y, x = np.meshgrid(*[np.arange(24) - 12] * 3, indexing="ij")
    radius = np.sqrt(z**2 + y**2 + x**2)
    crop[radius > 4] = 3000  # outside the sphere: must not count
    crop[radius == 4] = 100
    expected = crop[radius <= 4].astype(float).mean()
    assert features(crop[None], (1, 1, 1))[0, 0] == pytest.approx(expected, rel=1e-6)


def test_a_neighbour_that_does_not_touch_is_not_counted() -> None:
    spacing = (1.0, 1.0, 1.0)
    alone = ball((32, 32, 32), spacing, diameter_mm=6)
    beside = np.maximum(alone, ball((32, 32, 32), spacing, diameter_mm=8, offset_mm=(0, 9, 0)))
    assert features(beside[None], spacing)[0, 1] == features(alone[None], spacing)[0, 1]


def test_a_centre_beside_the_nodule_or_in_a_cavity_still_finds_it() -> None:
    spacing = (1.0, 1.0, 1.0)
    off = ball((32, 32, 32), spacing, diameter_mm=6, offset_mm=(0, 3, 2))  # centre voxel is lung
    assert off[16, 16, 16] == -850
    assert features(off[None], spacing)[0, 1] == pytest.approx(6, rel=0.08)
    cavity = ball((32, 32, 32), spacing, diameter_mm=10)
    cavity[15:18, 15:18, 15:18] = -900
    assert features(cavity[None], spacing)[0, 1] == pytest.approx(10, rel=0.08)


def test_no_tissue_near_the_centre_is_size_zero() -> None:
    far = ball((32, 32, 32), (1, 1, 1), diameter_mm=6, offset_mm=(0, 10, 0))
    np.testing.assert_array_equal(features(far[None], (1, 1, 1))[0], [-850, 0])


def test_a_wall_is_cut_to_the_central_cube() -> None:
    wall = np.full((1, 64, 64, 64), 50, np.int16)
    assert features(wall, (1, 1, 1))[0, 1] == pytest.approx((6 * 33**3 / np.pi) ** (1 / 3), rel=1e-5)
    assert features(wall[:, :10, :10, :10], (1, 1, 1))[0, 1] == pytest.approx((6000 / np.pi) ** (1 / 3), rel=1e-5)


def test_rows_are_independent_and_empty_input_has_two_columns() -> None:
    crops = np.stack([ball((20, 20, 20), (1, 1, 1), diameter_mm=d) for d in (4.0, 9.0)])
    both = features(crops, (1, 1, 1))
    assert both.dtype == np.float32
    np.testing.assert_array_equal(both[1], features(crops[1:], (1, 1, 1))[0])
    assert features(crops[:0], (1, 1, 1)).shape == (0, len(FEATURE_NAMES))


@pytest.mark.parametrize("spacing", [(1, 1), (0, 1, 1), (np.nan, 1, 1)])
def test_wrong_spacing(spacing: tuple[float, ...]) -> None:
    with pytest.raises(ShapeError, match="spacing_zyx_mm must be three positive numbers"):
        features(np.zeros((1, 4, 4, 4), np.int16), spacing)


@pytest.mark.parametrize("shape", [(4, 4, 4), (1, 0, 4, 4)])
def test_wrong_crops(shape: tuple[int, ...]) -> None:
    with pytest.raises(ShapeError, match=r"crops must be \[N, D, H, W\]"):
        features(np.zeros(shape, np.int16), (1, 1, 1))


def test_a_crop_takes_milliseconds_at_most() -> None:
    rng = np.random.default_rng(0)
    crops = rng.integers(-1000, 200, (50, 32, 48, 48)).astype(np.int16)  # noise: the most components there can be
    features(crops[:2], (1, 1, 1))
    started = time.perf_counter()
    features(crops, (1, 1, 1))
    assert (time.perf_counter() - started) / 50 < 5e-3  # measured 0.9 ms on noise, 0.2 ms on smooth crops


def test_the_fit_recovers_a_known_logistic_model() -> None:
    rng = np.random.default_rng(0)
    x = np.column_stack([rng.normal(-500, 200, 20_000), rng.gamma(3, 2, 20_000)]).astype(np.float32)
    logit = 0.005 * (x[:, 0] + 500) + 0.4 * (x[:, 1] - 6)
    label = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    fitted = fit_baseline(x, label.astype(np.int8)).logit(x)
    assert fitted.dtype == np.float32
    np.testing.assert_allclose(fitted, logit, atol=0.3)
    assert roc_auc_score(label, fitted) == pytest.approx(roc_auc_score(label, logit), abs=1e-3)
    assert true_logit(label.mean()) == pytest.approx(fitted.mean(), abs=0.5)


def test_no_rows_to_score_is_fine() -> None:
    model = fit_baseline(np.array([[0.0, 1.0], [1.0, 2.0]]), [0, 1])
    assert model.logit(np.zeros((0, 2), np.float32)).shape == (0,)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros((3, 2)), [0, 0, 0], r"both classes to fit, labels are \[0\]"),
        (np.zeros((0, 2)), [], r"both classes to fit, labels are \[\]"),
        (np.zeros((3, 2)), [0, 1], r"do not belong together: \(3, 2\) and \(2,\)"),
        (np.zeros(3), [0, 1, 0], "do not belong together"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), [0, 1], "features must be finite, row 1 is not"),
    ],
)
def test_what_cannot_be_fitted(x: npt.NDArray[np.float64], y: list[int], message: str) -> None:
    with pytest.raises(TableError, match=message):
        fit_baseline(x, y)
