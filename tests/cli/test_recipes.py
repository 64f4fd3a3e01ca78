"""Settings and networks become steps that use them; what does not fit is named by its config path."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tests.cli.chests import BALL, chest
from tests.cli.small_networks import HU, LUNA, SLICES, UNIT, VOLUME, random_net, write_run
from torch import Tensor, nn

from lungdet.cli.networks import TrainedNetwork, load_network
from lungdet.cli.recipes import Networks, book_detector, build_detector
from lungdet.config import conf_folder
from lungdet.errors import ConfigError, LungdetError, RunError, ShapeError
from lungdet.metrics.calibrators import Calibrator, Platt, Temperature
from lungdet.pipeline.book import BookNetworks, detect_book

SCAN = chest(BALL, (-8.0, 8.0, -40.0, 18.0))
Make = Callable[..., TrainedNetwork]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make("classifier", seed=1, window=UNIT)`: a network of a run of its own."""

    def network(role: str, node: dict[str, Any] = LUNA, **about: Any) -> TrainedNetwork:
        name = f"run{len(list(tmp_path.iterdir()))}"
        write_run(tmp_path / name, node, role=role, **about)
        return load_network(name, role=role, checkpoint="best", runs=tmp_path)

    return network


def pipeline(*overrides: str, name: str = "default") -> DictConfig:
    """conf/pipeline/<name>.yaml with changes, `recipe.suppression_mm=3`; blobs find the balls only."""
    cfg = OmegaConf.load(conf_folder() / "pipeline" / f"{name}.yaml")
    if name == "default":
        overrides = ("blobs.minimum_contrast_hu=450", "blobs.minimum_roundness=0.6", *overrides)
    merged = OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(merged, DictConfig)
    return merged


def networks(**given: Any) -> Networks:
    return {role: tuple(given.get(role, ())) for role in ("segmentation", "classifier", "malignancy")}


class Asymmetric(nn.Module):
    """The logit is the difference of the crop's halves along x, so a flip turns its sign."""

    n_classes = 1

    def forward(self, x: Tensor) -> Tensor:
        half = x.shape[-1] // 2
        return (x[..., :half].mean(dim=(1, 2, 3, 4)) - x[..., half:].mean(dim=(1, 2, 3, 4)))[:, None] / 100


class Level(nn.Module):
    """A segmenter: the middle slice's HU against a level."""

    in_channels, divisor = 7, 1

    def __init__(self, level_hu: float) -> None:
        super().__init__()
        self.level_hu = level_hu

    def forward(self, x: Tensor) -> Tensor:
        return (x[:, 3:4] - self.level_hu) / 100


def replaced(network: TrainedNetwork, net: nn.Module) -> TrainedNetwork:
    return TrainedNetwork(net, network.input, network.name, network.sha256)


def logits(*overrides: str, **given: Any) -> np.ndarray[Any, Any]:
    """Of the balls, from left to right."""
    table = build_detector(pipeline(*overrides), networks(**given)).run(SCAN).table
    return table.sort_values("center_x_mm")["logit"].to_numpy()


def test_blobs_without_networks() -> None:
    detector = build_detector(pipeline(), networks())
    found = detector.run(SCAN)
    assert detector.name == "default"
    assert len(found.table) == 2
    assert found.recipe["networks"] == {}
    assert json.loads(json.dumps(detector.settings))["source"]["minimum_contrast_hu"] == 450
    assert found.recipe | {"networks": {}} == detector.settings


def test_settings_take_effect() -> None:
    assert len(build_detector(pipeline("blobs.minimum_contrast_hu=900"), networks()).run(SCAN).table) == 0
    assert len(build_detector(pipeline("recipe.suppression_mm=200"), networks()).run(SCAN).table) == 1
    strict = build_detector(pipeline("recipe.nodule_threshold=1"), networks()).run(SCAN)
    assert strict.patient["n_nodules"] == 0
    p = build_detector(pipeline(), networks()).run(SCAN).table["probability"].to_numpy(np.float64)
    for rule, expected in (("maximum", p.max()), ("noisy_or", 1 - (1 - p).prod())):
        found = build_detector(pipeline(f"recipe.patient_rule={rule}"), networks()).run(SCAN)
        assert found.patient["nodule_probability"] == pytest.approx(expected, rel=1e-12)


def test_lists_of_the_yaml_reach_the_steps() -> None:
    chosen = pipeline("blobs.diameters_mm=[8,16]", "blobs.spacing_zyx_mm=[2.0,2.0,2.0]")
    detector = build_detector(chosen, networks())
    assert detector.settings["source"]["diameters_mm"] == [8, 16]
    assert len(detector.run(SCAN).table) == 2


def test_flips_and_means_average_the_views(make: Make) -> None:
    """The two views of an asymmetric network are negatives of each other: their mean logit is 0."""
    network = replaced(make("classifier"), Asymmetric())
    plain = logits(classifier=[network])
    mirrored = logits("inference.classifier.flips=[x]", classifier=[network])
    assert np.allclose(plain, -mirrored, atol=1e-3)
    assert (np.abs(plain) > 0.05).all()
    both = ["inference.classifier.flips=['', x]", "inference.classifier.precision=fp32"]
    assert np.allclose(logits(*both, classifier=[network]), 0, atol=1e-5)
    assert np.allclose(logits(*both, "inference.classifier.mean=probability", classifier=[network]), 0, atol=1e-5)


def test_an_ensemble_averages_its_members(make: Make) -> None:
    members = [make("classifier", seed=seed) for seed in (1, 2)]
    fp32 = "inference.classifier.precision=fp32"
    one, two = (logits(fp32, classifier=[member]) for member in members)
    assert not np.allclose(one, two)
    assert np.allclose(logits(fp32, classifier=members), (one + two) / 2, rtol=1e-5)
    used = build_detector(pipeline(), networks(classifier=members)).run(SCAN).recipe["networks"]["classifier"]
    assert [entry["name"] for entry in used] == [member.name for member in members]


def test_members_are_calibrated_one_by_one_and_the_record_says_so(make: Make) -> None:
    raw = [make("classifier", seed=seed) for seed in (1, 2)]
    calibrators: tuple[Calibrator, ...] = (Platt(0.5, -2.0), Temperature(4.0))
    members = [dataclasses.replace(net, calibrator=c) for net, c in zip(raw, calibrators, strict=True)]
    fp32 = "inference.classifier.precision=fp32"
    one, two = (logits(fp32, classifier=[member]) for member in raw)
    expected = (calibrators[0].logit(one) + calibrators[1].logit(two)) / 2
    assert np.allclose(logits(fp32, classifier=members), expected, rtol=1e-4)
    detector = build_detector(pipeline(fp32), networks(classifier=members, malignancy=[members[1]]))
    found = detector.run(SCAN)
    record = detector.settings["networks"]
    assert [entry["calibration"]["method"] for entry in record["classifier"]] == ["platt", "temperature"]
    assert record["malignancy"][0]["calibration"] == {"method": "temperature", "temperature": 4.0, "smoothed": False}
    assert detector.settings["classifier"]["nets"] == ["LunaModel", "LunaModel"]
    assert found.recipe["networks"] == json.loads(json.dumps(record))
    centers = [f"center_{axis}_mm" for axis in "xyz"]
    malignant = build_detector(pipeline(fp32), networks(classifier=[raw[1]])).run(SCAN).table.set_index(centers)
    for row in found.table.to_dict("records"):
        of_two = malignant.loc[tuple(row[name] for name in centers), "logit"]
        assert row["malignancy_probability"] == pytest.approx(calibrators[1].probability([of_two])[0], rel=1e-3)
    plain = build_detector(pipeline(), networks(classifier=raw)).settings["networks"]["classifier"]
    assert all("calibration" not in entry for entry in plain)


def test_the_input_is_that_of_the_training(make: Make) -> None:
    """A network trained on [0, 1] of [-1000, 400] at 4 x 2 x 2 mm gets it so: its crop's middle voxel is known."""

    class Spy(nn.Module):
        seen: Tensor

        def forward(self, x: Tensor) -> Tensor:
            self.seen = x.clone()
            return x.mean(dim=(1, 2, 3, 4))[:, None]

    spy = Spy()
    network = replaced(make("classifier", window=UNIT, spacing=[4.0, 2.0, 2.0], crop=(8, 16, 16)), spy)
    logits(classifier=[network])
    assert spy.seen.shape[1:] == (1, 8, 16, 16)
    assert float(spy.seen.min()) >= 0
    assert float(spy.seen.max()) <= 1
    middle = spy.seen[:, 0, 4, 8, 8].numpy()
    assert np.allclose(middle, (30 + 1000) / 1400, atol=0.06)


def test_segmentation_replaces_blobs(make: Make) -> None:
    slices = make("segmentation", SLICES, crop=(7, 16, 16))
    network = replaced(slices, Level(-400))
    found = build_detector(pipeline("segmentation.minimum_diameter_mm=8"), networks(segmentation=[network])).run(SCAN)
    assert found.recipe["source"]["kind"] == "segmentation"
    assert found.recipe["source"]["minimum_diameter_mm"] == 8
    x = found.table["center_x_mm"].to_numpy()
    assert any(np.abs(x - BALL[2]) < 3)
    assert any(np.abs(x + 40) < 3)
    higher = build_detector(pipeline("segmentation.threshold=0.999999"), networks(segmentation=[network])).run(SCAN)
    assert len(higher.table) < len(found.table)


@pytest.mark.parametrize(("node", "crop"), [(SLICES, (7, 16, 16)), (VOLUME, (16, 16, 16))])
def test_both_kinds_of_segmentation_networks(node: dict[str, Any], crop: tuple[int, int, int], make: Make) -> None:
    segmenter = make("segmentation", node, crop=crop, window=UNIT)
    judges = [make("classifier"), make("malignancy")]
    given = networks(segmentation=[segmenter], classifier=judges[:1], malignancy=judges[1:])
    found = build_detector(pipeline("inference.segmentation.flips=['', y]"), given).run(SCAN)
    assert found.recipe["source"]["segmenter"]["kind"] == ("slices" if node is SLICES else "patches")
    assert found.recipe["source"]["segmenter"]["flips"] == ["", "y"]
    assert set(found.recipe["networks"]) == {"segmentation", "classifier", "malignancy"}
    assert np.isfinite(found.table["malignancy_probability"]).all()


def test_what_the_scan_itself_hides_is_pointed_out() -> None:
    detector = build_detector(pipeline(), networks())
    thick = chest(BALL, shape=(10, 48, 48), spacing_zyx_mm=(10.0, 4.0, 4.0))
    short = chest(BALL, shape=(5, 48, 48))
    for scan, said in ((thick, "slices are 10 mm apart"), (short, "only 20 mm of the chest were scanned"), (SCAN, "")):
        limits = [note for note in detector.run(scan).notes if "no classifier" not in note]
        assert [said in note for note in limits] == ([True] if said else [])


# fmt: off
WRONG = {
    "unknown key": ("inference.classifier.flip=[x]", "classifier.flip: there is no key 'flip'; did you mean 'flips'?"),
    "unknown role": ("inference.segmenter.mean=logit", "there is no network 'segmenter'"),
    "flips in one word": ("inference.malignancy.flips=yx", "pipeline.inference.malignancy.flips: expects a list"),
    "unknown mean": ("inference.segmentation.mean=max", "segmentation.mean: expects one of 'logit', 'probability'"),
    "unknown precision": ("inference.classifier.precision=fp16", "expects one of 'fp32', 'bf16', 'auto', got 'fp16'"),
    "no number": ("inference.classifier.batch_size=many", "batch_size: expects a whole number, got 'many'"),
    "overlapping crops": ("inference.classifier.overlap=0.5", "crops do not overlap; remove the key"),
}
# fmt: on


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_inference_settings_are_named_without_any_network(wrong: str) -> None:
    override, message = WRONG[wrong]
    with pytest.raises(ConfigError) as raised:
        build_detector(pipeline(override), networks())
    assert message in str(raised.value)
    assert str(raised.value).startswith("pipeline.inference.")


def test_all_wrong_settings_come_together() -> None:
    with pytest.raises(ConfigError) as raised:
        build_detector(pipeline("inference.classifier.flip=1", "inference.segmentation.means=x"), networks())
    assert len(raised.value.problems) == 2


def test_inference_may_be_left_out(make: Make) -> None:
    cfg = pipeline()
    cfg.inference = None
    assert build_detector(cfg, networks(classifier=[make("classifier")])).settings["classifier"]["flips"] == [""]


# fmt: off
REFUSED = {
    "unknown axis": (["inference.classifier.flips=[q]"], "pipeline.inference.classifier: flips=['q']"),
    "no batch": (["inference.classifier.batch_size=0"], "pipeline.inference.classifier: batch_size=0"),
    "threshold": (["recipe.nodule_threshold=2"], "pipeline.recipe: nodule_threshold=2 must lie in [0, 1]"),
    "blobs": (["blobs.max_candidates=0"], "pipeline.blobs: minimum_contrast_hu must be positive"),
    "no recipe": (["recipe=null"], "pipeline.recipe: null; pipeline=default needs a node with _target_"),
}
# fmt: on


@pytest.mark.parametrize("refused", REFUSED)
def test_values_out_of_range(refused: str, make: Make) -> None:
    overrides, message = REFUSED[refused]
    cfg = pipeline(*overrides)
    with pytest.raises(ConfigError) as raised:
        build_detector(cfg, networks(classifier=[make("classifier")]))
    assert raised.value.problems[0].startswith(message)


def test_networks_that_cannot_do_their_part(make: Make) -> None:
    slices = make("classifier", SLICES, crop=(7, 16, 16))
    segmenter = make("segmentation", SLICES, crop=(7, 16, 16))
    small = make("classifier", crop=(8, 8, 8))
    damaged = random_net(LUNA)
    next(damaged.parameters()).data.fill_(torch.nan)
    cases: list[tuple[list[str], dict[str, Any], type[LungdetError], str]] = [
        ([], {"classifier": [slices]}, ShapeError, "networks.classifier: run0/best takes 7 channels of slices"),
        ([], {"classifier": [small]}, ShapeError, "networks.classifier: "),
        ([], {"malignancy": [replaced(make("malignancy"), damaged)]}, RunError, "networks.malignancy: the malignancy"),
        (["inference.segmentation.overlap=0.5"], {"segmentation": [segmenter]}, ConfigError,
         "pipeline.inference.segmentation: overlap: slices do not overlap"),
        (["segmentation=null"], {"segmentation": [segmenter]}, ConfigError, "pipeline.segmentation: null"),
    ]  # fmt: skip
    for overrides, given, kind, message in cases:
        with pytest.raises(kind) as raised:
            build_detector(pipeline(*overrides), networks(**given))
        assert str(raised.value).startswith(message)


def test_the_book_is_the_book(make: Make) -> None:
    seg, cls = replaced(make("segmentation", SLICES, crop=(7, 16, 16)), Level(-400)), make("classifier")
    scan = chest(BALL, shape=(32, 64, 64), spacing_zyx_mm=(3.0, 3.0, 3.0))
    detector = build_detector(pipeline(name="book"), networks(segmentation=[seg], classifier=[cls]))
    calibrated = dataclasses.replace(cls, calibrator=Platt(0.5, -2.0))
    same = build_detector(pipeline(name="book"), networks(segmentation=[seg], classifier=[calibrated]))
    assert same.settings == detector.settings
    assert same.run(scan).table.equals(detector.run(scan).table)
    found = detector.run(scan)
    expected = detect_book(scan, BookNetworks(segmenter=seg.net, classifier=cls.net))
    assert len(expected.table) > 0
    assert found.table.equals(expected.table)
    assert found.patient == pytest.approx(expected.patient, nan_ok=True)
    assert (detector.name, detector.settings["pipeline"]) == ("book", "book")
    assert found.recipe["networks"]["segmentation"][0]["name"] == seg.name


def test_what_the_book_cannot_use(make: Make) -> None:
    seg, cls = make("segmentation", SLICES, crop=(7, 16, 16)), make("classifier")
    other = {
        "scaled": make("classifier", window=UNIT),
        "resampled": make("classifier", spacing=[1.0, 1.0, 1.0]),
        "cropped": make("classifier", crop=(24, 48, 48)),
        "three slices": make("segmentation", {**SLICES, "in_channels": 3}, crop=(3, 16, 16)),
        "volume": make("segmentation", VOLUME, crop=(16, 16, 16), window=HU),
    }
    for name, network in other.items():
        role = "segmentation" if name in ("three slices", "volume") else "classifier"
        with pytest.raises(ConfigError, match=rf"networks\.{role}: .* was not trained on the book's input"):
            book_detector(networks(**{"segmentation": [seg], "classifier": [cls], role: [network]}))
    with pytest.raises(ConfigError) as raised:
        book_detector(networks(classifier=[cls, cls], malignancy=[other["scaled"]]))
    assert [problem.split(":")[0] for problem in raised.value.problems] == [
        "networks.segmentation", "networks.classifier", "networks.malignancy",
    ]  # fmt: skip
