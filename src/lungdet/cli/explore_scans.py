"""`lungdet explore` of CT: tables of the collection, headers of all scans, voxels of some, stored or original."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from omegaconf import DictConfig

from lungdet.cli.progress import scan_progress
from lungdet.data.ct import CtDataModule
from lungdet.data.sample_kind import PointSamples
from lungdet.errors import LungdetError, TableError
from lungdet.evaluation.page import count_text
from lungdet.evaluation.results import Finding
from lungdet.exploration.classes import classes_section, patients_section
from lungdet.exploration.content import Exploration, Section, Words
from lungdet.exploration.copies import copies_section, problems_section
from lungdet.exploration.scan_survey import POINT_COLUMNS, survey_headers, survey_volumes
from lungdet.exploration.scans import (
    chosen_points,
    chosen_scans,
    hu_section,
    nodules_section,
    samples_section,
    scan_sizes_section,
)
from lungdet.geometry import Geometry
from lungdet.io.luna16 import Luna16
from lungdet.io.scan import read_header, read_scan, scan_suffix
from lungdet.store.reader import CtStore


def explore_scans(
    datamodule: CtDataModule, cfg: DictConfig, *, title: str, provenance: Mapping[str, Any]
) -> Exploration:
    """Everything that the page says of a CT collection.

    Args:
        datamodule: of the collection; no split is asked of it.
        cfg: of the command.
        title: of the page.
        provenance: what the command knows.

    Raises:
        MissingFileError, TableError: no collection where `data` says.
    """
    store, why_not = usable_store(datamodule)
    collection = datamodule.collection
    points, words, notes = labelled_points(datamodule, collection)
    series = collection.series.astype({"series_uid": str, "patient_id": str})
    if why_not:
        notes.append(Finding("note", "no_store", f"Voxels are those of the original files: {why_not}"))

    headers = survey_headers(list(collection.scan_paths), header_reader(collection, store))
    readable = series[series["series_uid"].isin(list(headers.scans["series_uid"]))].reset_index(drop=True)
    scans = chosen_scans(points, readable, n=cfg.n_scans, seed=cfg.seed)
    shown = chosen_points(points, scans, n=cfg.n_samples, n_classes=len(words.classes), seed=cfg.seed)
    with scan_progress("explore", total=len(scans)) as advance:
        volumes = survey_volumes(
            scans,
            volume_reader(collection, store),
            points=points,
            classes=words.classes,
            shown=shown,
            generator=np.random.default_rng(cfg.seed),
            advance=advance,
        )
    cubes = store is not None and any(not scan_suffix(path) for path in collection.scan_paths.values())
    unit = "cubes" if cubes else "scans"
    read_from = "original files" if store is None else "cubes" if cubes else "stored scans"
    sections = [
        classes_section(points, words),
        samples_section(points, volumes, words, shown=shown),
        hu_section(volumes, words, n_scans=len(readable), source=read_from),
        scan_sizes_section(headers, source="cubes" if cubes else "original files"),
        *([] if cubes else [nodules_section(collection.annotations, series)]),
        patients_section(points, words),
        *([copies(store, points, series, words)] if store is not None else []),
        problems_section({**headers.failures, **volumes.failures}, n=len(collection.scan_paths), items=unit),
    ]
    sections[0] = with_findings(sections[0], notes)
    n_positive = int((points["label"] == len(words.classes) - 1).sum())
    return Exploration(
        title=title,
        lead=f"{count_text(len(points), words.item, words.items)} in {count_text(len(series), 'scan')} of "
        f"{count_text(series['patient_id'].nunique(), 'patient')}.",
        tiles=(
            ("Scans", count_text(len(series)), f"{len(headers.failures):,} unreadable headers"),
            ("Patients", count_text(series["patient_id"].nunique()), f"{readable['patient_id'].nunique():,} readable"),
            (words.title, count_text(len(points)), f"{n_positive:,} {words.classes[-1]}"),
            ("Voxels read of", count_text(len(volumes.read)), f"of {count_text(len(readable), 'readable scan')}"),
        ),
        sections=tuple(sections),
        provenance={
            **provenance,
            "source": str(collection.root),
            "store": None if store is None else str(store.path),
            "store_fingerprint": None if store is None else store.fingerprint,
            "scans_read": len(volumes.read),
            **collection.counts,
        },
    )  # fmt: skip


def usable_store(datamodule: CtDataModule) -> tuple[CtStore | None, str]:
    """The store, or why there is none; a collection that makes its own store makes it here."""
    problems = datamodule.store_problems()
    if not problems:
        datamodule.prepare_data()
        return datamodule.store, ""
    return None, " ".join(problems)


def labelled_points(datamodule: CtDataModule, collection: Luna16) -> tuple[pd.DataFrame, Words, list[Finding]]:
    """One row a labelled point of a scan on disk; the annotated nodules alone where there is no table of candidates.

    Returns:
        series_uid, patient_id, candidate_id, label, diameter_mm, partition and the centre; how they are called; what
        has to be said of them.
    """
    classes, findings = tuple(datamodule.classes), list[Finding]()
    try:
        if not isinstance(datamodule.samples, PointSamples):
            raise TableError("masks have no classes of points")
        table = datamodule.samples.points(collection)
        item = "nodule" if "nodule" not in classes else "candidate"
    except TableError as error:
        table = collection.annotations.assign(is_nodule=True, candidate_id=np.arange(len(collection.annotations)))
        item, classes = "annotated nodule", ("nodule",)
        findings.append(Finding("note", "no_candidates", f"Annotated nodules are shown, and no negatives: {error}"))
    labels = table["is_nodule"].astype(int) if len(classes) > 1 else 0
    parts = collection.series.get("subset", -1)
    series = collection.series.assign(
        partition=[f"subset {n}" if n >= 0 else "" for n in np.broadcast_to(parts, len(collection.series))]
    )[["series_uid", "patient_id", "partition"]].astype(str)
    columns = ["series_uid", "candidate_id", "diameter_mm", *POINT_COLUMNS]
    points = table[columns].assign(label=labels).merge(series, on="series_uid", how="inner")
    words = Words(classes, item, f"{item}s", "subset", "subsets")
    return points.reset_index(drop=True), words, findings


def header_reader(collection: Luna16, store: CtStore | None) -> Callable[[str], Geometry]:
    """The grid of an original: from its header, or from the store where scans are no image files (cubes)."""

    def read(uid: str) -> Geometry:
        path = Path(collection.scan_paths[uid])
        return store.source_geometry(uid) if store is not None and not scan_suffix(path) else read_header(path)

    return read


def volume_reader(collection: Luna16, store: CtStore | None) -> Callable[[str], tuple[npt.NDArray[np.int16], Geometry]]:
    """Voxels and grid: stored, or of the original where the scan is not stored."""

    def read(uid: str) -> tuple[npt.NDArray[np.int16], Geometry]:
        if store is not None and uid in store:
            return store.volume(uid), store.geometry(uid)
        scan = read_scan(collection.scan_paths[uid])
        return scan.hu, scan.geometry

    return read


def copies(store: CtStore, points: pd.DataFrame, series: pd.DataFrame, words: Words) -> Section:
    """Scans with equal stored voxels."""
    stored = [uid for uid in series["series_uid"] if uid in store]
    try:
        hashes = store.pixel_hashes(stored)
    except LungdetError as error:
        return Section(name="copies", title="Identical pixels", text=f"Not compared: {error}")
    members: dict[str, list[str]] = {}
    for uid, key in hashes.items():
        members.setdefault(key, []).append(uid)
    # A scan has no label of its own: rows with one per scan keep patients and subsets, and leave labels out of it.
    rows = series.assign(name=series["series_uid"], label=0, partition="")
    if "subset" in series:
        rows["partition"] = [f"subset {n}" if int(n) >= 0 else "" for n in series["subset"]]
    return copies_section(
        [tuple(names) for names in members.values() if len(names) > 1],
        rows,
        Words(words.classes, "scan", "scans", words.part, words.parts),
        looked_at=f"{count_text(len(stored), 'stored scan')} compared voxel by voxel (SHA-256); one changed voxel or "
        "another spacing gives another hash.",
    )


def with_findings(section: Section, findings: list[Finding]) -> Section:
    """The section with more to say, first."""
    return dataclasses.replace(section, findings=(*findings, *section.findings))
