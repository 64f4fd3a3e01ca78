from __future__ import annotations

import numpy as np
import pytest

from lungdet.geometry import Geometry
from lungdet.io.phantom.canvas import Canvas, add_denser, slab_occupancy
from lungdet.io.phantom.trees import Tubes

TILTED = np.array([[0.96, -0.28, 0], [0.28 * 0.8, 0.96 * 0.8, -0.6], [0.28 * 0.6, 0.96 * 0.6, 0.8]])
DIRECTIONS = {"axial": np.eye(3), "flipped": np.diag([-1.0, -1, 1]), "oblique": TILTED}


def canvas_of(direction: np.ndarray, *, value: float = -850.0, shape: tuple[int, int, int] = (24, 40, 44)) -> Canvas:
    geometry = Geometry(shape, (0, 0, 0), (0.7, 0.7, 1.25), tuple(direction.ravel()))
    return Canvas(np.full(shape, value, np.float32), geometry)


def tube(start: list[float], end: list[float], radius: float) -> Tubes:
    return Tubes(np.array([start], float), np.array([end], float), np.array([radius]), np.array([radius]))


@pytest.mark.parametrize("name", DIRECTIONS)
def test_a_tube_has_its_volume_and_its_place_on_every_direction(name: str) -> None:
    canvas = canvas_of(DIRECTIONS[name])
    canvas.tubes(tube([-5, -2, -3], [4, 3, 2], 1.8), 150.0, background_hu=-850.0)
    share = (canvas.hu + 850.0) / 1000.0
    length = float(np.linalg.norm([9, 5, 5]))
    expected = np.pi * 1.8**2 * length + 4 / 3 * np.pi * 1.8**3
    # A flat ramp over curved surfaces makes a tube of five voxels a little thick.
    assert share.sum() * 0.7 * 0.7 * 1.25 == pytest.approx(expected, rel=0.08)
    # Its centre of mass, mapped by the geometry that readers will use.
    geometry = Geometry(canvas.hu.shape, (0, 0, 0), (0.7, 0.7, 1.25), tuple(DIRECTIONS[name].ravel()))
    middle = geometry.index_to_world((np.asarray(geometry.shape_zyx) - 1) / 2)
    index = np.stack(np.nonzero(share), axis=1)
    center = np.average(geometry.index_to_world(index), weights=share[tuple(index.T)], axis=0) - middle
    np.testing.assert_allclose(center, [-0.5, 0.5, -0.5], atol=0.1)


@pytest.mark.parametrize("name", DIRECTIONS)
def test_slabs_and_local_boxes_see_the_same_coordinates(name: str) -> None:
    canvas = canvas_of(DIRECTIONS[name])
    full = np.concatenate(
        [np.stack(np.broadcast_arrays(x, y, z)) + 0 * canvas.hu[where] for where, x, y, z in canvas.slabs()], axis=1
    )
    box = canvas.local([1.0, 2.0, -1.0], 4.0)
    assert box is not None
    local = np.stack([box.x, box.y, box.z]) + np.array([1.0, 2.0, -1.0])[:, None, None, None]
    np.testing.assert_allclose(full[:, *box.where], local, atol=1e-4)
    assert (box.voxel >= 0.7 - 1e-9).all()
    assert (box.voxel <= np.sqrt(0.7**2 * 2 + 1.25**2) + 1e-9).all()


def test_large_volumes_come_in_several_slabs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lungdet.io.phantom.canvas._SLAB_VOXELS", 5 * 40 * 44)
    where = [slab[0] for slab in canvas_of(np.eye(3)).slabs()]
    assert [(s.start, s.stop) for s in where] == [(0, 5), (5, 10), (10, 15), (15, 20), (20, 25)]


def test_what_lies_outside_is_left_out() -> None:
    canvas = canvas_of(np.eye(3))
    canvas.tubes(tube([100, 0, 0], [120, 0, 0], 2.0), 100.0, background_hu=-850.0)
    assert (canvas.hu == -850).all()
    assert canvas.local([0, 0, 300], 5.0) is None


def test_tubes_that_overlap_show_no_seam() -> None:
    one, two = canvas_of(np.eye(3)), canvas_of(np.eye(3))
    one.tubes(tube([-6, 0, 0], [6, 0, 0], 1.0), 50.0, background_hu=-850.0)
    two.tubes(tube([-6, 0, 0], [2, 0, 0], 1.0), 50.0, background_hu=-850.0)
    two.tubes(tube([-2, 0, 0], [6, 0, 0], 1.0), 50.0, background_hu=-850.0)
    np.testing.assert_allclose(one.hu, two.hu, atol=1e-3)


def test_a_lumen_replaces_what_is_there() -> None:
    canvas = canvas_of(np.eye(3), value=40.0)
    canvas.tubes(tube([-8, 0, 0], [8, 0, 0], 3.0), -980.0, background_hu=None)
    assert canvas.hu.min() == pytest.approx(-980)
    assert canvas.hu.max() == 40


def test_denser_tissue_neither_thins_nor_fills_the_box() -> None:
    part = np.array([-1000, -850, 40, 300], np.float32)
    add_denser(part, np.zeros(4, np.float32), 100.0, -850.0)
    assert part.tolist() == [-1000, -850, 40, 300]
    add_denser(part, np.full(4, 0.5, np.float32), 100.0, -850.0)
    assert part.tolist() == [-450, -375, 40, 300]
    add_denser(part, np.ones(4, np.float32), 100.0, -850.0)
    assert part.tolist() == [100, 100, 100, 300]


def test_thin_structures_fade_in_thick_voxels() -> None:
    distance, voxel = np.zeros(3), np.array([0.5, 2.0, 4.0])
    np.testing.assert_allclose(slab_occupancy(distance, np.full(3, 0.5), voxel), [1.0, 0.5, 0.25])
    far = slab_occupancy(np.array([1.0, 3.0]), np.array([1.0, 1.0]), np.array([1.0, 1.0]))
    np.testing.assert_allclose(far, [0.5, 0.0])


def test_blur_keeps_the_mean_and_is_in_mm() -> None:
    canvas = canvas_of(np.eye(3), value=0.0, shape=(41, 41, 41))
    canvas.hu[20, 20, 20] = 1000.0
    canvas.blur(1.4, 2.5)
    assert canvas.hu.sum() == pytest.approx(1000.0, rel=1e-3)
    offsets = np.arange(41) - 20
    for axis, (spacing, sigma) in enumerate([(1.25, 2.5), (0.7, 1.4), (0.7, 1.4)]):
        profile = canvas.hu.sum(axis=tuple({0, 1, 2} - {axis})) / 1000
        assert np.sqrt((profile * offsets**2).sum()) * spacing == pytest.approx(sigma, rel=0.05)


def test_noise_has_the_asked_strength_and_the_spectrum_of_ct() -> None:
    canvas = canvas_of(np.eye(3), value=0.0, shape=(60, 128, 128))
    canvas.add_noise(np.random.default_rng(0), 20.0, 0.5)
    middle = canvas.hu[:, 48:80, 48:80]
    assert middle.std() == pytest.approx(20.0, rel=0.08)
    assert abs(middle.mean()) < 0.5
    assert canvas.hu[:, :16, :16].std() < 0.6 * middle.std()

    def correlation(shift: tuple[int, int, int]) -> float:
        return float(np.corrcoef(middle.ravel(), np.roll(canvas.hu, shift, (0, 1, 2))[:, 48:80, 48:80].ravel())[0, 1])

    # Not white: neighbours share, and a few pixels on the correlation turns negative, as behind a ramp filter.
    assert 0.3 < correlation((0, 0, 1)) < 0.8
    assert correlation((0, 0, 4)) < -0.01
    assert correlation((1, 0, 0)) == pytest.approx(np.exp(-1.25 / 1.2), abs=0.05)
    power = np.abs(np.fft.fft2(canvas.hu - canvas.hu.mean(axis=(1, 2), keepdims=True))).mean(axis=0)
    assert power[1:3, 0].mean() < power[6:14, 0].mean() > power[60:64, 0].mean()


def test_noise_of_the_same_stream_is_the_same() -> None:
    first, second = canvas_of(np.eye(3)), canvas_of(np.eye(3))
    for canvas in (first, second):
        canvas.add_noise(np.random.default_rng(1), 20.0, 0.5)
    np.testing.assert_array_equal(first.hu, second.hu)
