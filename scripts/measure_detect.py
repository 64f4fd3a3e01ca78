"""Runs the detectors on the real scan with the seed book's networks, side by side: ranks, counts, seconds.

    python -m scripts.measure_detect ../shared/data [--threads 1] [--skip-plain]

CPU seconds with --threads 1 do not depend on what else the machine does; wall seconds do.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from lungdet.bench.baselines.book_detect import detect_plainly
from lungdet.io.luna16_tables import read_annotations
from lungdet.io.scan import Scan, read_scan
from lungdet.nets.book_segmenter import load_book_segmenter
from lungdet.nets.book_weights import load_book_classifier
from lungdet.pipeline.blobs import BlobSource
from lungdet.pipeline.book import BookNetworks, detect_book
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.detect import detect
from lungdet.pipeline.detections import Detections, detection_table
from lungdet.pipeline.inference import Precision
from lungdet.pipeline.recipe import Recipe
from lungdet.pipeline.segment import SliceSegmenter
from lungdet.pipeline.sources import SegmentationSource

FLIPS = ("", "x", "y", "yx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with luna16/ and book_weights/")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--skip-plain", action="store_true", help="leave out the slow baseline")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    data: Path = arguments.data
    (path,) = sorted((data / "luna16" / "subset3").glob("*.mhd"))
    scan = read_scan(path)
    annotations = read_annotations(data / "luna16" / "annotations.csv")
    nodules = annotations[annotations["series_uid"] == scan.series_uid]
    for name, run in runs(data).items():
        if name.startswith("plain") and arguments.skip_plain:
            continue
        wall, cpu = time.perf_counter(), time.process_time()
        found = run(scan)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(f"\n## {name}: {wall:.1f} s wall, {cpu:.1f} s CPU, {arguments.threads} thread(s)")
        print("stages:", ", ".join(f"{stage} {seconds:.1f}" for stage, seconds in found.seconds.items()))
        table = found.table
        print(f"{len(table)} detections, {int((table['probability'] >= 0.5).sum())} with probability >= 0.5")
        print(ranks(table, nodules).to_string(index=False))


def runs(data: Path) -> dict[str, Callable[[Scan], Detections]]:
    """Name -> a detector with freshly loaded networks, so that no run profits from another's memory format."""
    (seg,) = sorted((data / "book_weights").glob("seg_*.state"))
    (cls,) = sorted((data / "book_weights").glob("cls_*.state"))

    def plain(scan: Scan) -> Detections:
        rows, seconds = detect_plainly(scan, load_book_segmenter(seg), load_book_classifier(cls))
        table = detection_table(scan.series_uid, rows[:, :3], {"logit": np.nan, "probability": rows[:, 3]})
        return Detections(table, {}, seconds, {})

    def book(scan: Scan) -> Detections:
        networks = BookNetworks(segmenter=load_book_segmenter(seg), classifier=load_book_classifier(cls))
        return detect_book(scan, networks)

    def default(precision: Precision, flips: tuple[str, ...] = ("",)) -> Callable[[Scan], Detections]:
        segmenter = SliceSegmenter(nets=(load_book_segmenter(seg),), precision=precision)
        classifier = CandidateClassifier(nets=(load_book_classifier(cls),), precision=precision, flips=flips)
        recipe = Recipe(source=SegmentationSource(segmenter=segmenter), classifier=classifier)
        return lambda scan: detect(scan, recipe)

    def blobs(scan: Scan) -> Detections:
        classifier = CandidateClassifier(nets=(load_book_classifier(cls),))
        return detect(scan, Recipe(source=BlobSource(), classifier=classifier))

    return {
        "pipeline=book": book,
        "default, book's networks, auto precision": default("auto"),
        "default, book's networks, fp32": default("fp32"),
        "default, book's networks, auto precision, 4 views of each crop": default("auto", FLIPS),
        "blobs + book's classifier": blobs,
        "blobs alone": lambda scan: detect(scan, Recipe(source=BlobSource())),
        "plain program (baseline)": plain,
    }


def ranks(table: pd.DataFrame, nodules: pd.DataFrame) -> pd.DataFrame:
    """The best mark on each annotated nodule (within its radius), and its rank among all marks."""
    centers = table[["center_x_mm", "center_y_mm", "center_z_mm"]].to_numpy()
    probability = table["probability"].to_numpy()
    rows = []
    for nodule in nodules.to_dict("records"):
        center = [nodule["center_x_mm"], nodule["center_y_mm"], nodule["center_z_mm"]]
        distance = np.linalg.norm(centers - center, axis=1)
        hits = np.flatnonzero(distance < nodule["diameter_mm"] / 2)
        best = hits[np.argmax(probability[hits])] if len(hits) else None
        rows.append(
            {
                "nodule_mm": round(nodule["diameter_mm"], 1),
                "rank": None if best is None else int((probability > probability[best]).sum()) + 1,
                "probability": None if best is None else round(float(probability[best]), 4),
                "offset_mm": round(float(distance.min() if best is None else distance[best]), 1),
            }
        )
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
