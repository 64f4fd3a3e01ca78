"""The folder of a detection run: which files it holds, which scans are done, and that settings are not mixed in it.

detect.json                       settings that made the results
detections.csv detections.parquet patients.csv seriesuids.csv index.html froc/     of all scans
<series_uid>/                     of one scan; with a single scan its files lie in the folder itself:
    detections.csv detections.json report.html detections.mrk.json segmentation.dcm report.dcm
"""

from __future__ import annotations

import json
import shutil
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


class ResultFolder:
    """Where results go.

    Args:
        path: the folder.
        settings: all that decides a result, ready for JSON.
        single: one scan only, whose files lie in the folder itself.
    """

    def __init__(self, path: Path, *, settings: Mapping[str, Any], single: bool) -> None:
        self.path, self.single = path, single
        # Through JSON, so that what was written compares equal to what will be read.
        self.settings: dict[str, Any] = json.loads(json.dumps({**settings, "single": single}, sort_keys=True))

    def claim(self, *, overwrite: bool) -> None:
        """Make the folder that of these settings.

        Raises:
            StoreError: it holds results of other settings, or files that are no results.
        """
        marker = self.path / SETTINGS
        if marker.is_file():
            theirs = json.loads(marker.read_text(encoding="utf-8"))
            if theirs == self.settings:
                return
            differing = sorted(k for k in {*theirs, *self.settings} if theirs.get(k) != self.settings.get(k))
            if not overwrite:
                raise StoreError(
                    f"{self.path} holds results of other settings ({', '.join(differing)} differ); give another folder "
                    "by out=..., or type overwrite=true to throw them away"
                )
            shutil.rmtree(self.path)
        elif self.path.exists() and any(self.path.iterdir()):
            raise StoreError(f"{self.path} is not empty and holds no results of lungdet detect; give out=<new folder>")
        self.path.mkdir(parents=True, exist_ok=True)
        marker.write_text(json.dumps(self.settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")

    def folder(self, series_uid: str) -> Path:
        """Where the files of a scan lie."""
        return self.path if self.single else self.path / series_uid

    def has(self, series_uid: str) -> bool:
        """Whether a scan has its result: detections.json is written last."""
        record = self.folder(series_uid) / RECORD
        if not record.is_file():
            return False
        return bool(json.loads(record.read_text(encoding="utf-8")).get("series_uid") == series_uid)

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
        from lungdet.training.run_directory import describe_environment

        environment = describe_environment()
        versions = {"lungdet": environment["lungdet"], "torch": environment["packages"]["torch"]}
        versions |= {"git commit": environment["git_commit"]} if environment["git_commit"] else {}
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
        """Write the tables of all scans together: candidates, patients, the series that were searched."""
        from lungdet.outputs.submission import write_submission

        tables = [pd.read_parquet(self.folder(uid) / TABLE) for uid in searched]
        if not self.single:
            pd.concat(tables, ignore_index=True).to_parquet(self.path / TABLE, index=False)
            write_submission(tables, self.path / "detections.csv")
        patients = pd.DataFrame([{"series_uid": uid, **self._record(uid)["patient"]} for uid in searched])
        patients.to_csv(self.path / PATIENTS, index=False)
        (self.path / SERIES).write_text("".join(f"{uid}\n" for uid in searched), encoding="utf-8")
        (self.path / "failures.json").unlink(missing_ok=True)
        if failures:
            text = json.dumps(dict(failures), indent=2, sort_keys=True)
            (self.path / "failures.json").write_text(text + "\n", encoding="utf-8")

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
            self.path / "index.html",
            title=title,
            failures=failures,
            froc=froc,
            froc_page="" if froc is None else "froc/froc.html",
            versions=records[0]["versions"] if records else {},
        )

    def _record(self, series_uid: str) -> dict[str, Any]:
        record: dict[str, Any] = json.loads((self.folder(series_uid) / RECORD).read_text(encoding="utf-8"))
        return record
