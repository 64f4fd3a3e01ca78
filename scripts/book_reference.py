"""The seed book's detector on one scan, written plainly from its description: the baseline in speed and in answers.

Slow on purpose: slice by slice, candidate by candidate, batches of four in PyTorch's default layout, scipy for masks.
"""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import scipy.ndimage
import torch
from torch import nn

from lungdet.io.scan import Scan

Row = tuple[float, float, float, float]


def detect_plainly(
    scan: Scan, segmenter: nn.Module, classifier: nn.Module
) -> tuple[npt.NDArray[np.float64], dict[str, float]]:
    """Run the book's steps.

    Args:
        scan: with a diagonal direction matrix of ones and minus ones.
        segmenter: logits of the middle of seven slices.
        classifier: softmax pair of a (32, 48, 48) crop.

    Returns:
        float64 [N, 4]: x, y, z in mm of the voxel a detection is reported at, probability of nodule; seconds per stage.
    """
    hu = np.array(scan.hu, dtype=np.float32).clip(-1000, 1000)
    start = time.perf_counter()
    mask = segment(hu, segmenter)
    segmented = time.perf_counter()
    centers = group(hu, mask, scan)
    grouped = time.perf_counter()
    rows = classify(hu, centers, scan=scan, classifier=classifier)
    classified = time.perf_counter()
    seconds = {"segment": segmented - start, "group": grouped - segmented, "classify": classified - grouped}
    return np.array(rows).reshape(-1, 4), seconds


def segment(hu: npt.NDArray[np.float32], segmenter: nn.Module) -> npt.NDArray[np.bool_]:
    probability = np.zeros(hu.shape, dtype=np.float32)
    depth = len(hu)
    for first in range(0, depth, 4):
        samples = []
        for z in range(first, min(first + 4, depth)):
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


def group(hu: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_], scan: Scan) -> list[npt.NDArray[np.float64]]:
    labels, n = scipy.ndimage.label(mask)
    centers = scipy.ndimage.center_of_mass(hu + 1001, labels=labels, index=np.arange(1, n + 1))
    direction, spacing, origin = matrices(scan)
    return [direction @ (np.array(center)[::-1] * spacing) + origin for center in centers]


def classify(
    hu: npt.NDArray[np.float32], centers: list[npt.NDArray[np.float64]], *, scan: Scan, classifier: nn.Module
) -> list[Row]:
    direction, spacing, origin = matrices(scan)
    width = (32, 48, 48)
    rows: list[Row] = []
    ordered = sorted(tuple(center.tolist()) for center in centers)
    for first in range(0, len(ordered), 4):
        crops, indices = [], []
        for point in ordered[first : first + 4]:
            voxel = np.round((np.array(point) - origin) @ np.linalg.inv(direction) / spacing)[::-1].astype(int)
            box = []
            for axis in range(3):
                begin = round(voxel[axis] - width[axis] / 2)
                end = begin + width[axis]
                if begin < 0:
                    begin, end = 0, width[axis]
                if end > hu.shape[axis]:
                    begin, end = hu.shape[axis] - width[axis], hu.shape[axis]
                box.append(slice(begin, end))
            crops.append(torch.from_numpy(hu[tuple(box)]).unsqueeze(0))
            indices.append(voxel)
        with torch.no_grad():
            probability = torch.softmax(classifier(torch.stack(crops)), dim=1)[:, 1]
        for voxel, p in zip(indices, probability.tolist(), strict=True):
            x, y, z = direction @ (voxel[::-1] * spacing) + origin
            rows.append((x, y, z, p))
    return rows


def matrices(
    scan: Scan,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    geometry = scan.geometry
    return (
        np.array(geometry.direction).reshape(3, 3),
        np.array(geometry.spacing_xyz_mm),
        np.array(geometry.origin_xyz_mm),
    )
