"""A classification report on disk: report.json, curves.parquet, the self-contained report.html, grids of mistakes."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from lungdet.evaluation import figures
from lungdet.evaluation.folds_page import folds_figure, folds_table
from lungdet.evaluation.gallery_page import gallery_cards
from lungdet.evaluation.image_grids import GRIDS, image_grids
from lungdet.evaluation.page import PARTITION_NAMES, Tile, estimate_tile, flat_lines, number_text, page_environment
from lungdet.evaluation.page_figures import embedded_figure, history_figures
from lungdet.evaluation.predictions import sigmoid
from lungdet.evaluation.report_files import WrittenReport, write_report_files
from lungdet.evaluation.results import Calibration, ClassificationReport
from lungdet.evaluation.views import LUNG_WINDOW_HU
from lungdet.evaluation.wording import DIAMETER_AUROC_BY_RULE, with_article

_CALIBRATION_ROWS = (
    ("ece", "ECE, 15 bins of equal width", 3),
    ("ece_equal_mass", "ECE, 15 bins of equal content", 3),
    ("brier", "Brier score", 4),
    ("negative_log_likelihood", "Log loss", 4),
    ("slope", "Calibration slope (right: 1)", 2),
    ("intercept", "Calibration intercept (right: 0)", 2),
)
_SPOKEN_METHODS = {"temperature": "temperature scaling", "platt": "Platt scaling", "isotonic": "isotonic regression"}
_HISTORY = (
    ("loss", "min", "Loss by epoch"),
    ("auroc", "max", "AUROC by epoch"),
    ("average_precision", "max", "Average precision by epoch"),
)


def write_report(report: ClassificationReport, folder: Path | str) -> WrittenReport:
    """Write all files of a report; the same report gives the same bytes.

    Args:
        report: from `evaluate_classification`.
        folder: made if missing; files of an earlier report are replaced.
    """
    grids = image_grids(report)
    return write_report_files(
        folder,
        record=report.to_dict(),
        curves=report.curves,
        page=render_html(report),
        pictures={name: grids.get(name) for name in GRIDS},
    )


def render_html(report: ClassificationReport) -> str:
    """The report as one HTML page that refers to nothing outside itself."""
    environment = page_environment()
    environment.filters.update(lower_first=_lower, upper_first=_upper, with_article=with_article, sigmoid=sigmoid)
    history = list(history_figures(report.history, _HISTORY))
    return environment.get_template("classification.html.j2").render(
        report=report,
        words=report.wording,
        rule_aurocs=sorted(DIAMETER_AUROC_BY_RULE.items(), key=lambda item: item[1]),
        here=report.counts[report.partition],
        here_name=_here(report),
        answer=_answer(report),
        tiles=_tiles(report),
        sections=_sections(report, trained=bool(history)),
        ranking_figures=list(_ranking_figures(report)),
        score_figure=_score_figure(report),
        size_figure=_size_figure(report),
        reliability_figures=list(_reliability_figures(report)),
        calibration_columns=_calibration_columns(report),
        method_names=_SPOKEN_METHODS,
        folds_figure=None if report.folds is None else folds_figure(report),
        folds_table=None if report.folds is None else folds_table(report),
        history_figures=history,
        partition_names=PARTITION_NAMES,
        point_names=_point_names(report),
        size_points=[name for name, point in report.operating_points.items() if report.partition in point.on],
        calibration_rows=_CALIBRATION_ROWS,
        window=LUNG_WINDOW_HU,
        galleries=[gallery_cards(gallery) for gallery in report.galleries],
        provenance=list(flat_lines(report.provenance, none="unknown")),
    )


def _point_names(report: ClassificationReport) -> dict[str, str]:
    aims = {name: f"Recall ≥ {aim:g}" for name, aim in report.recalls.items()}
    return {"half": "0.5", "max_f1": "Largest F1", "youden": "Youden's J"} | aims


def _here(report: ClassificationReport) -> str:
    return PARTITION_NAMES[report.partition].lower()


def _answer(report: ClassificationReport) -> str:
    area = report.ranking[report.partition].auroc
    if math.isnan(area.value):
        return f"No answer yet: {area.reason} in {_here(report)}."
    point = report.operating_points[report.headline]
    on = point.on[report.partition]
    counted, words = on.confusion, report.wording
    aim = report.recalls.get(report.headline)
    how = "of probability 0.5" if aim is None else f"chosen on validation for a recall of {aim:g}"
    beside = (
        f"and {counted.fp:,} of {counted.fp + counted.tn:,} {words.the_negatives} "
        f"({100 * (1 - on.specificity.value):.0f} %)."
        if words.are_images
        else f"with {on.fp_per_series:.1f} false calls per CT series."
    )
    return (
        f"{_upper(with_article(words.positive))} outranks {words.another_negative} {100 * area.value:.1f} % of the "
        f"time.{_beside(report)} At the threshold {how}, {counted.tp:,} of {counted.tp + counted.fn:,} "
        f"{words.positive_rows} are called ({100 * on.recall.value:.0f} %), {beside}"
    )


def _beside(report: ClassificationReport) -> str:
    """What the headline AUROC has to be read beside, where size alone may explain it."""
    if report.size_matched is None:
        return ""
    alone = [
        f" {_upper(row.name)} does so {100 * row.ranking.auroc.value:.1f} % of the time." for row in report.baselines
    ]
    matched = report.size_matched.auroc
    within = (
        "" if math.isnan(matched.value) else f" Between two of one size, the model does {100 * matched.value:.1f} %."
    )
    return "".join(alone) + within


def _tiles(report: ClassificationReport) -> list[Tile]:
    ranking = report.ranking[report.partition]
    on = report.operating_points[report.headline].on[report.partition]
    tiles = [estimate_tile("AUROC", ranking.auroc)]
    if report.size_matched is None:
        tiles.append(estimate_tile("Average precision", ranking.average_precision))
    else:
        tiles += [estimate_tile(f"AUROC, {row.name}", row.ranking.auroc) for row in report.baselines[:1]]
        tiles.append(estimate_tile("AUROC within pairs of one size", report.size_matched.auroc))
    tiles.append(estimate_tile("Sensitivity at that threshold", on.recall, 2))
    if len(tiles) == 4:
        return tiles
    if report.wording.are_images:
        return [*tiles, estimate_tile("Specificity at that threshold", on.specificity, 2)]
    note = f"{on.confusion.fp:,} in all, precision {number_text(on.precision.value, 2)}"
    return [*tiles, ("False calls per CT series", number_text(on.fp_per_series, 1), note)]


def _sections(report: ClassificationReport, *, trained: bool) -> list[tuple[str, str]]:
    listed = [
        ("findings", "Read this first", bool(report.findings)),
        ("data", "Data", True),
        ("leak-audit", "Leak audit", True),
        ("ranking", "Ranking", True),
        ("size-matched", "More than size?", report.size_matched is not None),
        ("operating-points", "Thresholds", True),
        ("size", "Nodule size", bool(report.by_size)),
        ("calibration", "Calibration", True),
        ("folds", "Folds", report.folds is not None),
        ("baselines", "Baselines", bool(report.baselines)),
        ("training", "Training", trained),
        ("galleries", "Galleries", True),
        ("provenance", "Provenance", True),
    ]
    return [(anchor, name) for anchor, name, shown in listed if shown]


def _ranking_figures(report: ClassificationReport) -> Iterator[dict[str, Any]]:
    curves = report.curves[report.curves["partition"] == report.partition]
    if curves.empty:
        return
    here, words, names = _here(report), report.wording, _point_names(report)
    marked = {names[name]: point.on[report.partition] for name, point in report.operating_points.items() if point.on}
    yield embedded_figure(
        "roc",
        figures.roc_figure(
            _by_model(curves, "roc"),
            {name: (1 - on.specificity.value, on.recall.value) for name, on in marked.items()},
        ),
        f"ROC curve on {here}. The dots are the thresholds of the next section; the dotted diagonal is guessing.",
    )
    yield embedded_figure(
        "precision-recall",
        figures.precision_recall_figure(
            _by_model(curves, "precision_recall"),
            {name: (on.recall.value, on.precision.value) for name, on in marked.items()},
            prevalence=report.counts[report.partition].prevalence,
        ),
        f"Precision-recall curve on {here}: how pure the calls are when so many {words.positives} are to be found.",
    )


def _score_figure(report: ClassificationReport) -> dict[str, Any]:
    words, names = report.wording, _point_names(report)
    thresholds = {names[name]: point.threshold.logit for name, point in report.operating_points.items() if point.on}
    return embedded_figure(
        "scores",
        figures.score_figure(report.histogram, thresholds, names=(words.negative_label, words.positive_label)),
        f"Logits on {_here(report)}, each class as shares of itself. Everything right of a dashed line is called.",
    )


def _size_figure(report: ClassificationReport) -> dict[str, Any] | None:
    if not report.by_size:
        return None
    quoted = _lower(_point_names(report)[report.headline])
    sizes = [{"name": row.name, "n": row.n, "estimate": row.sensitivity[report.headline]} for row in report.by_size]
    return embedded_figure(
        "size",
        figures.size_figure(sizes),
        f"Sensitivity by diameter at the threshold “{quoted}”, with 95 % intervals.",
    )


def _reliability_figures(report: ClassificationReport) -> Iterator[dict[str, Any]]:
    words, here = report.wording, _here(report)
    raw = report.calibration[report.partition].bins
    yield embedded_figure(
        "reliability",
        figures.reliability_figure(raw, positives=words.positives),
        f"Reliability on {here}{', before calibration' if report.calibrated else ''}: on the diagonal, probabilities "
        f"mean what they say. Numbers count {words.items}.",
    )
    if report.calibrated:
        assert report.calibrator is not None, "what calibrated is known"
        yield embedded_figure(
            "reliability-calibrated",
            figures.reliability_figure(report.calibrated[report.partition].bins, positives=words.positives),
            f"The same {words.items} after {_SPOKEN_METHODS[report.calibrator.method]}.",
        )


def _calibration_columns(report: ClassificationReport) -> list[tuple[str, Calibration]]:
    """Partition by partition, before and after."""
    columns = []
    for name, raw in report.calibration.items():
        if report.counts[name].candidates:
            columns.append((f"{PARTITION_NAMES[name]}{', before' if report.calibrated else ''}", raw))
            if report.calibrated:
                columns.append((f"{PARTITION_NAMES[name]}, after", report.calibrated[name]))
    return columns


def _by_model(curves: pd.DataFrame, curve: str) -> dict[str, pd.DataFrame]:
    chosen = curves[curves["curve"] == curve]
    return {str(name): rows for name, rows in chosen.groupby("model", sort=False)}


def _lower(text: str) -> str:
    return text if text.startswith("Youden") else text[:1].lower() + text[1:]


def _upper(text: str) -> str:
    return text[:1].upper() + text[1:]
