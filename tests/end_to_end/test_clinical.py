"""Clinical features through the commands: trained, reported, scored again, exported, detected; mistakes said early."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lungdet.evaluation.predictions import read_predictions

# Eight small scans hold few nodules: a partition of one class is announced by warnings that are no news here.
pytestmark = pytest.mark.filterwarnings("default")

Train = Callable[..., Path]
Command = Callable[..., None]

TINY = ("data.sampling.epoch_size=16", "data.crop.vox=[16,24,24]", "trainer.max_epochs=2")
QUIET = ("trainer=cpu", "trainer.enable_progress_bar=false", "evaluation.n_resamples=50")


@pytest.fixture
def clinical(workplace: Path, train: Train) -> Path:
    """A run with clinical features, trained by the first test that needs it."""
    run = workplace / "runs" / "clinical"
    return run if (run / "report.html").exists() else train("clinical", "model=malignancy_clinical", *TINY)


def test_one_line_trains_and_the_answers_differ_from_those_without(clinical: Path, train: Train) -> None:
    without = read_predictions(train("image_only", "model=malignancy", *TINY) / "predictions.parquet")
    with_features = read_predictions(clinical / "predictions.parquet")
    assert with_features["candidate_id"].tolist() == without["candidate_id"].tolist()
    assert np.abs(with_features["logit"] - without["logit"]).max() > 0.1
    # What the features add is the same for all nodules of a patient.
    branch = read_predictions(clinical / "baseline_image_branch.parquet")
    added = (with_features["logit"] - branch["logit"]).groupby(with_features["patient_id"])
    assert (added.max() - added.min()).max() < 1e-5
    assert added.mean().std() > 0


def test_what_was_missing_is_written_and_reported(clinical: Path, workplace: Path) -> None:
    noted = json.loads((clinical / "provenance.json").read_text())["clinical"]
    assert noted["file"] == "clinical.csv"
    table = pd.read_csv(workplace / "cohorts" / "phantom" / "clinical.csv", index_col="patient_id")
    split = json.loads((clinical / "split.json").read_text())
    predictions = read_predictions(clinical / "predictions.parquet")
    for partition in ("val", "test"):
        patients = predictions.loc[predictions["partition"] == partition, "patient_id"].unique()
        assert set(patients) <= set(split[partition])
        assert noted[partition]["n_patients"] == len(patients)
        if len(patients):
            assert noted[partition]["missing"]["age_years"] == table.loc[patients, "age_years"].isna().mean()
    record = json.loads((clinical / "report.json").read_text())
    names = [row["name"] for row in record["baselines"]]
    assert names == ["diameter alone", "its image branch alone", "clinical features alone"]
    assert "clinical_missing" in {finding["code"] for finding in record["findings"]}
    text = re.sub(r"<[^>]+>", "", (clinical / "report.html").read_text())
    assert "Clinical features of clinical.csv, share of" in text or "no value is missing" in text


def test_scored_again_it_says_the_same(clinical: Path, lungdet: Command) -> None:
    before = (clinical / "predictions.parquet").read_bytes()
    lungdet("predict", f"run={clinical}", *QUIET)
    assert (clinical / "predictions.parquet").read_bytes() == before


def test_listed_points_and_exports_use_the_image_branch(clinical: Path, workplace: Path, lungdet: Command) -> None:
    cohort = workplace / "cohorts" / "phantom"
    out = workplace / "points.csv"
    lungdet(
        "predict", f"run={clinical}", f"candidates=[{cohort}/annotations_with_malignancy.csv]", f"out={out}", *QUIET
    )
    points = pd.read_csv(out)
    branch = read_predictions(clinical / "baseline_image_branch.parquet")
    by_place = points.set_index(points["coordX"].round(4))["logit"]
    np.testing.assert_allclose(by_place.loc[branch["center_x_mm"].round(4)], branch["logit"], atol=1e-4)

    lungdet("export", f"run={clinical}", f"out={workplace}/exported", "formats=safetensors")
    (card,) = (workplace / "exported").glob("*.json")
    assert json.loads(card.read_text())["network"]["target"] == "lungdet.nets.luna.LunaModel"


def test_a_network_with_features_judges_whole_scans(clinical: Path, workplace: Path, lungdet: Command) -> None:
    from lungdet.cli.networks import load_network

    network = load_network(str(clinical), role="malignancy", checkpoint="best", runs=workplace / "runs")
    assert type(network.net).__name__ == "LunaModel"


def test_mistakes_are_found_before_training(
    lungdet: Command, tiny_training: tuple[str, ...], workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = workplace / "wrong.csv"
    wrong.write_text("patient_id,age_years\nPHANTOM-0001,50\nPHANTOM-0001,60\n")
    for overrides, said in (
        (("model=malignancy", "data/clinical=table"), "the model takes none; type data.clinical=null"),
        (("model=malignancy_clinical", "data.clinical=null"), "the data gives none; type data/clinical=table"),
        (("model=luna_cls", "data/clinical=table"), "the model takes none"),
        (("model=malignancy_clinical", "data.clinical.derived=[lobe]"), "one of 'diameter_mm', 'height_in_scan'"),
        (("model=malignancy_clinical", "model.fusion.hiden=3"), "did you mean 'model.fusion.hidden'?"),
        (("model=malignancy_clinical", f"data.clinical.path={wrong}"), "line 3: PHANTOM-0001 has another row"),
        (("model=malignancy_clinical", "data.clinical.features=[weight]"), "no feature weight; it has age_years"),
    ):
        with pytest.raises(SystemExit, match="2"):
            lungdet("train", *tiny_training, *TINY, *overrides)
        assert said in capsys.readouterr().err, overrides
