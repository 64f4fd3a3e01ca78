from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from lungdet.errors import ConfigError
from lungdet.io.phantom.plan import plan_cohort
from lungdet.io.phantom.scan import PhantomScan, make_scan
from lungdet.io.phantom.spec import PhantomSpec

HU_AT_CENTRE = {
    "solid": (-250, 520), "part_solid": (-480, 80), "ground_glass": (-700, -350), "cavitary": (-1000, -450),
}  # fmt: skip


def consensus_of(scan: PhantomScan, annotation: dict[str, Any]) -> np.ndarray:
    """[M, 3] world positions of the voxels that at least two readers outlined, of the component at a nodule."""
    labels, _ = ndimage.label(scan.reader_mask >= 2, np.ones((3, 3, 3)))
    voxels = np.stack(np.nonzero(labels), axis=1)
    world = scan.geometry.index_to_world(voxels)
    nearest = np.argmin(np.linalg.norm(world - annotation["center"], axis=1))
    own: np.ndarray = world[labels[tuple(voxels.T)] == labels[tuple(voxels[nearest])]]
    return own


def test_the_cohort_of_the_tests_has_every_orientation(scans: list[PhantomScan]) -> None:
    assert sorted(scan.plan.orientation for scan in scans) == ["axial", "axial", "flipped", "oblique"]
    for scan in scans:
        turn = np.array(scan.geometry.direction).reshape(3, 3)
        if scan.plan.orientation == "flipped":
            np.testing.assert_array_equal(turn, np.diag([-1, -1, 1]))
        if scan.plan.orientation == "oblique":
            assert np.abs(turn - turn.T).max() > 0.05, "a transposed matrix would pass unnoticed"
        assert np.linalg.det(turn) == pytest.approx(1)


def test_annotated_centre_and_diameter_are_those_of_the_outlined_nodule(scans: list[PhantomScan]) -> None:
    checked = 0
    for scan in scans:
        voxel = np.array(scan.geometry.spacing_xyz_mm)
        for annotation in scan.annotations:
            points = consensus_of(scan, annotation)
            diameter = (6 * len(points) * voxel.prod() / np.pi) ** (1 / 3)
            assert diameter == pytest.approx(
                annotation["diameter_mm"], abs=0.12 * annotation["diameter_mm"] + voxel.mean()
            )
            # Half a voxel, along the index axes; readers add a little of their own.
            turn = np.array(scan.geometry.direction).reshape(3, 3)
            off = np.abs((points.mean(axis=0) - annotation["center"]) @ turn)
            assert (off < 0.5 * voxel + 0.15).all()
            checked += 1
    assert checked >= 10


def test_attenuation_at_the_annotated_centre_follows_the_texture(scans: list[PhantomScan]) -> None:
    checked = 0
    for scan in scans:
        for annotation in scan.annotations:
            # Partial volume takes from what is not well sampled.
            if annotation["diameter_mm"] < 2.5 * max(scan.geometry.spacing_xyz_mm):
                continue
            index = scan.geometry.world_to_index(annotation["center"])
            hu = ndimage.map_coordinates(scan.hu.astype(float), index[:, None], order=1)[0]
            low, high = HU_AT_CENTRE[annotation["texture"]]
            assert low <= hu <= high, annotation
            checked += 1
    assert checked >= 8


def test_everything_lies_inside_the_volume_and_the_field_of_view(scans: list[PhantomScan]) -> None:
    for scan in scans:
        marks = [*scan.candidates_v1, *scan.candidates_v2, *scan.annotations]
        points = np.array([mark["center"] for mark in marks])
        assert scan.geometry.contains(points).all()
        index = np.rint(scan.geometry.world_to_index(points)).astype(int)
        assert (scan.hu[tuple(index.T)] >= -1024).all()
        assert scan.geometry.contains(np.array(scan.excluded)[:, :3]).all()


def test_positive_marks_lie_in_their_nodule(scans: list[PhantomScan]) -> None:
    for scan in scans:
        for mark in scan.candidates_v2:
            gaps = [
                np.linalg.norm(np.subtract(mark["center"], a["center"])) - a["diameter_mm"] / 2
                for a in scan.annotations
            ]
            if mark["nodule"] >= 0:
                assert gaps[mark["nodule"]] < 0
                assert mark["kind"] == "nodule"
            else:
                assert min(gaps) > 0


def test_padding_is_a_circle_of_one_value() -> None:
    spec = PhantomSpec(n_scans=4, shape_zyx=(40, 96, 96))
    plans = plan_cohort(spec)
    padded = make_scan(spec, next(p.index for p in plans if p.padding_hu is not None))
    plain = make_scan(spec, next(p.index for p in plans if p.padding_hu is None))
    assert plain.hu.min() >= -1024
    outside = padded.hu < -1024
    assert (padded.hu[outside] == padded.plan.padding_hu).all()
    assert outside[:, 0, 0].all()
    assert not outside[:, 48, :].any()
    assert outside.mean() == pytest.approx(1 - np.pi / 4, abs=0.01)


def test_it_is_a_chest(scans: list[PhantomScan]) -> None:
    for scan in scans:
        shares = np.histogram(scan.hu, [-1025, -950, -700, -200, -20, 100, 3072])[0] / scan.hu.size
        air, lung, _, fat, tissue, bone = shares
        assert 0.2 < air < 0.6
        assert 0.08 < lung < 0.35
        assert fat > 0.02
        assert 0.1 < tissue < 0.5
        assert 0.005 < bone < 0.12
        assert scan.hu.dtype == np.int16
        assert scan.hu.flags.c_contiguous


def test_patient_left_is_larger_x_and_the_head_is_larger_z(scans: list[PhantomScan]) -> None:
    for scan in scans:
        step = (slice(None, None, 3),) * 3
        index = np.stack(np.nonzero(np.ones_like(scan.hu[step])), axis=1) * 3
        world = scan.geometry.index_to_world(index) - scan.geometry.index_to_world((np.array(scan.hu.shape) - 1) / 2)
        hu = scan.hu[step].ravel()
        soft = (hu > 0) & (hu < 250)
        # The heart lies on the left, the abdomen at the feet, the spine at the back.
        height = 0.5 * scan.plan.height_mm
        heart = soft & (np.abs(world[:, 2]) < 0.25 * height) & (np.hypot(world[:, 0], world[:, 1]) < 0.35 * height)
        assert world[heart, 0].mean() > 0
        inside = np.hypot(world[:, 0], world[:, 1]) < 0.5 * height
        assert soft[inside & (world[:, 2] < -0.7 * height)].mean() > 0.6
        assert world[(hu > 300) & (np.abs(world[:, 0]) < 0.15 * height), 1].mean() > 0


def test_one_index_one_scan() -> None:
    spec = PhantomSpec(n_scans=4, shape_zyx=(40, 96, 96))
    first, again = make_scan(spec, 2), make_scan(spec, 2)
    assert first.hu.tobytes() == again.hu.tobytes()
    assert first.reader_mask.tobytes() == again.reader_mask.tobytes()
    assert first.annotations == again.annotations
    assert first.candidates_v2 == again.candidates_v2
    assert first.series_uid == plan_cohort(spec)[2].series_uid


def test_no_such_index() -> None:
    with pytest.raises(ConfigError, match="index 24: the cohort has scans 0 to 23"):
        make_scan(PhantomSpec(), 24)


def test_noise_knob_reaches_the_voxels() -> None:
    scatter = []
    for noise in (2.0, 30.0):
        scan = make_scan(PhantomSpec(n_scans=1, noise_hu=noise, shape_zyx=(48, 96, 96)), 0)
        liver = scan.hu[2:5, 44:52, 30:38].astype(float)
        scatter.append(liver.std())
    assert scatter[1] > 5 * scatter[0]


@pytest.mark.slow
def test_realistic_size() -> None:
    spec = PhantomSpec(n_scans=1, shape_zyx=(300, 512, 512), patients_with_two_series=0)
    scan = make_scan(spec, 0)
    assert scan.hu.shape[1:] == (512, 512)
    assert scan.geometry.size_zyx_mm[0] == pytest.approx(300, rel=0.2)
    assert scan.annotations
