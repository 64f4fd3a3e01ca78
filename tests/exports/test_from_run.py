from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from torch import nn

from lungdet.errors import RunError
from lungdet.exports.from_run import RunRecord, card_of_run, headline, input_of, n_outputs
from lungdet.nets.luna import LunaModel
from lungdet.nets.resnet3d import R3d18
from lungdet.nets.unet import SliceUNet

CONFIG: dict[str, Any] = {
    "data": {
        "_target_": "lungdet.data.luna16.Luna16DataModule",
        "store": {"spacing_mm": [1.25, 0.5, 0.5]},
        "window": {"range_hu": [-1000, 400], "scale": "unit"},
        "samples": {"label_rule": "median"},
    },
    "model": {
        "_target_": "lungdet.tasks.candidate_classification.CandidateClassification",
        "net": {"_target_": "lungdet.nets.luna.LunaModel", "conv_channels": 2},
    },
    "seed": 4,
}
AUROC = {"value": 0.9, "low": 0.8, "high": 0.95, "reason": "", "other": 1}
RUN = RunRecord(
    name="mine",
    config=CONFIG,
    checkpoint="best",
    crop_zyx_vox=(16, 24, 24),
    provenance={"checkpoint": "checkpoints/best.ckpt", "split_hash": "5p", "store_fingerprint": "f1", "packages": {}},
    report={"ranking": {"test": {"auroc": AUROC}}, "counts": {"test": {"positives": 3}}},
)


def changed(**model: Any) -> RunRecord:
    return dataclasses.replace(RUN, config={**CONFIG, "model": {**CONFIG["model"], **model}})


def test_fields_come_from_the_run() -> None:
    card = card_of_run(RUN, LunaModel(conv_channels=2), name="a")
    assert (card.name, card.task, card.label_rule) == ("a", "candidate_classification", "median")
    assert card.network.arguments == {"conv_channels": 2}
    assert card.ct_input.spacing_zyx_mm == (1.25, 0.5, 0.5)
    assert (card.ct_input.window_hu, card.ct_input.scale) == ((-1000.0, 400.0), "unit")
    assert (card.input.layout, card.input.channels, card.input.shape) == ("volume", 1, (16, 24, 24))
    assert card.output.class_names == ("non_nodule", "nodule")
    assert card.output.logit == "outputs[:, 1] - outputs[:, 0]"
    assert card.training["split_hash"] == "5p"
    assert card.training["store_fingerprint"] == "f1"
    assert (card.training["seed"], card.training["run"]) == (4, "mine")
    assert "packages" not in card.training
    assert card.metrics["test"]["auroc"] == {"value": 0.9, "low": 0.8, "high": 0.95, "reason": ""}


def test_numbers_of_another_checkpoint_are_left_out() -> None:
    card = card_of_run(dataclasses.replace(RUN, checkpoint="last"), LunaModel(), name="a")
    assert card.metrics == {}
    assert card.training["exported_checkpoint"] == "last"


def test_a_run_with_clinical_features_is_its_image_branch() -> None:
    """The numbers of the two together would be those of a network that is not in the files."""
    branch = {"auroc": {"value": 0.7, "low": 0.6, "high": 0.8}, "average_precision": {"value": 0.5}}
    report = {
        **RUN.report,
        "partition": "test",
        "baselines": [
            {"name": "diameter alone", "ranking": {"auroc": {"value": 0.6}}},
            {"name": "its image branch alone", "ranking": branch, "auroc_difference": {"value": 0.2}},
        ],
    }
    clinical = {"file": "clinical.csv", "features": ["age_years"]}
    run = dataclasses.replace(
        RUN,
        provenance={**RUN.provenance, "clinical": clinical},
        report=report,
        image_branch="its image branch alone",
    )
    card = card_of_run(run, LunaModel(conv_channels=2), name="a")
    assert card.training["clinical"] == clinical
    assert card.training["exported_part"].startswith("the image branch alone: what the clinical features add")
    assert card.metrics == {"test": {**branch, "counts": {"positives": 3}}}
    assert card_of_run(dataclasses.replace(run, report=RUN.report), LunaModel(), name="a").metrics == {}
    assert "exported_part" not in card_of_run(RUN, LunaModel(conv_channels=2), name="a").training


def test_a_run_without_report() -> None:
    card = card_of_run(dataclasses.replace(RUN, provenance={}, report={}), LunaModel(), name="a")
    assert card.metrics == {}
    assert headline({}) == {}


def test_tasks_and_their_classes() -> None:
    card = card_of_run(changed(_target_="lungdet.tasks.malignancy.MalignancyClassification"), LunaModel(), name="a")
    assert (card.task, card.output.class_names) == ("malignancy", ("benign", "malignant"))
    card = card_of_run(changed(class_names=["no", "yes"]), LunaModel(n_classes=1), name="a")
    assert card.output.class_names == ("no", "yes")
    assert (card.output.channels, card.output.logit) == (1, "outputs[:, 0]")
    with pytest.raises(RunError, match="networks of candidate_classification, malignancy, segmentation, image_classif"):
        card_of_run(changed(_target_="lungdet.tasks.regression.Regression"), LunaModel(), name="a")


def test_masks_and_fine_tuning() -> None:
    targets = {"_target_": "lungdet.data.mask_targets.MaskTargets", "targets": "auto"}
    data = {**CONFIG["data"], "samples": {"targets": targets, "min_readers": 2}}
    provenance = {
        "initial_weights": "/home/me/runs/cls/checkpoints/best.ckpt",
        "frozen": ["block1"],
        "classes": ["a", "b"],
    }
    run = dataclasses.replace(RUN, config={**CONFIG, "data": data}, provenance=provenance)
    card = card_of_run(run, LunaModel(), name="a")
    assert card.label_rule == "targets=auto, min_readers=2"
    assert card.output.class_names == ("a", "b")
    assert (card.training["initial_weights"], card.training["frozen"]) == ("cls/checkpoints/best.ckpt", ["block1"])


def test_a_foreign_run() -> None:
    with pytest.raises(RunError, match=r"config.yaml has no 'net'"):
        card_of_run(dataclasses.replace(RUN, config={**CONFIG, "model": {}}), LunaModel(), name="a")
    with pytest.raises(RunError, match=r"config.yaml has no 'window'"):
        card_of_run(dataclasses.replace(RUN, config={**CONFIG, "data": {"store": {}}}), LunaModel(), name="a")


WINDOW = {"range_hu": [-1000, 1000], "scale": "hu"}


def test_slices_and_volumes() -> None:
    spec = input_of(SliceUNet(first_width=2), (7, 64, 64), window=WINDOW, spacing="native")
    assert (spec.layout, spec.channels, spec.shape, spec.size_divisor) == ("slices", 7, (64, 64), 4)
    assert spec.spacing_zyx_mm is None
    spec = input_of(R3d18(), (8, 16, 16), window=WINDOW, spacing="native")
    assert (spec.layout, spec.size_divisor) == ("volume", None)
    with pytest.raises(RunError, match=r"takes 7 slices, the run's crop .* has 5"):
        input_of(SliceUNet(first_width=2), (5, 64, 64), window=WINDOW, spacing="native")
    with pytest.raises(RunError, match="neither 2-D nor 3-D"):
        input_of(nn.Linear(1, 1), (5, 64, 64), window=WINDOW, spacing="native")


def test_output_channels() -> None:
    assert n_outputs(R3d18(n_classes=2)) == 2
    assert n_outputs(SliceUNet(first_width=2, n_classes=1)) == 1
