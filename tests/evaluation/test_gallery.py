"""Which candidates are shown, what is said about them, and what happens when a crop cannot be read."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from tests.evaluation.conftest import simulated_images, synthetic_image

from lungdet.errors import StoreError
from lungdet.evaluation.gallery import build_galleries, png_data_uri
from lungdet.evaluation.predictions import check_predictions
from lungdet.evaluation.shown import PictureLoader, WholeImage, image_pictures
from lungdet.evaluation.views import View
from lungdet.evaluation.wording import images


def test_worst_first_of_each_kind(predictions: pd.DataFrame) -> None:
    table = check_predictions(predictions)
    wrong, missed, hits = build_galleries(table, threshold_logit=-2.0, n=4)
    assert [gallery.name for gallery in (wrong, missed, hits)] == ["false_positives", "false_negatives", "hits"]
    negatives, positives = table[table["label"] == 0], table[table["label"] == 1]
    assert [item.row["logit"] for item in wrong.items] == sorted(negatives["logit"], reverse=True)[:4]
    assert [item.row["logit"] for item in missed.items] == sorted(positives["logit"])[:4]
    assert [item.row["logit"] for item in hits.items] == sorted(positives["logit"], reverse=True)[:4]
    for gallery in (wrong, missed, hits):
        assert [item.called for item in gallery.items] == [item.row["logit"] >= -2.0 for item in gallery.items]
        assert not any(item.views or item.problem for item in gallery.items)
    assert type(wrong.items[0].row["candidate_id"]) is int


def test_equal_scores_are_ordered_by_series_and_id(predictions: pd.DataFrame) -> None:
    table = check_predictions(predictions.assign(logit=np.float32(1)))
    wrong, _, _ = build_galleries(table, threshold_logit=0.0, n=3)
    first = table[table["label"] == 0].head(3)
    assert [item.row["candidate_id"] for item in wrong.items] == first["candidate_id"].tolist()


def test_without_a_threshold_nothing_is_called_or_missed(predictions: pd.DataFrame) -> None:
    galleries = build_galleries(check_predictions(predictions), threshold_logit=np.nan, n=1)
    assert [gallery.items[0].called for gallery in galleries] == [None, None, None]


def test_fewer_candidates_than_asked_for(predictions: pd.DataFrame) -> None:
    table = check_predictions(predictions)
    _, missed, _ = build_galleries(table[table["label"] == 0], threshold_logit=0.0, n=3)
    assert missed.items == ()


def test_pictures_are_cut_for_the_shown_rows_only(predictions: pd.DataFrame, load_pictures: PictureLoader) -> None:
    asked = []

    def counting(row: Any) -> tuple[View | WholeImage, ...]:
        asked.append((row.series_uid, row["candidate_id"]))
        return load_pictures(row)

    galleries = build_galleries(check_predictions(predictions), threshold_logit=0.0, n=2, load_pictures=counting)
    assert len(asked) == 6
    for gallery in galleries:
        for item in gallery.items:
            assert [view.plane for view in item.views if isinstance(view, View)] == ["axial", "coronal", "sagittal"]
            assert (item.row["series_uid"], item.row["candidate_id"]) in asked


def test_an_unreadable_crop_is_said_and_the_others_are_shown(
    predictions: pd.DataFrame, load_pictures: PictureLoader
) -> None:
    table = check_predictions(predictions)
    worst = table[table["label"] == 0].sort_values("logit")["candidate_id"].iloc[-1]

    def partly(row: Any) -> tuple[View | WholeImage, ...]:
        if row["candidate_id"] == worst:
            raise StoreError("series 1.2.3 is not in the store")
        return load_pictures(row)

    wrong, _, _ = build_galleries(table, threshold_logit=0.0, n=2, load_pictures=partly)
    assert wrong.items[0].problem == "series 1.2.3 is not in the store"
    assert wrong.items[0].views == ()
    assert len(wrong.items[1].views) == 3


def test_a_picture_survives_its_address() -> None:
    gray = np.arange(60, dtype=np.uint8).reshape(6, 10)
    address = png_data_uri(gray)
    assert address.startswith("data:image/png;base64,")
    decoded = Image.open(io.BytesIO(base64.b64decode(address.split(",")[1])))
    np.testing.assert_array_equal(np.asarray(decoded), gray)


def test_of_whole_images_twice_as_many_are_shown() -> None:
    table = check_predictions(simulated_images())
    words = images(("normal", "abnormal"), item="X-ray", items="X-rays")
    wrong, missed, _ = build_galleries(
        table, threshold_logit=0.0, n=3, load_pictures=image_pictures(synthetic_image), wording=words
    )
    assert len(wrong.items) == len(missed.items) == 6
    for item in wrong.items:
        (shown,) = item.views
        assert isinstance(shown, WholeImage)
        np.testing.assert_array_equal(shown.pixels, synthetic_image(item.row))
    assert wrong.title == "Highest-scored normal X-rays"
    assert wrong.explanation == "What the network mistakes for an abnormal X-ray, worst first."


def test_a_coloured_picture_survives_its_address() -> None:
    pixels = synthetic_image({"candidate_id": 3}, channels=3)
    decoded = Image.open(io.BytesIO(base64.b64decode(png_data_uri(pixels).split(",")[1])))
    np.testing.assert_array_equal(np.asarray(decoded), pixels)
