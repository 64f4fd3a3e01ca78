"""Settings of a store: what is allowed, what changes the fingerprint, sizes of crops."""

from __future__ import annotations

from typing import Any

import pytest

from lungdet.errors import StoreError
from lungdet.store.schema import CropSize, StoreSpec


def test_lists_and_tuples_are_one_spec() -> None:
    assert StoreSpec(spacing_mm=[1, 1, 1], clip_hu=[-1024, 3071]) == StoreSpec()
    assert StoreSpec.from_dict(StoreSpec(spacing_mm="native").to_dict()) == StoreSpec(spacing_mm="native")


@pytest.mark.parametrize(
    "change", [{"spacing_mm": (2, 1, 1)}, {"spacing_mm": "native"}, {"clip_hu": (-1000, 400)}, {"lung_mask": False}]
)
def test_what_changes_the_content_changes_the_fingerprint(change: dict[str, Any]) -> None:
    assert StoreSpec(**change).fingerprint != StoreSpec().fingerprint


def test_the_codec_does_not() -> None:
    assert StoreSpec(codec="none").fingerprint == StoreSpec(codec="zstd").fingerprint


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"spacing_mm": (1, 1)}, r"spacing_mm=\[1.0, 1.0\] must be three numbers"),
        ({"spacing_mm": (0, 1, 1)}, "three numbers > 0"),
        ({"spacing_mm": "isotropic"}, "or native"),
        ({"clip_hu": (400, -1000)}, "a lower and a higher"),
        ({"clip_hu": (-40000, 0)}, "int16"),
        ({"codec": "gzip"}, "codec=gzip must be one of lz4, zstd, none"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        StoreSpec(**wrong)


def test_crops_in_voxels_and_millimetres() -> None:
    assert CropSize(vox=[32, 48, 48]).shape_zyx("native") == (32, 48, 48)
    assert CropSize(mm=[64, 64, 64]).shape_zyx((2.0, 1.0, 0.7)) == (32, 64, 91)
    assert CropSize(mm=[0.1, 1, 1]).shape_zyx((1.0, 1.0, 1.0)) == (1, 1, 1)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "give vox or mm"),
        ({"vox": [1, 1, 1], "mm": [1, 1, 1]}, "give vox or mm"),
        ({"vox": [32, 0, 48]}, r"crop.vox=\[32, 0, 48\] must be three sizes > 0"),
        ({"mm": [32, 48]}, "crop.mm"),
    ],
)
def test_wrong_crops_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StoreError, match=message):
        CropSize(**given)


def test_millimetres_need_one_spacing() -> None:
    with pytest.raises(StoreError, match=r"the store keeps native ones; give crop\.vox"):
        CropSize(mm=[64, 64, 64]).shape_zyx("native")


def test_a_setting_of_a_later_version_is_told() -> None:
    with pytest.raises(StoreError, match=r"does not know \(sharpen\); update lungdet, or preprocess again"):
        StoreSpec.from_dict({**StoreSpec().to_dict(), "sharpen": 2})
