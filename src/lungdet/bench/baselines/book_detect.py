"""The seed book's detector on one scan, written plainly from its description: the baseline in speed and in answers.

Slow on purpose: slice by slice, candidate by candidate, batches of four in PyTorch's default layout, scipy for masks.

Reference: Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", Manning 2020, chapter 14.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch
from torch import Tensor, nn

from lungdet.io.scan import Scan

Row = tuple[float, ...]
FloatArray = npt.NDArray[np.float64]

WIDTH_ZYX = (32, 48, 48)
BATCH = 4


def detect_plainly(
    scan: Scan, segmenter: nn.Module, classifier: nn.Module, *, malignancy: nn.Module | None = None
) -> tuple[FloatArray, dict[str, float]]:
    """Run the book's steps.

    Args:
        scan: with a diagonal direction matrix of ones and minus ones.
        segmenter: logits of the middle of seven slices, in evaluation mode.
        classifier: softmax pair of a (32, 48, 48) crop, in evaluation mode.
        malignancy: another of the same kind, asked about every crop; None leaves it out.

    Returns:
        float64 [N, 4], with `malignancy` [N, 5]: x, y, z in mm of the voxel a detection is reported at, probability of
        nodule, probability of malignancy; seconds per stage.
    """
    hu = np.array(scan.hu, dtype=np.float32).clip(-1000, 1000)
    networks = [classifier] if malignancy is None else [classifier, malignancy]
    start = time.perf_counter()
    mask = segment(hu, segmenter)
    segmented = time.perf_counter()
    centers = group(hu, mask, scan)
    grouped = time.perf_counter()
    rows = classify(hu, centers, scan=scan, networks=networks)
    classified = time.perf_counter()
    seconds = {"segment": segmented - start, "group": grouped - segmented, "classify": classified - grouped}
    return np.array(rows).reshape(-1, 3 + len(networks)), seconds


def segment(hu: npt.NDArray[np.float32], segmenter: nn.Module) -> npt.NDArray[np.bool_]:
    """Voxels of a probability above one half, eroded once: bool [D, H, W] of HU float32 [D, H, W], clipped."""
    probability = np.zeros(hu.shape, dtype=np.float32)
    depth = len(hu)
    for first in range(0, depth, BATCH):
        samples = []
        for z in range(first, min(first + BATCH, depth)):
            sample = torch.zeros(7, *hu.shape[1:])
            for i, neighbour in enumerate(range(z - 3, z + 4)):
                sample[i] = torch.from_numpy(hu[min(max(neighbour, 0), depth - 1)])
            samples.append(sample)
        with torch.no_grad():
            answers = torch.sigmoid(segmenter(torch.stack(samples)))
        for i, answer in enumerate(answers):
            probability[first + i] = answer[0].numpy()
    eroded: npt.NDArray[np.bool_] = scipy.ndimage.binary_erosion(probability > 0.5, iterations=1)
    return eroded


def group(hu: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], scan: Scan) -> list[FloatArray]:
    """Centres of mass of the connected components, float64 [3] each, x, y, z in mm."""
    labels, n = scipy.ndimage.label(mask)
    centers = scipy.ndimage.center_of_mass(hu + 1001, labels=labels, index=np.arange(1, n + 1))
    direction, spacing, origin = matrices(scan)
    return [direction @ (np.array(center)[::-1] * spacing) + origin for center in centers]


def classify(
    hu: npt.NDArray[np.float32], centers: list[FloatArray], *, scan: Scan, networks: list[nn.Module]
) -> list[Row]:
    """One row per centre, in the order of x, y, z: place of its voxel in mm, then each network's probability."""
    direction, spacing, origin = matrices(scan)
    rows: list[Row] = []
    ordered = sorted(tuple(center.tolist()) for center in centers)
    for first in range(0, len(ordered), BATCH):
        crops, indices = [], []
        for point in ordered[first : first + BATCH]:
            voxel = np.round((np.array(point) - origin) @ np.linalg.inv(direction) / spacing)[::-1].astype(int)
            crops.append(crop(hu, voxel))
            indices.append(voxel)
        with torch.no_grad():
            answers = [torch.softmax(network(torch.stack(crops)), dim=1)[:, 1].tolist() for network in networks]
        for voxel, *probabilities in zip(indices, *answers, strict=True):
            x, y, z = direction @ (voxel[::-1] * spacing) + origin
            rows.append((x, y, z, *probabilities))
    return rows


def crop(hu: npt.NDArray[np.float32], voxel: npt.NDArray[np.int64]) -> Tensor:
    """The crop around a voxel z, y, x, moved inside at the border: float32 [1, 32, 48, 48]."""
    box = []
    for axis, width in enumerate(WIDTH_ZYX):
        begin = round(voxel[axis] - width / 2)
        end = begin + width
        if begin < 0:
            begin, end = 0, width
        if end > hu.shape[axis]:
            begin, end = hu.shape[axis] - width, hu.shape[axis]
        box.append(slice(begin, end))
    return torch.from_numpy(hu[tuple(box)]).unsqueeze(0)


def matrices(scan: Scan) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Direction [3, 3], spacing [3] and origin [3], in the order x, y, z."""
    geometry = scan.geometry
    return (
        np.array(geometry.direction).reshape(3, 3),
        np.array(geometry.spacing_xyz_mm),
        np.array(geometry.origin_xyz_mm),
    )
