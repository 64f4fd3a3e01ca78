"""Augmentation of crops: geometry by hand, the same result wherever a sample stands, and old bugs that stay away."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from lungdet.data.augment import AugmentationDraw, CropAugmentation
from lungdet.errors import ConfigError

OFF = {
    "flip": False,
    "rotation_deg": 0,
    "scale": (1, 1),
    "offset_mm": 0,
    "contrast": (1, 1),
    "intensity_shift_hu": 0,
    "noise_hu_sd": 0,
}


def only(**some: object) -> CropAugmentation:
    return CropAugmentation(**(OFF | some))  # type: ignore[arg-type]


def crops(n: int, shape: tuple[int, int, int] = (8, 12, 10), seed: int = 0) -> Tensor:
    hu = np.random.default_rng(seed).integers(-1024, 600, (n, 1, *shape))
    return torch.from_numpy(hu.astype(np.int16))


def run(
    augment: CropAugmentation,
    hu: Tensor,
    *,
    draws: np.ndarray | None = None,
    seed: int = 0,
    epoch: int = 0,
    spacing: object = (1.0, 1.0, 1.0),
) -> Tensor:
    draws = np.arange(len(hu)) if draws is None else draws
    return augment.apply(hu, augment.draw(draws, seed=seed, epoch=epoch, spacing_zyx_mm=spacing))  # type: ignore[arg-type]


def fixed(matrix: np.ndarray) -> AugmentationDraw:
    """A draw with a chosen matrix [3, 4] and nothing else."""
    return {
        "matrix": torch.from_numpy(matrix[None].astype(np.float32)),
        "contrast": torch.ones(1),
        "shift_hu": torch.zeros(1),
        "noise_hu_sd": torch.zeros(1),
        "noise_key": torch.zeros(1, dtype=torch.int64),
    }


def blob(shape: tuple[int, int, int], centre: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """A Gaussian bump of 1000 HU on air: float32 [1, 1, D, H, W]."""
    grids = np.meshgrid(*(np.arange(n) for n in shape), indexing="ij")
    distance = sum(((grid - c) / s) ** 2 for grid, c, s in zip(grids, centre, sd, strict=True))
    return torch.from_numpy((1000 * np.exp(-distance / 2) - 1000).astype(np.float32))[None, None]


def centre_of_mass(image: Tensor) -> np.ndarray:
    return np.array(ndimage.center_of_mass(image[0, 0].numpy() + 1000))


def moments(image: Tensor, spacing: tuple[float, ...]) -> np.ndarray:
    """Second central moments in mm^2: [3, 3]."""
    weight = (image[0, 0].numpy().astype(np.float64) + 1000).clip(0)
    points = np.stack(np.meshgrid(*(np.arange(n) for n in weight.shape), indexing="ij"), -1).reshape(-1, 3) * spacing
    return np.cov(points.T, aweights=weight.ravel())


# -- geometry --------------------------------------------------------------------------------------------------------


def test_everything_off_changes_nothing() -> None:
    hu = crops(4)
    assert torch.equal(run(only(), hu), hu.float())


def test_input_is_never_written_to() -> None:
    for some in (only(), CropAugmentation()):
        given = crops(2).float()
        run(some, given)
        assert torch.equal(given, crops(2).float())


def test_flips_are_all_eight_mirror_images_and_lose_nothing() -> None:
    hu = crops(1).repeat(200, 1, 1, 1, 1)
    out = run(only(flip=True), hu)
    mirrored = {
        axes: torch.flip(hu[0, 0].float(), axes) for n in range(4) for axes in itertools.combinations((0, 1, 2), n)
    }
    seen = set()
    for image in out[:, 0]:
        matches = [axes for axes, expected in mirrored.items() if torch.allclose(image, expected, atol=0.05)]
        assert len(matches) == 1
        seen.add(matches[0])
    assert len(seen) == 8


def test_offset_moves_the_content_by_what_was_drawn_in_mm() -> None:
    """The seed book wrote the offset into a row of the matrix that was then cut off: nothing moved."""
    spacing = (2.0, 0.5, 1.0)
    augment = only(offset_mm=(4.0, 2.0, 3.0))
    image = blob((17, 33, 25), (8, 16, 12), (1.5, 3, 2))
    moved = []
    for draw in range(6):
        drawn = augment.draw(np.array([draw]), seed=0, epoch=0, spacing_zyx_mm=spacing)
        out = augment.apply(image, drawn)
        # Output = input + offset, so the matrix subtracts it.
        expected_vox = -drawn["matrix"][0, :, 3].numpy()
        moved.append(centre_of_mass(out) - centre_of_mass(image))
        assert moved[-1] == pytest.approx(expected_vox, abs=0.15)
    largest_mm = np.abs(np.array(moved) * spacing).max(axis=0)
    assert (largest_mm <= np.array([4.0, 2.0, 3.0]) + 0.2).all()
    assert (largest_mm > np.array([4.0, 2.0, 3.0]) / 3).all()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rotation_turns_in_mm_on_unequal_axes_and_voxels(axis: int) -> None:
    """In normalised or voxel coordinates a 30 degree turn of a flat crop would shear the object."""
    spacing = (2.5, 0.7, 1.0)
    shape = (21, 71, 51)
    limits = [0.0, 0.0, 0.0]
    limits[axis] = 40.0
    a, b = [other for other in range(3) if other != axis]
    sd_mm = np.full(3, 4.0)
    sd_mm[a], sd_mm[b] = 7.0, 3.0
    image = blob(shape, tuple((n - 1) / 2 for n in shape), tuple(sd_mm / spacing))
    augment = only(rotation_deg=limits)
    turned_by = []
    for draw in range(4):
        out = run(augment, image, draws=np.array([draw]), spacing=spacing)
        before, after = moments(image, spacing), moments(out, spacing)
        # A rigid turn about `axis` keeps the eigenvalues; shear or wrong units would not.
        assert np.linalg.eigvalsh(after) == pytest.approx(np.linalg.eigvalsh(before), rel=0.12)
        turned_by.append(np.rad2deg(0.5 * np.arctan2(2 * after[a, b], after[a, a] - after[b, b])))
    drawn = augment.draw(np.arange(4), seed=0, epoch=0, spacing_zyx_mm=spacing)["matrix"].numpy()
    sine = drawn[:, b, a] * spacing[b] / spacing[a]
    # The matrix leads from output to input, so the content turns by minus its angle.
    assert turned_by == pytest.approx(np.rad2deg(-np.arcsin(sine)), abs=2)
    assert np.ptp(turned_by) > 10


def test_scale_magnifies() -> None:
    image = blob((31, 41, 35), (15, 20, 17), (3, 4, 3.5))
    out = run(only(scale=(1.25, 1.25)), image)
    ratio = np.diag(moments(out, (1, 1, 1))) / np.diag(moments(image, (1, 1, 1)))
    assert ratio == pytest.approx([1.25**2] * 3, rel=0.05)


def test_matches_scipy_on_an_arbitrary_affine_map() -> None:
    generator = np.random.default_rng(4)
    matrix = np.concatenate([np.eye(3) + generator.normal(0, 0.1, (3, 3)), generator.normal(0, 1, (3, 1))], axis=1)
    hu = crops(1, (9, 14, 11)).float()
    middle = (np.array(hu.shape[2:]) - 1) / 2
    expected = ndimage.affine_transform(
        hu[0, 0].numpy(),
        matrix[:, :3],
        offset=middle + matrix[:, 3] - matrix[:, :3] @ middle,
        order=1,
        mode="nearest",
    )
    out = only(flip=True).apply(hu, fixed(matrix))
    assert out[0, 0].numpy() == pytest.approx(expected, abs=0.1)


def test_outside_the_crop_its_border_is_repeated() -> None:
    hu = torch.zeros(1, 1, 4, 6, 5)
    hu[..., -1] = 300
    shifted = np.concatenate([np.eye(3), [[0], [0], [3]]], axis=1)
    out = only(flip=True).apply(hu, fixed(shifted))
    assert out[0, 0, 0, 0].tolist() == pytest.approx([0, 300, 300, 300, 300], abs=1e-3)


def test_axis_of_one_voxel() -> None:
    hu = crops(3, (1, 8, 8))
    assert torch.isfinite(run(CropAugmentation(), hu)).all()
    assert torch.allclose(run(only(flip=True, rotation_deg=0), hu).sum(), hu.float().sum(), rtol=1e-4)


def test_spacing_may_differ_between_samples() -> None:
    augment = only(offset_mm=3.0)
    spacing = np.array([[1.0, 1.0, 1.0], [2.0, 0.5, 0.25]])
    offset = augment.draw(np.array([7, 7]), seed=0, epoch=0, spacing_zyx_mm=spacing)["matrix"][:, :, 3].numpy()
    assert offset[1] * spacing[1] == pytest.approx(offset[0] * spacing[0])


# -- intensity -------------------------------------------------------------------------------------------------------


def test_contrast_keeps_air_and_scales_water() -> None:
    hu = torch.full((1, 1, 2, 2, 2), -1000.0)
    hu[..., 1] = 0.0
    out = run(only(contrast=(1.1, 1.1)), hu)
    assert out[..., 0].flatten().tolist() == pytest.approx([-1000] * 4, abs=1e-3)
    assert out[..., 1].flatten().tolist() == pytest.approx([100] * 4, abs=1e-3)


def test_intensity_shift_and_contrast_stay_within_their_limits() -> None:
    drawn = only(contrast=(0.8, 1.1), intensity_shift_hu=30).draw(
        np.arange(500), seed=0, epoch=0, spacing_zyx_mm=(1, 1, 1)
    )
    assert drawn["contrast"].min() == pytest.approx(0.8, abs=0.01)
    assert drawn["contrast"].max() == pytest.approx(1.1, abs=0.01)
    assert drawn["shift_hu"].abs().max() == pytest.approx(30, abs=0.5)
    assert drawn["shift_hu"].mean() == pytest.approx(0, abs=3)


def test_noise_has_the_drawn_deviation_and_is_not_shared() -> None:
    hu = torch.zeros(3, 1, 16, 24, 24)
    augment = only(noise_hu_sd=40)
    drawn = augment.draw(np.arange(3), seed=0, epoch=0, spacing_zyx_mm=(1, 1, 1))
    out = augment.apply(hu, drawn)
    assert out.std(dim=(1, 2, 3, 4)).tolist() == pytest.approx(drawn["noise_hu_sd"].tolist(), rel=0.03)
    assert (drawn["noise_hu_sd"] <= 40).all()
    flat = out.flatten(1).numpy()
    assert np.abs(np.corrcoef(flat) - np.eye(3)).max() < 0.05


# -- reproducibility -------------------------------------------------------------------------------------------------


@given(
    draws=st.lists(st.integers(0, 2**40), min_size=1, max_size=7, unique=True),
    shape=st.tuples(st.integers(1, 7), st.integers(1, 9), st.integers(1, 11)),
    seed=st.integers(-(2**31), 2**63 - 1),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_result_is_the_same_to_the_bit_in_any_batch(
    draws: list[int], shape: tuple[int, int, int], seed: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, len(draws) - 1))
    hu = crops(len(draws), shape)
    spacing = np.random.default_rng(1).uniform(0.5, 2.5, (len(draws), 3))
    some = CropAugmentation(rotation_deg=(180, 15, 15))
    together = run(some, hu, draws=np.array(draws), seed=seed, epoch=3, spacing=spacing)
    alone = run(some, hu[at : at + 1], draws=np.array(draws[at : at + 1]), seed=seed, epoch=3, spacing=spacing[at])
    assert torch.equal(together[at], alone[0])


def test_same_sample_in_a_full_size_batch_and_with_other_thread_counts() -> None:
    hu = crops(5, (32, 48, 48))
    some = CropAugmentation()
    together = run(some, hu)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        alone = run(some, hu[3:4], draws=np.array([3]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(together[3], alone[0])


def test_epoch_seed_and_draw_each_change_it() -> None:
    hu = crops(1)
    first = run(CropAugmentation(), hu)
    assert torch.equal(run(CropAugmentation(), hu), first)
    for changed in (
        run(CropAugmentation(), hu, epoch=1),
        run(CropAugmentation(), hu, seed=1),
        run(CropAugmentation(), hu, draws=np.array([1])),
    ):
        assert not torch.allclose(changed, first, atol=1)


def test_global_generators_play_no_part() -> None:
    hu = crops(2)
    torch.manual_seed(1)
    np.random.seed(1)  # noqa: NPY002 - the legacy state is what must not matter
    first = run(CropAugmentation(), hu)
    torch.manual_seed(2)
    np.random.seed(2)  # noqa: NPY002
    before = torch.get_rng_state()
    assert torch.equal(run(CropAugmentation(), hu), first)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_agrees_with_cpu() -> None:
    hu, some = crops(9, (32, 48, 48)), CropAugmentation()
    drawn = some.draw(np.arange(9), seed=0, epoch=0, spacing_zyx_mm=(1, 1, 1))
    there = {name: value.cuda() for name, value in drawn.items()}  # type: ignore[attr-defined]
    on_gpu = some.apply(hu.cuda(), there)  # type: ignore[arg-type]
    # Which noise and which matrix is the same to the bit; interpolation may round differently.
    assert torch.allclose(on_gpu.cpu(), some.apply(hu, drawn), atol=0.1)


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("rotation_deg", -1),
        ("rotation_deg", (1, 2)),
        ("offset_mm", (1, float("nan"), 1)),
        ("scale", (1.1, 0.9)),
        ("scale", (0, 1)),
        ("contrast", (1,)),
        ("intensity_shift_hu", -5),
        ("noise_hu_sd", float("inf")),
    ],
)
def test_ranges(name: str, value: object) -> None:
    with pytest.raises(ConfigError, match=rf"^data\.augment\.{name}=.* must be"):
        only(**{name: value})


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(ConfigError) as caught:
        only(scale=(2, 1), noise_hu_sd=-1)
    assert len(caught.value.problems) == 2
