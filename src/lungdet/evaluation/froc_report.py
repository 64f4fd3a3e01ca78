"""The files of a FROC evaluation: those of the challenge's own script, froc.json, and a page to look at."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from lungdet.evaluation.froc_figures import PAGE_FPS, froc_figure
from lungdet.evaluation.froc_page import render_froc_page
from lungdet.metrics.froc import FrocResult
from lungdet.metrics.froc_bootstrap import CONFIDENCE, CURVE_FPS, FrocBootstrap, PairedDifference, interval
from lungdet.metrics.froc_curve import FP_RATES

_DIGITS = 12  # as in report.json: counts exact, ratios to 1e-12, no noise of libraries
_RULE = 60 * "*"


class Rival(NamedTuple):
    """The second submission of a paired comparison: its name, its own result, and how far it is ahead."""

    name: str
    result: FrocResult
    difference: PairedDifference


@dataclass(frozen=True)
class WrittenFroc:
    """Where the files lie; `bootstrapping` and `png` are None when there is nothing to put into them."""

    json: Path
    html: Path
    analysis: Path
    curve: Path
    missed: Path
    bootstrapping: Path | None
    png: Path | None


def write_froc(
    result: FrocResult,
    folder: Path | str,
    *,
    name: str,
    rival: Rival | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> WrittenFroc:
    """Write CADAnalysis.txt, froc_*.txt, froc_*_bootstrapping.csv, nodulesWithoutCandidate_*.txt, png, json, html.

    The same result gives the same bytes. The first five have the names, the columns and the number formats of the
    official script; coordinates are written as the shortest text of the number read.

    Args:
        result: of the submission.
        folder: made if missing; files of an earlier evaluation are replaced.
        name: of the submission, part of the file names.
        rival: a second submission; its own files lie in `folder`/<its name>, the comparison in froc.json and the page.
        provenance: what was read and by which version, for froc.json.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    record = froc_record(result, name=name, rival=rival, provenance=provenance)
    written = WrittenFroc(
        json=folder / "froc.json",
        html=folder / "froc.html",
        analysis=folder / "CADAnalysis.txt",
        curve=folder / f"froc_{name}.txt",
        missed=folder / f"nodulesWithoutCandidate_{name}.txt",
        bootstrapping=folder / f"froc_{name}_bootstrapping.csv" if result.bootstrap else None,
        png=folder / f"froc_{name}.png" if result.counts.nodules else None,
    )
    _write(written.json, [json.dumps(record, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)])
    _write(written.analysis, _analysis(result, name))
    _write(written.curve, _nine_decimals(*result.curve))
    _write(written.missed, _missed(result))
    if written.bootstrapping and result.bootstrap:
        _write(written.bootstrapping, _bootstrapping(result.bootstrap))
    if written.png:
        froc_figure({name: result}).savefig(written.png, dpi=200, facecolor="white", metadata={"Software": None})
    shown = {name: result} | ({rival.name: rival.result} if rival else {})
    page = render_froc_page(record, nodules=result.nodules, figure=froc_figure(shown, fps=PAGE_FPS))
    _write(written.html, [page])
    if rival:
        write_froc(rival.result, folder / rival.name, name=rival.name, provenance=provenance)
    return written


def froc_record(
    result: FrocResult, *, name: str, rival: Rival | None = None, provenance: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The content of froc.json: plain values, what does not exist is None."""
    counts, bootstrap = result.counts, result.bootstrap
    record = {
        "name": name,
        "cpm": result.cpm,
        "sensitivity_at": _by_rate(result.sensitivity_at.values()),
        "denominator": {
            "n_series": counts.n_series,
            "n_series_without_marks": counts.n_series_without_marks,
            "n_nodules": counts.nodules,
            "statement": denominator_statement(result),
        },
        "counts": {
            **{key: getattr(counts, key) for key in counts.__dataclass_fields__},
            "sensitivity": counts.sensitivity,
            "candidates_per_scan": counts.candidates_per_scan,
        },
        "max_marks": result.max_marks,
        "seed": bootstrap.seed if bootstrap else None,
        "bootstrap": _bootstrap_record(bootstrap) if bootstrap else None,
        "by_diameter": [
            {
                "name": size.name,
                "n_nodules": size.n_nodules,
                "n_detected": size.n_detected,
                "cpm": size.cpm,
                "cpm_interval": size.cpm_interval._asdict(),
                "sensitivity_at": _by_rate(size.curve.sensitivity_at(FP_RATES).tolist()),
            }
            for size in result.by_diameter
        ],
        "compared_with": {"name": rival.name, "cpm": rival.result.cpm, **rival.difference._asdict()} if rival else None,
        "provenance": dict(provenance or {}),
    }
    plain: dict[str, Any] = _plain(record)
    return plain


def denominator_statement(result: FrocResult) -> str:
    """Over what the two axes of the curve are counted, for people."""
    counts = result.counts
    without = f", {counts.n_series_without_marks:,} of them without a mark" if counts.n_series_without_marks else ""
    return (
        f"false positives per scan over all {counts.n_series:,} listed series{without}; "
        f"sensitivity over {counts.nodules:,} nodules"
    )


def _bootstrap_record(bootstrap: FrocBootstrap) -> dict[str, Any]:
    samples = bootstrap.sensitivity_samples[0]
    return {
        "n_bootstraps": bootstrap.n_bootstraps,
        "n_undefined": bootstrap.n_undefined,
        "seed": bootstrap.seed,
        "confidence": CONFIDENCE,
        "cpm": interval(bootstrap.cpm_samples())._asdict(),
        "sensitivity_at": _by_rate(interval(column)._asdict() for column in samples.T),
    }


def _analysis(result: FrocResult, name: str) -> Iterator[str]:
    """CADAnalysis.txt, line by line as the official script writes it."""
    counts = result.counts
    yield from ("", _RULE, f"CAD Analysis: {name}", _RULE, "", "Candidate detection results:")
    yield f"    True positives: {counts.true_positives}"
    yield f"    False positives: {counts.false_positives}"
    yield f"    False negatives: {counts.false_negatives}"
    yield "    True negatives: 0"
    yield f"    Total number of candidates: {counts.candidates}"
    yield f"    Total number of nodules: {counts.nodules}"
    yield f"    Ignored candidates on excluded nodules: {counts.ignored_excluded}"
    yield f"    Ignored candidates which were double detections on a nodule: {counts.ignored_double}"
    yield f"    Sensitivity: {counts.sensitivity:.9f}" if counts.nodules else "    Sensitivity: 0.0"
    yield f"    Average number of candidates per scan: {counts.candidates_per_scan:.9f}"


def _missed(result: FrocResult) -> Iterator[str]:
    """One line a missed nodule; the official script has no id to write and says None, and -1 for the mark."""
    table = result.nodules[result.nodules["n_hits"] == 0]
    columns = [table[c].tolist() for c in ("series_uid", "center_x_mm", "center_y_mm", "center_z_mm", "diameter_mm")]
    for uid, x, y, z, diameter in zip(*columns, strict=True):
        yield f"{uid},None,{x!r},{y!r},{z!r},{diameter:.9f},-1"


def _bootstrapping(bootstrap: FrocBootstrap) -> Iterator[str]:
    yield "FPrate,Sensivity[Mean],Sensivity[Lower bound],Sensivity[Upper bound]"
    yield from _nine_decimals(CURVE_FPS, bootstrap.mean, bootstrap.lower, bootstrap.upper)


def _nine_decimals(*columns: npt.NDArray[np.floating]) -> Iterator[str]:
    for row in zip(*(column.tolist() for column in columns), strict=True):
        yield ",".join(f"{value:.9f}" for value in row)


def _by_rate(values: Any) -> dict[str, Any]:
    return {f"{rate:g}": value for rate, value in zip(FP_RATES, values, strict=True)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value


def _write(path: Path, lines: Any) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
