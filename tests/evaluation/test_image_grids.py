"""The grids hold what the threshold calls wrongly, and nothing else."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from tests.evaluation.conftest import simulated_images, simulated_predictions, synthetic_crop, synthetic_image

from lungdet.errors import StoreError
from lungdet.evaluation.classification import evaluate_classification
from lungdet.evaluation.image_grids import draw_grid, image_grids
from lungdet.evaluation.report import write_report
from lungdet.evaluation.results import ClassificationReport
from lungdet.evaluation.shown import WholeImage, crop_pictures, image_pictures
from lungdet.evaluation.wording import images


def evaluated(table: pd.DataFrame, **given: Any) -> ClassificationReport:
    arguments: dict[str, Any] = {
        "wording": images(("normal", "tumor"), item="patch", items="patches"),
        "load_pictures": image_pictures(synthetic_image),
        "n_gallery": 3,
    }
    return evaluate_classification(table, title="t", provenance={}, n_resamples=20, **(arguments | given))


def by_hand(*test: tuple[int, float]) -> pd.DataFrame:
    """The threshold for a recall of 0.9, chosen on two validation rows, is 1; test rows as given."""
    table = simulated_images(n=2 + len(test))
    label, logit = zip(*[(1, 1.0), (0, -1.0), *test], strict=True)
    return table.assign(
        label=label,
        logit=np.array(logit, np.float32),
        partition=["val"] * 2 + ["test"] * len(test),
        patient_id=[f"p{i}" for i in range(len(table))],
    )


def shown(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(axes.images[0].get_array()) for axes in figure.axes if axes.images]


def test_only_mistakes_worst_first() -> None:
    report = evaluated(by_hand((0, 2.0), (0, 3.0), (0, 0.5), (1, 0.9), (1, 4.0), (1, -2.0)))
    figures = {gallery.name: draw_grid(report, gallery) for gallery in report.galleries}
    for name, candidates, title in (
        ("false_positives", [3, 2], "2 of 3 normal patches are called tumor at probability 0.731"),
        ("false_negatives", [7, 5], "2 of 3 tumor patches are not called at probability 0.731"),
    ):
        figure = figures[name]
        assert figure is not None
        assert figure.get_suptitle() == title
        np.testing.assert_array_equal(shown(figure), [synthetic_image({"candidate_id": i}) for i in candidates])
    captions = [axes.get_title() for axes in figures["false_positives"].axes if axes.images]  # type: ignore[union-attr]
    assert captions[0].startswith("0.953\npatient p3\n")


def test_what_does_not_fit_is_counted() -> None:
    report = evaluated(by_hand(*[(0, 2.0 + i) for i in range(9)], (1, 5.0)))
    figure = draw_grid(report, report.galleries[0])
    assert figure is not None
    assert figure.get_suptitle().startswith("9 of 9 normal patches are called tumor at probability 0.731; the 6 worst")
    assert len(shown(figure)) == 6


def test_no_mistake_no_grid_and_that_of_an_earlier_evaluation_goes(tmp_path: Path) -> None:
    wrong = write_report(evaluated(by_hand((0, 2.0), (1, 4.0))), tmp_path)
    assert list(wrong.pictures) == ["false_positives"]
    assert (tmp_path / "false_positives.png").is_file()
    right = write_report(evaluated(by_hand((0, 0.0), (1, 4.0))), tmp_path)
    assert right.pictures == {}
    assert not list(tmp_path.glob("*.png"))


def test_colours_stay_and_names_are_no_formulas() -> None:
    table = by_hand((0, 2.0), (1, 4.0))
    table["series_uid"] = [f"${i}^$_" + "very_long_" * 9 for i in range(len(table))]
    given = image_pictures(lambda row: np.full((40, 40, 3), (200, 30, 90), np.uint8))
    png = image_grids(evaluated(table, load_pictures=given))["false_positives"]
    pixels = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).reshape(-1, 3)
    assert (np.abs(pixels.astype(int) - (200, 30, 90)).max(axis=1) <= 1).mean() > 0.1


def test_images_that_cannot_be_read_are_left_out() -> None:
    def gone(row: Any) -> tuple[WholeImage]:
        raise StoreError("gone")

    assert image_grids(evaluated(by_hand((0, 2.0), (1, 4.0)), load_pictures=gone)) == {}


def test_scans_have_no_grids() -> None:
    table = simulated_predictions(n_rows=300)
    report = evaluate_classification(
        table, title="t", provenance={}, n_resamples=20, n_gallery=1, load_pictures=crop_pictures(synthetic_crop)
    )
    assert image_grids(report) == {}
