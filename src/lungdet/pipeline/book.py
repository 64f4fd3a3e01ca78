"""The seed book's run on one scan, step by step the same answer, in a fraction of its time.

Reference: Stevens, Antiga, Viehmann, "Deep Learning with PyTorch", Manning 2020, chapter 14.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from lungdet.errors import ScanError
from lungdet.geometry import Geometry
from lungdet.io.scan import Scan
from lungdet.pipeline.box import whole_volume
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.components import Components, cut_out, erode_once, label, measure
from lungdet.pipeline.crops import CropInput
from lungdet.pipeline.detections import Detections, detection_table, sigmoid
from lungdet.pipeline.inference import device_of
from lungdet.pipeline.patient import judge_patient
from lungdet.pipeline.segment import SliceSegmenter
from lungdet.pipeline.timing import StageClock

BoolArray = npt.NDArray[np.bool_]

CROP = CropInput(shape_zyx=(32, 48, 48), window_hu=(-1000.0, 1000.0), scale="hu", border="shift")
"""What the book's classifiers were trained on."""

NODULE_THRESHOLD = 0.5
_BATCH_SLICES = 4
# Convolutions in another memory format round differently. On a real scan of 35 million voxels logits near zero differ
# by 9e-6 (median) and 1.2e-4 (99 %); 7 voxels lie within 1e-4 of the threshold.
_DOUBTFUL_LOGIT = 1e-4


@dataclass(frozen=True, kw_only=True)
class BookNetworks:
    """The networks of the book's run.

    Attributes:
        segmenter: `load_book_segmenter`, or one with the same input: 7 slices of HU clipped to [-1000, 1000].
        classifier: `load_book_classifier`, or one with the same input: (32, 48, 48) native voxels, the same HU.
        malignancy: a classifier of the same input that tells malignant from benign; None without.
    """

    segmenter: nn.Module
    classifier: nn.Module
    malignancy: nn.Module | None = None


def detect_book(scan: Scan, networks: BookNetworks) -> Detections:
    """Run the book's detector on one scan.

    Native voxels; every full slice with three neighbours on both sides, repeated at the ends; HU clipped to
    [-1000, 1000]; probability > 0.5; one binary erosion and 6-connected components; centre of mass weighted by clipped
    HU + 1001; centre to world and back, rounded to a voxel, whose world position is what is reported; crops of
    (32, 48, 48) shifted inside at the border; softmax of class 1. The table is in the book's order: by x, y, z of the
    centre before rounding.

    What differs: slices are segmented in `channels_last`, components found without whole-volume labels per step, crops
    cut in batches. Voxels so near the threshold that this could turn them are segmented again as the book does, when
    they matter. An oblique scan is placed correctly (the book inverts its direction matrix where it needs the
    transpose; on LUNA16, where matrices are diagonal, both agree). A scan without any candidate gives an empty table
    (the book's program then classifies its whole training list instead).

    Args:
        scan: any chest CT of at least (32, 48, 48) voxels.
        networks: the book's, or others with the same input.

    Returns:
        Detections; `diameter_mm` and `mean_hu` are of the eroded component, `distance_to_pleura_mm` is NaN because the
        book has no lung mask.

    Raises:
        ScanError: a scan smaller than the classifier's crop.
        RunError: NaN or infinite weights or answers.
    """
    if any(n < m for n, m in zip(scan.hu.shape, CROP.shape_zyx, strict=True)):
        raise ScanError(
            f"{scan.series_uid}: the book's classifier needs {CROP.shape_zyx} voxels (z, y, x) inside the scan, which "
            f"has only {scan.hu.shape}; use the default recipe, which pads at the border"
        )
    segmenter = SliceSegmenter(nets=(networks.segmenter,), precision="fp32")
    classifier = CandidateClassifier(nets=(networks.classifier,), contract=CROP, precision="fp32")
    malignancy = None
    if networks.malignancy is not None:
        malignancy = CandidateClassifier(
            nets=(networks.malignancy,), contract=CROP, precision="fp32", name="malignancy classifier"
        )
    clock = StageClock()
    with clock.stage("segment"):
        mask, doubtful = segment_scan(scan, segmenter)
        mask, n_repeated = settle_doubtful(scan, networks.segmenter, mask=mask, doubtful=doubtful)
    with clock.stage("group"):
        labels = label(erode_once(mask))
        components = measure(labels, scan.hu)
        rows, center_xyz_mm = report_centers(components, scan.geometry)
        regions = cut_out(labels, components, rows, low_zyx=np.zeros(3, dtype=np.int64))
        del labels
    columns: dict[str, Any] = {
        "diameter_mm": components.diameter_mm(scan.geometry.spacing_zyx_mm)[rows],
        "mean_hu": components.mean_hu[rows],
    }
    with clock.stage("classify"):
        columns["logit"] = classifier.logits(scan, center_xyz_mm)
    if malignancy is not None:
        with clock.stage("malignancy"):
            columns["malignancy_probability"] = sigmoid(malignancy.logits(scan, center_xyz_mm))
    table = detection_table(scan.series_uid, center_xyz_mm, columns)
    patient = judge_patient(
        table, rule="maximum", nodule_threshold=NODULE_THRESHOLD, with_malignancy=malignancy is not None
    )
    recipe = {"pipeline": "book", "slices_repeated": n_repeated, "voxels_near_threshold": len(doubtful)}
    return Detections(table, patient, clock.seconds, recipe, regions=tuple(regions))


def segment_scan(scan: Scan, segmenter: SliceSegmenter) -> tuple[BoolArray, npt.NDArray[np.int64]]:
    """Segment every slice of a scan.

    Returns:
        bool [D, H, W], probability > 0.5; int64 [K], flat indices of voxels whose logit lies so near zero that rounding
        decides.
    """
    mask = np.empty(scan.hu.shape, dtype=bool)
    doubtful = [np.empty(0, dtype=np.int64)]
    for z, logit in segmenter.logits(scan.hu, whole_volume(scan.geometry.shape_zyx)):
        # A float32 sigmoid exceeds 0.5 from a logit of 6e-8 on; nearer to zero every voxel is doubtful anyway.
        mask[z : z + len(logit)] = logit > 0
        near = np.flatnonzero(np.abs(logit) < _DOUBTFUL_LOGIT)
        doubtful.append(near + z * logit[0].size)
    return mask, np.concatenate(doubtful)


def settle_doubtful(
    scan: Scan, net: nn.Module, *, mask: BoolArray, doubtful: npt.NDArray[np.int64]
) -> tuple[BoolArray, int]:
    """Decide voxels at the threshold with the book's own arithmetic, where they make a difference.

    A doubtful voxel that leaves the eroded mask as it is, on or off, is left alone. For the others the batch of four
    slices that the book's program would have formed is segmented again in its memory format.

    Args:
        scan: the scan.
        net: the segmenter.
        mask: bool [D, H, W].
        doubtful: int64 [K], flat indices into the mask.

    Returns:
        The mask, and how many slices were segmented again.
    """
    with_all, without = mask.copy(), mask.copy()
    with_all.ravel()[doubtful], without.ravel()[doubtful] = True, False
    matters = np.unique(np.flatnonzero(erode_once(with_all) != erode_once(without)) // mask[0].size)
    if len(matters) == 0:
        return mask, 0
    # The voxel that decides about an eroded one lies in the same slice or the next.
    slices = np.unique(doubtful // mask[0].size)
    slices = slices[(np.abs(slices[:, None] - matters) <= 1).any(axis=1)]
    batches = np.unique(slices // _BATCH_SLICES)
    reference = copy.deepcopy(net).to(memory_format=torch.contiguous_format)
    mask, n_slices = mask.copy(), 0
    for first in batches * _BATCH_SLICES:
        last = min(int(first) + _BATCH_SLICES, len(mask))
        rows = (np.arange(first, last)[:, None] + np.arange(-3, 4)).clip(0, len(mask) - 1)
        image = torch.from_numpy(scan.hu[rows].astype(np.float32)).clamp_(-1000, 1000).to(device_of(net))
        with torch.inference_mode():
            mask[first:last] = (torch.sigmoid(reference(image))[:, 0] > 0.5).cpu().numpy()
        n_slices += last - int(first)
    return mask, n_slices


def report_centers(components: Components, geometry: Geometry) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Bring components into the book's order and their centres onto voxels.

    Returns:
        int64 [N], rows of the components by (x, y, z) of their centre of mass; float64 [N, 3], the world position of
        the voxel that each centre rounds to (half to even), in that order.
    """
    exact = geometry.index_to_world(components.center_zyx)
    rows = np.lexsort((exact[:, 2], exact[:, 1], exact[:, 0]))
    # To world and back, not directly: at exactly half a voxel the rounding error of the detour decides, as in the book.
    index = np.rint(geometry.world_to_index(exact[rows]))
    return rows, geometry.index_to_world(index)
