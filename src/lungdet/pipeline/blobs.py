"""Candidates without a network: bright balls in the lungs, found by a multi-scale Laplacian of Gaussian.

References:
    Lindeberg, "Feature detection with automatic scale selection", IJCV 1998, doi:10.1023/A:1008045108935.
    Frangi et al., "Multiscale vessel enhancement filtering", MICCAI 1998, doi:10.1007/BFb0056195 (Hessian eigenvalues).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lungdet.errors import ConfigError
from lungdet.io.scan import Scan
from lungdet.pipeline.box import Box
from lungdet.pipeline.candidates import Candidates
from lungdet.pipeline.crops import check_spacing
from lungdet.pipeline.lungs import Lungs
from lungdet.pipeline.timing import StageClock

FloatVolume = npt.NDArray[np.float32]

# A ball answers most at sigma = radius / sqrt(3); then the normalised Laplacian in its centre is 0.925 of its contrast.
_SIGMA_PER_DIAMETER = 0.5 / np.sqrt(3.0)
_BALL_ANSWER = 0.925
# Lung tissue, to which everything below and outside is levelled.
_LUNG_HU = -850.0
_CEILING_HU = 100.0


@dataclass(frozen=True, kw_only=True)
class BlobSource:
    """Local maxima, in place and scale, of the scale-normalised Laplacian of Gaussian, that are round enough.

    HU are levelled to lung tissue below and outside the lungs, and to soft tissue above, so that contrast is the same
    for a nodule and for a calcified one and the chest wall leaves no edge. Tubes answer with 0.7 of a ball; the ratio
    of the Hessian's smallest to its largest eigenvalue tells them apart (1 for a ball, 0 for a tube).

    Args:
        diameters_mm: sizes to look for, increasing.
        minimum_contrast_hu: contrast of the faintest ball; a ground-glass nodule has 150 to 300 HU.
        minimum_roundness: smallest ratio of eigenvalues, in [0, 1].
        lung_margin_mm: how far outside the lung mask the image is kept. With less of the chest wall its ragged rim
            looks like balls: 3 mm leave a fifth of the false candidates that 0 mm do (real scan).
        max_candidates: of more, those with the largest contrast times roundness stay.
        spacing_zyx_mm: grid to work on; isotropic and not finer than the smallest ball needs.

    Raises:
        ConfigError: diameters that do not increase or are not positive, a value out of its range.
    """

    diameters_mm: tuple[float, ...] = (4.0, 5.7, 8.0, 11.3, 16.0, 22.6)
    minimum_contrast_hu: float = 150.0
    minimum_roundness: float = 0.2
    lung_margin_mm: float = 3.0
    max_candidates: int = 500
    spacing_zyx_mm: tuple[float, float, float] | None = (1.25, 1.25, 1.25)

    def __post_init__(self) -> None:
        sizes = self.diameters_mm
        if not sizes or sizes[0] <= 0 or any(b <= a for a, b in pairwise(sizes)):
            raise ConfigError([f"diameters_mm={sizes}: needs increasing positive sizes, such as (4, 8, 16)"])
        check_spacing(self.spacing_zyx_mm)
        if not 0 <= self.minimum_roundness <= 1:
            raise ConfigError([f"minimum_roundness={self.minimum_roundness} must lie in [0, 1]"])
        if self.minimum_contrast_hu <= 0 or self.max_candidates < 1 or self.lung_margin_mm < 0:
            raise ConfigError(
                ["minimum_contrast_hu must be positive, max_candidates at least 1, lung_margin_mm not negative"]
            )

    def describe(self) -> dict[str, Any]:
        """The settings, ready for JSON."""
        return {
            "kind": "blobs",
            "diameters_mm": list(self.diameters_mm),
            "minimum_contrast_hu": self.minimum_contrast_hu,
            "minimum_roundness": self.minimum_roundness,
            "lung_margin_mm": self.lung_margin_mm,
            "max_candidates": self.max_candidates,
            "spacing_zyx_mm": None if self.spacing_zyx_mm is None else list(self.spacing_zyx_mm),
        }

    def find(self, scan: Scan, lungs: Lungs, *, clock: StageClock) -> Candidates:
        """Find blobs of a scan that lies on the grid of `spacing_zyx_mm`.

        Returns:
            Candidates, the best first; `mean_hu` is that of the scan blurred at the blob's scale, in its centre;
            `logit` grows with contrast times roundness and is 0 at 300 HU, not calibrated.
        """
        with clock.stage("lungs"):
            region = lungs.search_region(self.lung_margin_mm)
        with clock.stage("blobs"):
            return self._find(scan, region.box, region.inside)

    def _find(self, scan: Scan, box: Box, inside: npt.NDArray[np.bool_]) -> Candidates:
        spacing = np.asarray(scan.geometry.spacing_zyx_mm)
        image = levelled(scan.hu[box.slices], inside)
        sigmas = np.asarray(self.diameters_mm) * _SIGMA_PER_DIAMETER
        blurred = [blur(image, sigma / spacing) for sigma in sigmas]
        answers = [contrast(b, sigma=s, spacing_zyx_mm=spacing) for b, s in zip(blurred, sigmas, strict=True)]
        scale, position = peaks(answers, minimum=self.minimum_contrast_hu, inside=inside)
        roundness = np.empty(len(scale))
        for s, at_scale in enumerate(blurred):
            roundness[scale == s] = hessian_roundness(at_scale, position[scale == s], spacing)
        at = [(s, *p) for s, p in zip(scale, position, strict=True)]
        # On the real scan the fainter, cavitary nodule is 117th by the product, 485th by contrast alone.
        score = roundness * np.asarray([answers[s][z, y, x] for s, z, y, x in at], dtype=np.float64)
        mean_hu = np.asarray([blurred[s][z, y, x] for s, z, y, x in at], dtype=np.float64)
        center = scan.geometry.index_to_world(position + np.asarray(box.low_zyx))
        best = np.argsort(-score, kind="stable")
        best = best[roundness[best] >= self.minimum_roundness][: self.max_candidates]
        nothing = np.full(len(score), None, dtype=object)
        return Candidates(center, np.asarray(self.diameters_mm)[scale], mean_hu, (score - 300.0) / 75.0, nothing).take(
            best
        )


def levelled(hu: npt.NDArray[np.int16], inside: npt.NDArray[np.bool_]) -> FloatVolume:
    """HU between lung and soft tissue, lung outside the region: float32 of the same shape."""
    image = hu.astype(np.float32)
    np.clip(image, _LUNG_HU, _CEILING_HU, out=image)
    image[~inside] = _LUNG_HU
    return image


def blur(image: FloatVolume, sigma_zyx_vox: npt.NDArray[np.float64]) -> FloatVolume:
    """Gaussian blur, separable, cut at four sigma; beyond the border the image repeats its last voxel."""
    kernels = [_gaussian(sigma) for sigma in sigma_zyx_vox]
    planes = np.stack(
        [cv2.sepFilter2D(plane, cv2.CV_32F, kernels[2], kernels[1], borderType=cv2.BORDER_REPLICATE) for plane in image]
    )
    # Along z the volume is one tall image whose rows are slices.
    rows = planes.reshape(len(planes), -1)
    identity = np.ones(1, dtype=np.float32)
    blurred = cv2.sepFilter2D(rows, cv2.CV_32F, identity, kernels[0], borderType=cv2.BORDER_REPLICATE)
    return np.asarray(blurred, dtype=np.float32).reshape(image.shape)


def contrast(blurred: FloatVolume, *, sigma: float, spacing_zyx_mm: npt.NDArray[np.float64]) -> FloatVolume:
    """Scale-normalised negative Laplacian, as the contrast in HU of the ball of that scale: float32 [D, H, W]."""
    answer = np.zeros_like(blurred)
    for axis, spacing in enumerate(spacing_zyx_mm):
        padded = np.pad(blurred, [(1, 1) if a == axis else (0, 0) for a in range(3)], mode="edge")
        ahead = padded[(slice(None),) * axis + (slice(2, None),)]
        behind = padded[(slice(None),) * axis + (slice(None, -2),)]
        answer += np.float32(sigma**2 / _BALL_ANSWER / spacing**2) * (2 * blurred - ahead - behind)
    return answer


def peaks(
    answers: list[FloatVolume], *, minimum: float, inside: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Voxels that no neighbour in place (26) or scale (1) exceeds.

    Returns:
        int64 [N], scale; int64 [N, 3], voxel z, y, x.
    """
    scales, positions = [np.empty(0, dtype=np.int64)], [np.empty((0, 3), dtype=np.int64)]
    around = [_neighbourhood_maximum(answer) for answer in answers]
    for scale, answer in enumerate(answers):
        is_peak = (answer >= minimum) & (answer >= around[scale]) & inside
        for other in (scale - 1, scale + 1):
            if 0 <= other < len(answers):
                is_peak &= answer > around[other] if other < scale else answer >= around[other]
        found = np.argwhere(is_peak)
        scales.append(np.full(len(found), scale))
        positions.append(found)
    return np.concatenate(scales), np.concatenate(positions)


def hessian_roundness(
    blurred: FloatVolume, position: npt.NDArray[np.int64], spacing_zyx_mm: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """How round bright blobs are: smallest over largest curvature in their centres.

    Args:
        blurred: float32 [D, H, W], at the scale of the blobs.
        position: int64 [N, 3], voxels z, y, x; the border repeats.
        spacing_zyx_mm: float64 [3].

    Returns:
        float64 [N]: 1 for a ball, about 0 for a tube, negative for a saddle, -1 where nothing curves downwards.
    """
    steps = np.arange(-1, 2)
    z, y, x = (
        (position[:, axis, None] + steps).clip(0, n - 1) for axis, n in zip(range(3), blurred.shape, strict=True)
    )
    cube = blurred[z[:, :, None, None], y[:, None, :, None], x[:, None, None, :]].astype(np.float64)
    hessian = np.empty((len(position), 3, 3))
    for a in range(3):
        along = np.moveaxis(cube, a + 1, 1)[:, :, 1, 1]
        hessian[:, a, a] = (along[:, 0] - 2 * along[:, 1] + along[:, 2]) / spacing_zyx_mm[a] ** 2
        for b in range(a):
            plane = np.moveaxis(cube, (a + 1, b + 1), (1, 2))[..., 1]
            mixed = plane[:, 2, 2] - plane[:, 2, 0] - plane[:, 0, 2] + plane[:, 0, 0]
            hessian[:, a, b] = hessian[:, b, a] = mixed / (4 * spacing_zyx_mm[a] * spacing_zyx_mm[b])
    curvature = -np.linalg.eigvalsh(hessian)  # falling: the largest first
    largest, smallest = curvature[:, 0], curvature[:, 2]
    roundness: npt.NDArray[np.float64] = np.full(len(position), -1.0)
    np.divide(smallest, largest, out=roundness, where=largest > 0)
    return roundness


def _neighbourhood_maximum(volume: FloatVolume) -> FloatVolume:
    square = np.ones((3, 3), dtype=np.uint8)
    planes = np.stack([np.asarray(cv2.dilate(plane, square), dtype=np.float32) for plane in volume])
    best = planes.copy()
    np.maximum(best[1:], planes[:-1], out=best[1:])
    np.maximum(best[:-1], planes[1:], out=best[:-1])
    return best


def _gaussian(sigma: float) -> npt.NDArray[np.float32]:
    reach = int(np.ceil(4 * sigma))
    weights = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return np.asarray(weights / weights.sum(), dtype=np.float32)
