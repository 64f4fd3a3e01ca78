"""What a store is asked to be: spacing, clipping, mask, codec; and the size of a crop in voxels or millimetres.

Layout of a store (zarr v3, readable by any zarr library):

    <store>/zarr.json                        group; attributes["lungdet"]: format, fingerprint, spec
    <store>/scans/<series_uid>/zarr.json     group; attributes["lungdet"]: geometry, source, content hash
    <store>/scans/<series_uid>/hu            int16 [D, H, W], one shard of 32^3 inner chunks
    <store>/scans/<series_uid>/lung_mask     uint8 [D, H, W], 0 outside, 1 lung, or the codes of the delivered mask
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from lungdet.errors import StoreError

#: Raised whenever the layout changes; a store of another version is refused.
FORMAT_VERSION = 1
#: Raised whenever the same spec gives other voxels; part of the fingerprint.
ALGORITHM_VERSION = 1
#: Inner chunks: small ones read least per crop (docs/store.md).
CHUNK_ZYX = (32, 32, 32)

CODECS = ("lz4", "zstd", "none")


@dataclass(frozen=True)
class StoreSpec:
    """Everything that decides the content of a store.

    Attributes:
        spacing_mm: voxel spacing z, y, x of the resampled volumes, or `native` to leave the grids as they are.
        clip_hu: HU below and above are set to these ends; padding outside the field of view (-2048, -3024) becomes air.
        lung_mask: store a lung mask beside each volume.
        codec: of the inner chunks: `lz4` (blosc, byte shuffle), `zstd` (the same, smaller and slower) or `none`.

    Raises:
        StoreError: a value out of range.
    """

    spacing_mm: Sequence[float] | Literal["native"] = (1.0, 1.0, 1.0)
    clip_hu: Sequence[int] = (-1024, 3071)
    lung_mask: bool = True
    codec: Literal["lz4", "zstd", "none"] = "lz4"

    def __post_init__(self) -> None:
        if not isinstance(self.spacing_mm, str):
            spacing = tuple(float(s) for s in self.spacing_mm)
            if len(spacing) != 3 or not all(0 < s < 100 for s in spacing):
                raise StoreError(
                    f"store.spacing_mm={list(spacing)} must be three numbers > 0 (z, y, x in mm) or native"
                )
            object.__setattr__(self, "spacing_mm", spacing)
        elif self.spacing_mm != "native":
            raise StoreError(f"store.spacing_mm={self.spacing_mm} must be three numbers (z, y, x in mm) or native")
        clip = tuple(int(v) for v in self.clip_hu)
        if len(clip) != 2 or not -32768 <= clip[0] < clip[1] <= 32767:
            raise StoreError(f"store.clip_hu={list(clip)} must be a lower and a higher int16 value, e.g. [-1024, 3071]")
        object.__setattr__(self, "clip_hu", clip)
        if self.codec not in CODECS:
            raise StoreError(f"store.codec={self.codec} must be one of {', '.join(CODECS)}")

    @property
    def air_hu(self) -> int:
        """What lies outside a volume."""
        return int(self.clip_hu[0])

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `StoreSpec.from_dict` gives an equal spec back."""
        spacing = self.spacing_mm if isinstance(self.spacing_mm, str) else list(self.spacing_mm)
        return {
            "spacing_mm": spacing,
            "clip_hu": list(self.clip_hu),
            "lung_mask": self.lung_mask,
            "codec": self.codec,
        }

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> StoreSpec:
        """Inverse of `to_dict`.

        Raises:
            StoreError: a setting that this version does not know.
        """
        unknown = set(record) - {field.name for field in fields(cls)}
        if unknown:
            raise StoreError(
                f"the store was made with settings that this lungdet does not know ({', '.join(sorted(unknown))}); "
                "update lungdet, or preprocess again into a new path"
            )
        return cls(**record)

    @property
    def fingerprint(self) -> str:
        """16 hex digits of everything that changes the content; the codec does not: it is lossless."""
        content = {k: v for k, v in self.to_dict().items() if k != "codec"}
        text = json.dumps({"algorithm": ALGORITHM_VERSION, **content}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass(frozen=True)
class CropSize:
    """The size of a crop, in voxels or in millimetres: exactly one of the two.

    Attributes:
        vox: voxels along z, y, x.
        mm: millimetres along z, y, x; rounded to whole voxels of the store, at least 1.

    Raises:
        StoreError: both, neither, or a size that is not positive.

    Example:
        >>> CropSize(mm=(64, 64, 64)).shape_zyx((2.0, 1.0, 1.0))
        (32, 64, 64)
    """

    vox: Sequence[int] | None = None
    mm: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if (self.vox is None) == (self.mm is None):
            raise StoreError(f"crop: give vox or mm, got vox={self.vox} mm={self.mm}; set the other one to null")
        given = self.vox if self.vox is not None else self.mm
        assert given is not None
        if len(given) != 3 or not all(v > 0 for v in given):
            name = "vox" if self.vox is not None else "mm"
            raise StoreError(f"crop.{name}={list(given)} must be three sizes > 0, z, y, x")

    def shape_zyx(self, spacing_zyx_mm: Sequence[float] | Literal["native"]) -> tuple[int, int, int]:
        """Voxels along z, y, x at this spacing.

        Raises:
            StoreError: a size in mm on a store of native spacing, where every scan would give another shape.
        """
        if self.vox is not None:
            z, y, x = (int(v) for v in self.vox)
            return (z, y, x)
        assert self.mm is not None
        if isinstance(spacing_zyx_mm, str):
            raise StoreError(
                f"crop.mm={list(self.mm)} needs one spacing for all scans, the store keeps native ones; give crop.vox, "
                "or a store with data.store.spacing_mm=[1,1,1]"
            )
        z, y, x = (max(1, round(mm / s)) for mm, s in zip(self.mm, spacing_zyx_mm, strict=True))
        return (z, y, x)
