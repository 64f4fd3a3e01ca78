"""The folder of a detection run: which files it holds, which scans are done, and that settings are not mixed in it.

detect.json                       settings that made the results
detections.csv detections.parquet patients.csv seriesuids.csv failures.json index.html froc/     of all scans
<series_uid>/                     of one scan; with a single scan its files lie in the folder itself:
    detections.csv detections.parquet detections.json report.html detections.mrk.json segmentation.dcm report.dcm
"""

from __future__ import annotations

import functools
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lungdet.errors import StoreError

if TYPE_CHECKING:
    from lungdet.io.scan import Scan
    from lungdet.outputs.dicom_series import DicomSeries
    from lungdet.pipeline.detections import Detections

SETTINGS = "detect.json"
RECORD = "detections.json"
TABLE = "detections.parquet"
SERIES = "seriesuids.csv"
PATIENTS = "patients.csv"
FAILURES = "failures.json"
INDEX = "index.html"

_FORMAT = "lungdet.detect/1"
_OF_ONE = (
    RECORD, TABLE, "detections.csv", "report.html", "detections.mrk.json", "segmentation.dcm", "report.dcm",
)  # fmt: skip
_OF_ALL = (*_OF_ONE, SERIES, PATIENTS, FAILURES, INDEX, "evaluation.json", "patients.json", SETTINGS)
_PATIENT_COLUMNS = [
    "series_uid", "nodule_probability", "malignancy_probability", "n_candidates", "n_nodules", "rule",
    "nodule_threshold", "lung_volume_ml", "notes",
]  # fmt: skip


class ResultFolder:
    """Where results go.

    Args:
        path: the folder.
        settings: all that decides a result, ready for JSON.
        single: series UID of the scan where there is one only, whose files lie in the folder itself; else None.
    """

    def __init__(self, path: Path, *, settings: Mapping[str, Any], single: str | None) -> None:
        self.path, self.single = path, single is not None
        # Through JSON, so that what was written compares equal to what will be read.
        text = json.dumps({**settings, "format": _FORMAT, "single": single}, sort_keys=True)
        self.settings: dict[str, Any] = json.loads(text)

    def claim(self, *, overwrite: bool) -> None:
        """Make the folder that of these settings.

        Raises:
            StoreError: it holds results of other settings, or files that are no results: those are never touched.
        """
        marker = self.path / SETTINGS
        theirs = _read_dict(marker)
        if theirs.get("format") == _FORMAT:
            if theirs == self.settings:
                return
            differing = sorted(k for k in {*theirs, *self.settings} if theirs.get(k) != self.settings.get(k))
            if not overwrite:
                raise StoreError(
                    f"out: {self.path} holds results of other settings ({', '.join(differing)} differ); give another "
                    "folder by out=..., or type overwrite=true to throw them away"
                )
            _remove_results(self.path)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise StoreError(
                f"out: {self.path} is no empty folder and holds no results of lungdet detect; give out=<new folder>"
            )
        self.path.mkdir(parents=True, exist_ok=True)
        _write_json(marker, self.settings)

    def folder(self, series_uid: str) -> Path:
        """Where the files of a scan lie."""
        return self.path if self.single else self.path / series_uid

    def has(self, series_uid: str) -> bool:
        """Whether a scan has its result: detections.json is written last."""
        return bool(_read_dict(self.folder(series_uid) / RECORD).get("series_uid") == series_uid)

    def still_missing(self, series_uids: Sequence[str], *, patience_s: float = 70.0) -> list[str]:
        """Which of the scans that other machines have searched have no result here.

        A network file system may hide new folders from one that has looked for them before, NFS for up to a minute.
        """
        until = time.monotonic() + patience_s
        while missing := [uid for uid in series_uids if not self.has(uid)]:
            if time.monotonic() > until:
                return missing
            time.sleep(1.0)
            for folder in (self.path, *(self.folder(uid) for uid in missing)):
                if folder.is_dir():
                    list(folder.iterdir())  # reading a folder makes the system ask the server again
        return []

    def write(
        self,
        scan: Scan,
        detections: Detections,
        *,
        others: Mapping[str, Detections],
        annotations: pd.DataFrame | None,
        series: DicomSeries | None,
        n_shown: int,
        dicom_probability: float,
    ) -> None:
        """Write the files of one scan.

        Args:
            scan: that was searched.
            detections: the result.
            others: of other recipes, for the report.
            annotations: of any scans, for the report.
            series: the DICOM series, where DICOM objects are wanted.
            n_shown: findings with pictures.
            dicom_probability: of the findings that go into DICOM objects.
        """
        from lungdet.outputs.detection_page import write_detection_report
        from lungdet.outputs.markups import write_markups
        from lungdet.outputs.record import write_record
        from lungdet.outputs.submission import write_submission

        versions = _versions()
        folder = self.folder(scan.series_uid)
        folder.mkdir(parents=True, exist_ok=True)
        write_submission([detections.table], folder / "detections.csv")
        detections.table.to_parquet(folder / TABLE, index=False)
        write_markups(detections, scan, folder / "detections.mrk.json")
        if series is not None:
            from lungdet.outputs.dicom_seg import write_dicom_seg
            from lungdet.outputs.dicom_sr import write_dicom_sr

            least = dicom_probability
            segmentation = write_dicom_seg(
                detections, series=series, out=folder / "segmentation.dcm", minimum_probability=least
            )
            write_dicom_sr(
                detections,
                series=series,
                out=folder / "report.dcm",
                minimum_probability=least,
                segmentation=segmentation,
            )
        write_detection_report(
            detections,
            scan,
            folder / "report.html",
            versions=versions,
            others=others,
            annotations=annotations,
            n_shown=n_shown,
        )
        write_record(detections, scan, folder / RECORD, versions=versions)

    def write_tables(self, searched: Sequence[str], failures: Mapping[str, str]) -> None:
        """Write the tables of all scans together: candidates, patients, the series that were searched, failures.

        Args:
            searched: series UIDs that have a result; without any there are no tables.
            failures: series UID -> why it has none.
        """
        from lungdet.outputs.submission import write_submission

        (self.path / FAILURES).unlink(missing_ok=True)
        if failures:
            _write_json(self.path / FAILURES, dict(failures))
        if not searched:
            return
        tables = [pd.read_parquet(self.folder(uid) / TABLE) for uid in searched]
        if not self.single:
            pd.concat(tables, ignore_index=True).to_parquet(self.path / TABLE, index=False)
            write_submission(tables, self.path / "detections.csv")
        records = [self._record(uid) for uid in searched]
        patients = pd.DataFrame([_patient_row(record) for record in records], columns=_PATIENT_COLUMNS)
        patients.to_csv(self.path / PATIENTS, index=False)
        (self.path / SERIES).write_text("".join(f"{uid}\n" for uid in searched), encoding="utf-8")

    def write_index(
        self, searched: Sequence[str], failures: Mapping[str, str], *, froc: Mapping[str, Any] | None, title: str
    ) -> Path:
        """Write the page of all scans; with a single one its report is the page."""
        from lungdet.outputs.collection_page import scan_row, write_collection_page

        if self.single:
            return self.path / "report.html"
        records = [self._record(uid) for uid in searched]
        return write_collection_page(
            [scan_row(record, report=f"{record['series_uid']}/report.html") for record in records],
            self.path / INDEX,
            title=title,
            failures=failures,
            froc=froc,
            froc_page="" if froc is None else "froc/froc.html",
            versions=records[0]["versions"] if records else {},
        )

    def _record(self, series_uid: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder(series_uid) / RECORD).read_text(encoding="utf-8"))
        return record


@functools.cache
def _versions() -> dict[str, str]:
    """Of the software that searches; asked once, not for every scan."""
    from lungdet.training.environment import describe_environment

    environment = describe_environment()
    versions = {"lungdet": environment["lungdet"], "torch": environment["packages"]["torch"]}
    return versions | ({"git commit": environment["git_commit"]} if environment["git_commit"] else {})


def _patient_row(record: Mapping[str, Any]) -> dict[str, Any]:
    uid = record["series_uid"]
    notes = "; ".join(note.removeprefix(f"{uid}: ") for note in record["notes"])
    return {"series_uid": uid, **record["patient"], "notes": notes}


def _remove_results(folder: Path) -> None:
    """Delete what a detection run writes, by name: whatever else somebody keeps there stays."""
    for scan in [path for path in folder.iterdir() if path.is_dir() and not path.is_symlink()]:
        for name in _OF_ONE:
            (scan / name).unlink(missing_ok=True)
            (scan / f"{name}.partial").unlink(missing_ok=True)
        if not any(scan.iterdir()):
            scan.rmdir()
    if (folder / "froc" / "froc.json").is_file():
        shutil.rmtree(folder / "froc")
    for name in _OF_ALL:
        (folder / name).unlink(missing_ok=True)


def _read_dict(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def _write_json(path: Path, record: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
