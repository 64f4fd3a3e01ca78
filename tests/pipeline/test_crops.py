from __future__ import annotations

import numpy as np
import pytest
import torch

from lungdet.errors import ConfigError, ScanError
from lungdet.pipeline.crops import CropInput, apply_window, crop_batches


def volume(shape: tuple[int, int, int]) -> np.ndarray[tuple[int, int, int], np.dtype[np.int16]]:
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape)


def test_the_centre_is_the_middle_element_and_outside_is_air() -> None:
    hu = volume((6, 7, 8))
    contract = CropInput(shape_zyx=(4, 3, 2), window_hu=(-1000, 400))
    centers = np.array([[3, 3, 3], [0, 0, 0], [5, 6, 7]])
    (crops,) = crop_batches(hu, centers, contract=contract, batch_size=10)
    padded = np.pad(hu, 4, constant_values=-1000)
    for crop, center in zip(crops, centers, strict=True):
        assert crop[2, 1, 1] == hu[tuple(center)]
        z, y, x = center + 4
        np.testing.assert_array_equal(crop, padded[z - 2 : z + 2, y - 1 : y + 2, x - 1 : x + 1])


def test_shifted_crops_lie_inside() -> None:
    hu = volume((6, 7, 8))
    contract = CropInput(shape_zyx=(4, 3, 2), border="shift")
    (crops,) = crop_batches(hu, np.array([[0, 0, 0], [5, 6, 7], [3, 3, 3]]), contract=contract, batch_size=10)
    np.testing.assert_array_equal(crops[0], hu[:4, :3, :2])
    np.testing.assert_array_equal(crops[1], hu[2:, 4:, 6:])
    np.testing.assert_array_equal(crops[2], hu[1:5, 2:5, 2:4])


def test_batches_keep_the_order_and_are_not_reused() -> None:
    hu = volume((6, 7, 8))
    centers = np.argwhere(hu >= 0)[::40]
    contract = CropInput(shape_zyx=(1, 1, 1))
    batches = list(crop_batches(hu, centers, contract=contract, batch_size=3))
    assert [len(b) for b in batches] == [3, 3, 3]
    np.testing.assert_array_equal(np.concatenate(batches).ravel(), hu[tuple(centers.T)])


def test_a_volume_smaller_than_a_shifted_crop_is_refused_and_padded_otherwise() -> None:
    hu = volume((5, 64, 64))
    with pytest.raises(ScanError, match=r"5, 64, 64\) voxels \(z, y, x\), the classifier needs \(32, 48, 48\)"):
        list(crop_batches(hu, np.zeros((1, 3), np.int64), contract=CropInput(border="shift"), batch_size=1))
    (crops,) = crop_batches(hu, np.array([[2, 32, 32]]), contract=CropInput(), batch_size=1)
    np.testing.assert_array_equal(crops[0, 14:19], hu[:, 8:56, 8:56])
    assert (crops[0, :14] == -1000).all()
    assert (crops[0, 19:] == -1000).all()


def test_windows() -> None:
    hu = torch.tensor([-3024, -1000, -300, 400, 3071], dtype=torch.int16)
    assert apply_window(hu, (-1000, 400), "unit").tolist() == [0, 0, 0.5, 1, 1]
    assert apply_window(hu, (-1000, 400), "hu").tolist() == [-1000, -1000, -300, 400, 400]
    floats = torch.tensor([5000.0])
    apply_window(floats, (-1000, 400), "hu")
    assert floats.item() == 5000.0  # never in place


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"shape_zyx": (32, 0, 48)}, r"shape_zyx=\(32, 0, 48\): needs three sizes >= 1"),
        ({"window_hu": (400, -1000)}, "needs a lower and a higher end"),
        ({"spacing_zyx_mm": (1.0, -1.0, 1.0)}, "needs three positive numbers in mm, or None"),
        ({"scale": "percent"}, "scale='percent': allowed are 'unit', 'hu'"),
        ({"border": "wrap"}, "border='wrap': allowed are 'pad', 'shift'"),
    ],
)
def test_impossible_contracts_are_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        CropInput(**arguments)  # type: ignore[arg-type]
