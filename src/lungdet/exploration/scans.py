"""The sections on CT scans: pictures of each class, HU, sizes and spacings, nodules, copies, what cannot be read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from lungdet.evaluation.page import count_text
from lungdet.evaluation.results import Finding
from lungdet.exploration.contact_sheet import short, spread_choice
from lungdet.exploration.content import Drawing, Grid, Sample, Section, Table, Words
from lungdet.exploration.figures import histogram_row, hu_figure
from lungdet.exploration.scan_survey import HU_RANGE, NEAR_MM, REACH_MM, HeaderSurvey, VolumeSurvey

_QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
_QUANTILE_HEADS = ("", "smallest", "5 %", "median", "95 %", "largest")
_MEASURED = {
    "slices": "Slices",
    "rows": "Rows",
    "columns": "Columns",
    "spacing_z_mm": "Slice spacing, mm",
    "spacing_y_mm": "Row spacing, mm",
    "spacing_x_mm": "Column spacing, mm",
    "size_z_mm": "Height of the volume, mm",
    "size_x_mm": "Width of the volume, mm",
}
# A scan whose slices lie further apart shows a 5 mm nodule on one or two of them.
_THICK_MM = 2.5


def chosen_scans(points: pd.DataFrame, series: pd.DataFrame, *, n: int | None, seed: int) -> list[str]:
    """Which scans are read: of as many patients as there are, those with points of the rarer class first by chance.

    Args:
        points: series_uid, label.
        series: series_uid, patient_id; every scan on disk.
        n: how many; None for all.
        seed: of the choice.

    Returns:
        Series UIDs, sorted.
    """
    uids, patients = series["series_uid"].astype(str), series["patient_id"].astype(str)
    if n is None or n >= len(uids):
        return sorted(uids)
    generator = np.random.default_rng(seed)
    order = spread_choice(list(patients), len(uids), generator=generator)
    # Half of them with a positive point, where there are so many: pictures and histograms need both classes.
    positive = set(points.loc[points["label"] == points["label"].max(), "series_uid"])
    with_positive = [row for row in order if uids.iloc[row] in positive]
    first = with_positive[: -(-n // 2)]
    rest = [row for row in order if row not in set(first)]
    return sorted(uids.iloc[(first + rest)[:n]])


def chosen_points(points: pd.DataFrame, series_uids: Sequence[str], *, n: int, n_classes: int, seed: int) -> list[int]:
    """Rows of `points` to show: n of each class, from as many patients as there are in these scans.

    Args:
        points: series_uid, patient_id, label; RangeIndex.
        series_uids: that are read.
        n: of each class.
        n_classes: labels from 0 on.
        seed: of the choice.
    """
    generator = np.random.default_rng(seed)
    here = points[points["series_uid"].isin(list(series_uids))]
    shown: list[int] = []
    for label in range(n_classes):
        of_class = here[here["label"] == label]
        picked = spread_choice(list(of_class["patient_id"].astype(str)), n, generator=generator)
        shown += of_class.index[picked].tolist()
    return shown


def samples_section(points: pd.DataFrame, survey: VolumeSurvey, words: Words, *, shown: Sequence[int]) -> Section:
    """The axial view through some points of each class.

    Args:
        points: series_uid, patient_id, label, candidate_id, diameter_mm; RangeIndex.
        survey: with the views.
        words: class names.
        shown: rows of `points`, in the order of the page.
    """
    grids = []
    for label, name in enumerate(words.classes):
        rows = [row for row in shown if row in survey.views and points["label"].iloc[row] == label]
        samples = tuple(
            Sample(survey.views[row], _row_name(points.iloc[row]), _row_note(points.iloc[row])) for row in rows
        )
        if samples:
            grids.append(Grid(f"samples-{file_word(name)}", f"{name}, {len(samples)} at random", samples))
    return Section(
        name="samples",
        title="Samples",
        text=f"Axial view through {words.items}, {2 * REACH_MM:g} mm wide, lung window, at most one a patient as long "
        "as there are others. The patient's right is on the left.",
        grids=tuple(grids),
        record={"rows": [int(row) for row in shown if row in survey.views]},
    )


def hu_section(survey: VolumeSurvey, words: Words, *, n_scans: int, source: str) -> Section:
    """HU of the whole scans and near the points of each class.

    Args:
        survey: of the voxels.
        words: class names.
        n_scans: how many there are.
        source: what was read: "stored scans" or "original files".
    """
    named = {"all voxels": survey.everywhere, **{f"near {name}": near for name, near in survey.near.items()}}
    counted = {name: counts for name, counts in named.items() if counts.n_values}
    if not counted:
        return Section(name="intensities", title="HU", text="No scan could be read.")
    record: dict[str, Any] = {
        name: {
            "voxels": counts.n_values,
            "mean_hu": counts.mean[0],
            "std_hu": counts.std[0],
            **{
                f"p{share * 100:g}": float(q)
                for share, q in zip(_QUANTILES, counts.quantiles(_QUANTILES)[0], strict=True)
            },
            "share_at_lowest": float(counts.counts[0, 0] / counts.n_values),
        }
        for name, counts in counted.items()
    }
    heads = ("", "voxels", "mean HU", "standard deviation", *_QUANTILE_HEADS[1:])
    lines = tuple(
        (name.capitalize(), row["voxels"], row["mean_hu"], row["std_hu"], *(row[f"p{s * 100:g}"] for s in _QUANTILES))
        for name, row in record.items()
    )
    return Section(
        name="intensities",
        title="HU",
        text=f"Read: {len(survey.read):,} of {n_scans:,} {source}. \u201cNear\u201d is a box of {2 * NEAR_MM:g} mm "
        f"around the centre; values outside {HU_RANGE[0]} to {HU_RANGE[1]} HU are counted at the ends.",
        tables=(Table("Every voxel counts the same; the numbers are exact for the scans read.", heads, lines),),
        drawings=(
            Drawing(
                "hu",
                hu_figure({name: counts.counts[0] for name, counts in counted.items()}, HU_RANGE[0]),
                "Share of voxels by HU: air near \u22121000, lung near \u2212850, soft tissue near 40.",
            ),
        ),
        record={"scans_read": len(survey.read), "source": source, **record},
    )


def scan_sizes_section(survey: HeaderSurvey, *, source: str) -> Section:
    """Shapes and spacings of the scans as they are on disk.

    Args:
        survey: of the headers.
        source: whose they are: "original files" or "cubes".
    """
    scans = survey.scans
    if scans.empty:
        return Section(name="sizes", title="Sizes and spacings", text="No header could be read.")
    record = {name: _quantiles(scans[name].to_numpy(np.float64)) for name in _MEASURED}
    lines = tuple((title, *record[name].values()) for name, title in _MEASURED.items())
    standings = {str(name): int(n) for name, n in scans["standing"].value_counts().items()}
    shown = {
        title: scans[name] for name, title in _MEASURED.items() if name in ("slices", "spacing_z_mm", "spacing_x_mm")
    }
    return Section(
        name="sizes",
        title="Sizes and spacings",
        text=f"Of {count_text(len(scans), 'scan')}, as the {source} say, before any resampling. "
        + " ".join(f"{n:,} {name}." for name, n in standings.items()).replace(
            "axial", "axial (index axes along x, y, z)"
        ),
        tables=(Table("Quantiles over scans.", _QUANTILE_HEADS, lines),),
        drawings=(Drawing("sizes", histogram_row(shown, y="Scans"), "Scans by slices and spacing."),)
        if any(np.ptp(scans[name].to_numpy(np.float64)) > 0 for name in _MEASURED)
        else (),
        findings=tuple(_about_sizes(scans, standings)),
        record={"scans": len(scans), "standing": standings, **record},
    )


def nodules_section(annotations: pd.DataFrame, series: pd.DataFrame) -> Section:
    """How large the annotated nodules are, and how many a scan has.

    Args:
        annotations: series_uid, diameter_mm; of scans on disk.
        series: series_uid.
    """
    per_scan = annotations.groupby("series_uid").size().reindex(series["series_uid"], fill_value=0).to_numpy()
    diameters = annotations["diameter_mm"].dropna().to_numpy(np.float64)
    record: dict[str, Any] = {
        "nodules": len(annotations),
        "scans_without": int((per_scan == 0).sum()),
        "per_scan": _quantiles(per_scan.astype(np.float64)),
    }
    lines = [("Nodules per scan", *record["per_scan"].values())]
    drawings: tuple[Drawing, ...] = ()
    if diameters.size:
        record["diameter_mm"] = _quantiles(diameters)
        lines.insert(0, ("Diameter, mm", *record["diameter_mm"].values()))
        figure = histogram_row({"Diameter, mm": diameters, "Nodules of a scan": per_scan}, y="Count")
        drawings = (Drawing("nodules", figure, "Annotated nodules by diameter, and scans by their number of nodules."),)
    return Section(
        name="nodules",
        title="Nodules",
        text=f"{count_text(len(annotations), 'annotated nodule')} in {count_text(len(series), 'scan')}; "
        f"{record['scans_without']:,} of these have none.",
        tables=(Table("Quantiles.", _QUANTILE_HEADS, tuple(lines)),),
        drawings=drawings,
        record=record,
    )


def file_word(name: str) -> str:
    """A class name as part of a file name and of an id.

    >>> file_word("non_nodule (other)")
    'non-nodule--other-'
    """
    return "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)


def _quantiles(values: npt.NDArray[np.float64]) -> dict[str, float]:
    numbers = np.quantile(values, _QUANTILES)
    return {f"p{share * 100:g}": float(number) for share, number in zip(_QUANTILES, numbers, strict=True)}


def _row_name(row: pd.Series[Any]) -> str:
    diameter = float(row["diameter_mm"])
    return str(row["patient_id"]) + ("" if math.isnan(diameter) else f", {diameter:.1f} mm")


def _row_note(row: pd.Series[Any]) -> str:
    return f"{short(str(row['series_uid']), 12)}, candidate {row['candidate_id']}"


def _about_sizes(scans: pd.DataFrame, standings: Mapping[str, int]) -> Iterator[Finding]:
    odd = {name: n for name, n in standings.items() if name != "axial"}
    if odd:
        said = ", ".join(f"{n:,} {name}" for name, n in odd.items())
        yield Finding(
            "note", "directions",
            f"The index axes of {count_text(sum(odd.values()), 'scan')} do not run along x, y, z ({said}): whoever "
            "takes array indices for positions finds the nodules of these scans in the wrong place.",
        )  # fmt: skip
    thick = int((scans["spacing_z_mm"] > _THICK_MM).sum())
    if thick:
        yield Finding(
            "note", "thick_slices",
            f"{count_text(thick, 'scan has', 'scans have')} slices more than {_THICK_MM:g} mm apart: small nodules are "
            "on one or two slices there, and resampling cannot bring back what lies between.",
        )  # fmt: skip
    spread = float(scans["spacing_z_mm"].max() / scans["spacing_z_mm"].min())
    if spread > 2 and not thick:
        yield Finding(
            "note", "spacings",
            f"Slice spacing differs by a factor of {spread:.3g}: crops in voxels show different extents unless the "
            "store resamples (data.store.spacing_mm).",
        )  # fmt: skip
