"""report.html: the result of one scan as one page that needs nothing else to be read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lungdet.evaluation.page import EN_DASH, Tile, count_text, flat_lines
from lungdet.evaluation.views import LUNG_WINDOW_HU
from lungdet.io.scan import Scan
from lungdet.outputs.comparison import (
    SAME_PLACE_MM,
    Nodule,
    called_places,
    false_positives,
    judge_annotations,
    positions,
)
from lungdet.outputs.detection_figures import finding_pictures, overview_pictures
from lungdet.outputs.findings import Finding, ranked_findings
from lungdet.outputs.page import probability, render_page
from lungdet.outputs.text_file import write_text
from lungdet.pipeline.confusion import HIT_DIAMETERS, book_confusion
from lungdet.pipeline.detections import Detections

# Longer tables are for programs: detections.csv and detections.json hold every row.
_TABLE_ROWS = 40
_TIMES = " \u00d7 "
_RULES = {
    "maximum": "the score of the most suspicious finding",
    "noisy_or": "the chance that at least one finding is real, were they independent (noisy-or)",
}


def write_detection_report(
    detections: Detections,
    scan: Scan,
    path: Path | str,
    *,
    versions: Mapping[str, str],
    others: Mapping[str, Detections] | None = None,
    annotations: pd.DataFrame | None = None,
    n_shown: int = 12,
) -> Path:
    """Write the page.

    Args:
        detections: of this scan.
        scan: its voxels are shown.
        path: folders are made; an earlier page is replaced.
        versions: name -> version of the software that made the detections.
        others: what other recipes found in the same scan, by the name to show; compared side by side.
        annotations: nodules that readers marked, of this scan or of many: series_uid, center_x_mm, center_y_mm,
            center_z_mm, diameter_mm, and is_malignant where it is known.
        n_shown: how many of the most probable findings are shown with pictures.

    Returns:
        The path.

    Raises:
        TableError: detections of another scan, annotations without a needed column.
    """
    page = render_detection_report(
        detections, scan, versions=versions, others=others, annotations=annotations, n_shown=n_shown
    )
    return write_text(page, path)


def render_detection_report(
    detections: Detections,
    scan: Scan,
    *,
    versions: Mapping[str, str],
    others: Mapping[str, Detections] | None = None,
    annotations: pd.DataFrame | None = None,
    n_shown: int = 12,
) -> str:
    """The page of `write_detection_report` as text; the same result gives the same characters."""
    others = others or {}
    name = str(detections.recipe.get("pipeline", "this recipe"))
    runs = {"this recipe" if name in others else name: detections, **others}
    recipes = {key: ranked_findings(run, scan) for key, run in runs.items()}
    findings = next(iter(recipes.values()))
    here = None if annotations is None else annotations[annotations["series_uid"] == scan.series_uid]
    nodules = None if here is None else judge_annotations(here, recipes)
    shown = findings[:n_shown]
    return render_page(
        "detection.html.j2",
        scan=_scan_facts(scan),
        answer=headline(detections),
        tiles=_tiles(detections),
        notes=_notes(runs, scan.series_uid),
        patient=detections.patient,
        has_malignancy=any(not math.isnan(f.malignancy_probability) for f in findings),
        overview=overview_pictures(scan, findings, annotated_xyz_mm=positions(nodules or ()), n_numbered=len(shown)),
        rows=findings[: max(_TABLE_ROWS, n_shown)],
        n_findings=len(findings),
        cards=[_card(finding, scan) for finding in shown],
        window=LUNG_WINDOW_HU,
        recipes=list(recipes),
        comparison=_comparison(runs, recipes) if others else None,
        annotated=None if here is None or nodules is None else _annotated(runs, recipes, here, nodules),
        same_place_mm=SAME_PLACE_MM,
        book_hit_diameters=HIT_DIAMETERS,
        settings={key: list(flat_lines(run.recipe, none="none")) for key, run in runs.items()},
        versions=versions,
        seconds={key: run.seconds for key, run in runs.items()},
        rules=_RULES,
    )


def headline(detections: Detections) -> str:
    """The patient's answer in one or two sentences."""
    patient = detections.patient
    score, threshold = patient["nodule_probability"], patient["nodule_threshold"]
    if math.isnan(score):
        return "No answer: this scan could not be searched. See the notes for the reason."
    if patient["n_candidates"] == 0:
        return "Nothing found: the lungs were searched and hold no candidate. The patient score is 0."
    told = f"The patient score is {probability(score)}, {_RULES[patient['rule']]}."
    if patient["n_nodules"] == 0:
        n = count_text(patient["n_candidates"], "candidate")
        return f"No finding reaches the nodule threshold of {threshold:g}; {n} were weighed. {told}"
    reach = "reaches" if patient["n_nodules"] == 1 else "reach"
    return f"{count_text(patient['n_nodules'], 'finding')} {reach} the nodule threshold of {threshold:g}. {told}"


def _tiles(detections: Detections) -> list[Tile]:
    patient, total = detections.patient, sum(detections.seconds.values())
    slowest = max(detections.seconds, key=lambda stage: detections.seconds[stage], default="")
    judged = not math.isnan(patient["nodule_probability"])
    n_nodules, n_candidates = (
        count_text(patient[name]) if judged else EN_DASH for name in ("n_nodules", "n_candidates")
    )
    tiles: list[Tile] = [
        ("Patient score", probability(patient["nodule_probability"]), patient["rule"].replace("_", "-")),
        ("Findings", n_nodules, f"at {patient['nodule_threshold']:g} or more"),
        ("Candidates", n_candidates, "weighed in all"),
        ("Time", f"{total:.1f} s", f"{detections.seconds[slowest]:.1f} s of it: {slowest}" if slowest else "unknown"),
    ]
    if not math.isnan(patient["malignancy_probability"]):
        tiles[2] = ("Malignancy score", probability(patient["malignancy_probability"]), "over the findings")
    return tiles


def _notes(runs: Mapping[str, Detections], series_uid: str) -> list[dict[str, str]]:
    # The page is about one series and need not name it again; only other recipes' notes say whose they are.
    notes = [(name, note.removeprefix(f"{series_uid}: ")) for name, run in runs.items() for note in run.notes]
    own = next(iter(runs))
    return [{"kind": "warning", "text": note if name == own else f"{name}: {note}"} for name, note in notes]


def _scan_facts(scan: Scan) -> dict[str, Any]:
    return {
        "series_uid": scan.series_uid,
        "shape": _TIMES.join(map(str, scan.geometry.shape_zyx[::-1])),
        "spacing": _TIMES.join(f"{mm:.3g}" for mm in scan.geometry.spacing_xyz_mm) + " mm",
        "n_slices": scan.geometry.shape_zyx[0],
    }


def _card(finding: Finding, scan: Scan) -> dict[str, Any]:
    region = finding.region
    return {
        "finding": finding,
        "pictures": finding_pictures(scan, finding),
        "outside": not bool(scan.geometry.contains(finding.center_xyz_mm)),
        "is_segmented": region is not None and region.made_by == "segmentation",
    }


def _comparison(runs: Mapping[str, Detections], recipes: Mapping[str, Sequence[Finding]]) -> dict[str, Any]:
    places = called_places(recipes)
    return {
        "summary": [
            {
                "name": name,
                "score": run.patient["nodule_probability"],
                "malignancy": run.patient["malignancy_probability"],
                "threshold": run.patient["nodule_threshold"],
                "n_candidates": run.patient["n_candidates"],
                "n_nodules": run.patient["n_nodules"],
                "n_common": sum(place.is_common for place in places if place.found[name] is not None),
                "seconds": sum(run.seconds.values()),
            }
            for name, run in runs.items()
        ],
        "places": places[:_TABLE_ROWS],
        "n_places": len(places),
        "n_common": sum(place.is_common for place in places),
    }


def _annotated(
    runs: Mapping[str, Detections],
    recipes: Mapping[str, Sequence[Finding]],
    annotations: pd.DataFrame,
    nodules: Sequence[Nodule],
) -> dict[str, Any]:
    summary, confusion = [], {}
    for name, run in runs.items():
        hits = [hit for nodule in nodules if (hit := nodule.hit_by[name]) is not None]
        summary.append(
            {
                "name": name,
                "n_called": sum(hit.is_nodule for hit in hits),
                "n_hit": len(hits),
                "false_positives": false_positives(recipes[name], nodules),
            }
        )
        if "is_malignant" in annotations:
            threshold = float(run.patient["nodule_threshold"])
            confusion[name] = book_confusion(run.table, annotations, nodule_threshold=threshold)
    return {"nodules": nodules, "summary": summary, "confusion": confusion}
