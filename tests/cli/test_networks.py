"""Networks by run directory, name, `latest`, exported file and .state file; what is said of those that do not fit."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from tests.cli.small_networks import HU, LUNA, SLICES, SPLIT, UNIT, random_net, write_run

from lungdet.cli import export
from lungdet.cli.networks import TrainedNetwork, load_network, load_networks, newest_run, series_of_test_patients
from lungdet.data.partitions import Split
from lungdet.errors import ConfigError, LungdetError, MissingFileError, RunError, TableError
from lungdet.exports.load import FORMATS
from lungdet.metrics.calibrators import Platt
from lungdet.nets.luna import LunaModel
from lungdet.nets.unet import SliceUNet

Load = Callable[..., TrainedNetwork]

OTHER = Split(train=("p1", "p4"), val=("p3",), test=("p2", "p5"), rule="by hand")


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return lambda reference, role="classifier", checkpoint="best": load_network(
        str(reference), role=role, checkpoint=checkpoint, runs=tmp_path
    )


@pytest.fixture
def load_all(tmp_path: Path) -> Callable[..., tuple[TrainedNetwork, ...]]:
    return lambda references, role="classifier": load_networks(
        references, role=role, checkpoint="best", runs=tmp_path, device=torch.device("cpu")
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs `cls` and `seg`, the first in every format of `lungdet export`."""
    folder = tmp_path_factory.mktemp("exported")
    write_run(folder / "cls")
    write_run(folder / "seg", SLICES, role="segmentation", crop=(7, 16, 16))
    before = sys.argv
    try:
        for name in ("cls", "seg"):
            GlobalHydra.instance().clear()
            formats = FORMATS if name == "cls" else ["safetensors", "onnx"]
            sys.argv = ["export.py", f"run={folder / name}", f"out={folder}", f"formats=[{','.join(formats)}]"]
            export.main()
    finally:
        sys.argv = before
        GlobalHydra.instance().clear()
    return folder


def book_file(path: Path, net: torch.nn.Module) -> Path:
    torch.save({"model_state": net.state_dict()}, path)
    return path


def touch(run: Path, seconds: float) -> None:
    os.utime(run / "predictions.parquet", (seconds, seconds))


def test_a_run_by_path_name_and_latest(load: Load, tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=1)
    write_run(tmp_path / "deeper" / "b", seed=2, window=UNIT, spacing=[1.25, 1, 1])
    touch(tmp_path / "a", 1000)
    touch(tmp_path / "deeper" / "b", 2000)
    by_path, by_name, latest = load(tmp_path / "a"), load("a"), load("latest")
    assert by_path.name == by_name.name == "a/best"
    assert by_path.sha256 == by_name.sha256 != latest.sha256
    assert latest.name == "b/best"
    assert (by_path.input.window_hu, by_path.input.scale, by_path.input.spacing_zyx_mm) == ((-1000, 1000), "hu", None)
    assert (latest.input.window_hu, latest.input.scale) == ((-1000, 400), "unit")
    assert latest.input.spacing_zyx_mm == (1.25, 1.0, 1.0)
    assert by_path.split_hash == SPLIT.hash
    crop = torch.randn(2, 1, 32, 48, 48)
    with torch.inference_mode():
        assert torch.equal(by_path.net(crop), random_net(LUNA, seed=1)(crop))


def test_latest_is_the_newest_finished_run_of_the_role(tmp_path: Path) -> None:
    wanted = write_run(tmp_path / "wanted")
    write_run(tmp_path / "older")
    write_run(tmp_path / "segmenter", SLICES, role="segmentation", crop=(7, 16, 16))
    (write_run(tmp_path / "unfinished") / "predictions.parquet").unlink()
    foreign = write_run(tmp_path / "foreign")
    text = (foreign / "config.yaml").read_text()
    (foreign / "config.yaml").write_text(text.replace("candidate_classification", "image_classification"))
    (write_run(tmp_path / "broken") / "config.yaml").write_text("model: [1, 2")
    (write_run(tmp_path / "bare") / "config.yaml").unlink()
    for k, name in enumerate(["older", "wanted", "segmenter", "foreign", "broken", "bare"]):
        touch(tmp_path / name, 1000 + k)
    assert newest_run(tmp_path, role="classifier").path == wanted
    with pytest.raises(RunError, match=r"no finished run of a malignancy .* lungdet train model=malignancy"):
        newest_run(tmp_path, role="malignancy")


@pytest.mark.parametrize(
    ("role", "run", "name"),
    [
        *(("classifier", "cls", name) for name in FORMATS),
        *(("segmentation", "seg", n) for n in ("safetensors", "onnx")),
    ],
)
def test_every_exported_format(role: str, run: str, name: str, load: Load, exported: Path) -> None:
    original = load(exported / run, role)
    network = load(exported / f"{run}{FORMATS[name].suffix}", role)
    assert network.input == original.input
    assert network.split_hash == original.split_hash == SPLIT.hash
    assert network.run is None
    shape = (2, 1, 32, 48, 48) if role == "classifier" else (2, 7, 32, 40)
    image = torch.rand(shape) * 2000 - 1000
    with torch.inference_mode():
        answers, expected = network.net(image), original.net(image)
    # Random weights give large answers.
    assert torch.allclose(answers, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_the_books_files(load: Load, tmp_path: Path) -> None:
    cls = load(book_file(tmp_path / "cls_x.state", LunaModel()))
    seg = load(book_file(tmp_path / "seg_x.state", SliceUNet()), "segmentation")
    malignancy = load(tmp_path / "cls_x.state", "malignancy")
    assert (cls.input.layout, cls.input.crop_zyx_vox, cls.input.scale) == ("volume", (32, 48, 48), "hu")
    assert (seg.input.layout, seg.input.channels, seg.input.size_divisor) == ("slices", 7, 4)
    assert cls.input.spacing_zyx_mm is None
    assert malignancy.sha256 == cls.sha256 != seg.sha256
    with pytest.raises(RunError, match=r"holds the book's segmentation network .*give the cls_"):
        load(tmp_path / "seg_x.state", "classifier")
    with pytest.raises(RunError, match=r"holds the book's candidate classifier .*give the seg_"):
        load(tmp_path / "cls_x.state", "segmentation")


@pytest.mark.parametrize(("role", "belongs"), [("malignancy", "classifier"), ("segmentation", "classifier")])
def test_the_wrong_role(
    role: str, belongs: str, load_all: Callable[..., object], exported: Path, tmp_path: Path
) -> None:
    message = rf"networks\.{role}: .* was trained for candidate_classification.*; it belongs to networks\.{belongs}"
    with pytest.raises(RunError, match=message):
        load_all(str(exported / "cls"), role)
    with pytest.raises(RunError, match=message):
        load_all(str(exported / "cls.safetensors"), role)


def with_nan(net: torch.nn.Module) -> torch.nn.Module:
    next(net.parameters()).data.view(-1)[0] = float("nan")
    return net


def nan_run(folder: Path) -> str:
    return str(write_run(folder / "run", net=with_nan(random_net(LUNA))))


def nan_state(folder: Path) -> str:
    return str(book_file(folder / "cls.state", with_nan(LunaModel())))


def cut_checkpoint(folder: Path) -> str:
    file = write_run(folder / "run") / "checkpoints" / "best.ckpt"
    file.write_bytes(file.read_bytes()[:-500])
    return str(folder / "run")


def other_architecture(folder: Path) -> str:
    return str(write_run(folder / "run", net=random_net({**LUNA, "conv_channels": 4})))


def no_checkpoint(folder: Path) -> str:
    (write_run(folder / "run") / "checkpoints" / "best.ckpt").rename(folder / "run" / "checkpoints" / "last.ckpt")
    return str(folder / "run")


def text_file(folder: Path) -> str:
    (folder / "weights.state").write_text("not weights")
    return str(folder / "weights.state")


def checkpoint_file(folder: Path) -> str:
    return str(write_run(folder / "run") / "checkpoints" / "best.ckpt")


def no_network(folder: Path) -> str:
    run = write_run(folder / "run")
    (run / "config.yaml").write_text("split: {}\n")
    return str(run)


def broken_yaml(folder: Path) -> str:
    run = write_run(folder / "run")
    (run / "config.yaml").write_text("model: [1, 2")
    return str(run)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (nan_run, "NaN or infinite weights"),
        (nan_state, "NaN or infinite weights"),
        (cut_checkpoint, "cannot be read.*is it complete"),
        (other_architecture, "has shape"),
        (no_checkpoint, "no checkpoint 'best' in .*; there: last"),
        (text_file, "cannot be read as PyTorch weights"),
        (checkpoint_file, r"is no network that can be read: give a run directory or a file \.safetensors"),
        (no_network, "has no model: not the run of a network"),
        (broken_yaml, r"config\.yaml cannot be read"),
        (lambda folder: str(folder / "absent.state"), "no weights at"),
        (lambda folder: str(folder / "absent.onnx"), "no network at"),
        (lambda folder: "absent", "no run 'absent'"),
    ],
)
def test_what_cannot_be_used(
    make: Callable[[Path], str], message: str, load_all: Callable[..., object], tmp_path: Path
) -> None:
    with pytest.raises(LungdetError, match=message) as raised:
        load_all(make(tmp_path))
    assert str(raised.value).startswith("networks.classifier: ")


def test_a_changed_export_is_refused(load_all: Callable[..., object], exported: Path, tmp_path: Path) -> None:
    for name in ("cls.safetensors", "cls.json"):
        shutil.copy(exported / name, tmp_path)
    content = bytearray((tmp_path / "cls.safetensors").read_bytes())
    content[-1] ^= 1
    (tmp_path / "cls.safetensors").write_bytes(content)
    with pytest.raises(RunError, match=r"networks\.classifier: .*damaged or belongs to another export"):
        load_all(str(tmp_path / "cls.safetensors"))
    (tmp_path / "cls.json").unlink()
    with pytest.raises(MissingFileError, match=r"networks\.classifier: "):
        load_all(str(tmp_path / "cls.safetensors"))


def test_ensembles_take_one_input(load_all: Callable[..., tuple[TrainedNetwork, ...]], tmp_path: Path) -> None:
    for name, window in (("a", HU), ("b", HU), ("c", UNIT)):
        write_run(tmp_path / name, seed=ord(name), window=window)
    assert [network.name for network in load_all(["a", "b"])] == ["a/best", "b/best"]
    assert load_all(None) == ()
    with pytest.raises(ConfigError, match=r"networks\.classifier: a/best and c/best were trained on different inputs"):
        load_all(["a", "b", "c"])


@pytest.fixture
def collection(tmp_path: Path) -> Path:
    """Series s1 to s6 of patients p1 to p5; p4 was scanned twice."""
    folder = tmp_path / "collection"
    folder.mkdir()
    patients = ["p1", "p2", "p3", "p4", "p5", "p4"]
    for k in range(6):
        (folder / f"s{k + 1}.mhd").write_text("never read")
    lines = [f"s{k + 1},-1,{patient}\n" for k, patient in enumerate(patients)]
    (folder / "series.csv").write_text("seriesuid,subset,patient_id\n" + "".join(lines))
    (folder / "annotations.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\ns1,0,0,0,5\n")
    return folder


def test_series_of_test_patients(
    load: Load, collection: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", SLICES, role="segmentation", crop=(7, 16, 16))
    networks = [load("a"), load("b", "segmentation")]
    assert series_of_test_patients(networks, collection) == ("s4", "s5", "s6")
    assert "nobody knows" not in caplog.text
    state = load(book_file(tmp_path / "cls_book.state", LunaModel()))
    with caplog.at_level(logging.WARNING):
        assert series_of_test_patients([*networks, state], collection) == ("s4", "s5", "s6")
    assert "nobody knows the training patients of cls_book.state" in caplog.text


def test_networks_of_different_splits_have_no_test_patients(
    load: Load, collection: Path, exported: Path, tmp_path: Path
) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", split=OTHER)
    with pytest.raises(ConfigError, match="a/best, b/best were trained on different splits"):
        series_of_test_patients([load("a"), load("b")], collection)
    file = load(exported / "cls.safetensors")
    assert series_of_test_patients([load("a"), file], collection) == ("s4", "s5", "s6")
    with pytest.raises(ConfigError, match="different splits"):
        series_of_test_patients([load("b"), file], collection)
    with pytest.raises(ConfigError, match="needs the split of a run directory"):
        series_of_test_patients([file], collection)


def test_the_collection_has_to_be_the_one_of_the_training(load: Load, collection: Path, tmp_path: Path) -> None:
    write_run(tmp_path / "a", split=Split(train=("x",), val=("y",), test=("z",), rule="by hand"))
    with pytest.raises(RunError, match="only: none of the 1 test patients of a/best is in"):
        series_of_test_patients([load("a")], collection)


def test_what_a_result_says_of_its_networks(load: Load, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a", role="malignancy")
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("data:\n", "data:\n  samples: {label_rule: mal_bool}\n"))
    described = load("a", "malignancy").describe()
    assert described["name"] == "a/best"
    assert described["label_rule"] == "mal_bool"
    assert len(described["sha256"]) == 16
    assert json.loads(json.dumps(described)) == described


CALIBRATION: dict[str, Any] = {
    "method": "platt",
    "fitted_on": "val",
    "fits": [
        {
            "fold": 0,
            "n_rows": 90,
            "n_positives": 9,
            "parameters": {"method": "platt", "slope": 0.5, "intercept": -2.0, "smoothed": False},
            "not_fitted_because": "",
        }
    ],
    "predictions_sha256": "ab",
    "checkpoint": "checkpoints/best.ckpt",
}


def test_a_run_brings_its_calibration(load: Load, tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    assert load("a").calibrator is None
    (run / "calibration.json").write_text(json.dumps(CALIBRATION))
    assert load("a").calibrator == Platt(0.5, -2.0)
    assert load("a").describe() == load("a").describe() | {"name": "a/best"}
    loaded, plain = (
        load_networks(
            "a", role="classifier", checkpoint="best", runs=tmp_path, device=torch.device("cpu"), calibrated=wanted
        )[0]
        for wanted in (True, False)
    )
    assert (loaded.calibrator, plain.calibrator) == (Platt(0.5, -2.0), None)


def test_a_calibration_of_another_checkpoint_or_of_folds_is_not_used(
    load: Load, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = write_run(tmp_path / "a")
    (run / "checkpoints" / "best.ckpt").rename(run / "checkpoints" / "last.ckpt")
    (run / "calibration.json").write_text(json.dumps(CALIBRATION))
    assert load("a", checkpoint="last").calibrator is None
    assert "the calibration was fitted to checkpoints/best.ckpt, not to last.ckpt" in caplog.text
    folds = [{**CALIBRATION["fits"][0], "fold": fold} for fold in (0, 1)]
    (run / "calibration.json").write_text(json.dumps({**CALIBRATION, "fits": folds}))
    assert load("a", checkpoint="last").calibrator is None
    assert "its calibration is of several folds" in caplog.text
    unfitted = {**folds[0], "parameters": None, "not_fitted_because": "no positives"}
    (run / "calibration.json").write_text(json.dumps({**CALIBRATION, "fits": [unfitted]}))
    assert load("a", checkpoint="last").calibrator is None
    assert "a is not calibrated: no positives" in caplog.text


def test_a_damaged_calibration_is_refused(load_all: Callable[..., object], tmp_path: Path) -> None:
    (write_run(tmp_path / "a") / "calibration.json").write_text("{")
    with pytest.raises(TableError, match=r"networks\.classifier: .*calibration\.json is no calibration"):
        load_all("a")


@pytest.mark.realdata
def test_the_real_files_of_the_book(realdata: Path, load: Load) -> None:
    (cls,) = (realdata / "book_weights").glob("cls_*.state")
    (seg,) = (realdata / "book_weights").glob("seg_*.state")
    with torch.inference_mode():
        assert np.isfinite(load(cls).net(torch.zeros(1, 1, 32, 48, 48)).numpy()).all()
        assert load(seg, "segmentation").net(torch.zeros(1, 7, 32, 32)).shape == (1, 1, 32, 32)
