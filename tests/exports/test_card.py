from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lungdet.errors import MissingFileError, RunError
from lungdet.exports.card import FileEntry, NetworkCard
from lungdet.exports.card_file import read_card

Net = tuple[nn.Module, NetworkCard]


@pytest.fixture
def card(classifier: Net) -> NetworkCard:
    entry = FileEntry(file="net.onnx", sha256="ab", n_bytes=3, parity={"tolerance": 1e-4})
    return dataclasses.replace(classifier[1], files={"onnx": entry})


def test_a_card_comes_back_equal(card: NetworkCard, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(card.to_json())
    assert read_card(path) == card
    assert read_card(path).ct_input.crop_zyx_vox == (24, 32, 32)


def test_a_card_from_before_calibration_is_read(card: NetworkCard, tmp_path: Path) -> None:
    record = json.loads(card.to_json())
    del record["calibration"], record["second_output"]
    path = tmp_path / "net.json"
    path.write_text(json.dumps(record))
    assert read_card(path) == card
    assert read_card(path).graph_outputs == ("outputs",)
    calibrated = dataclasses.replace(card, calibration={"parameters": {"method": "isotonic", "knot_logit": [0.0, 1.0]}})
    path.write_text(calibrated.to_json())
    assert read_card(path) == calibrated


def test_native_spacing_is_null(slices: Net, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(slices[1].to_json())
    assert json.loads(path.read_text())["input"]["spacing_zyx_mm"] is None
    read = read_card(path)
    assert read.input.layout == "slices"
    assert (read.input.channels, read.input.shape, read.input.size_divisor) == (3, (16, 20), 2)


def change(record: dict[str, Any], where: str, value: Any) -> None:
    *parents, last = where.split(".")
    for parent in parents:
        record = record[parent]
    if value is ...:
        del record[last]
    else:
        record[last] = value


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        ("format_version", 2, "format_version 2, this lungdet reads 1"),
        ("format_version", "1", "no format_version"),
        ("task", "weather", "task is 'weather'; known are candidate_classification, malignancy, segm"),
        ("licence", ..., "missing \\['licence'\\]"),
        ("input.window", [0, 1], "input.: missing \\[\\], unknown \\['window'\\]"),
        ("input.window_hu", [400, -1000], "input is out of range: window_hu"),
        ("input.window_hu", [0], "input.window_hu=\\[0\\]: expects tuple"),
        ("input.crop_zyx_vox", [24, 32, 32.5], "crop_zyx_vox=\\[24, 32, 32.5\\]: expects"),
        ("input.crop_zyx_vox", [24, 32, 0], "out of range: crop_zyx_vox"),
        ("input.channels", True, "input.channels=True: expects int"),
        ("input.scale", "log", "out of range: scale='log'"),
        ("input.spacing_zyx_mm", [1, 1, -1], "out of range: spacing_zyx_mm"),
        ("network.target", 3, "network.target=3: expects str"),
        ("network", [], "network: expects an object"),
        ("output.class_names", ["a"], "output.class_names=\\['a'\\]: expects"),
        ("output.per", "slice", "output is out of range: per='slice'"),
        ("output.channels", 3, "output is out of range: per='[a-z]*', channels=3"),
        ("files", [], "files: expects an object"),
        ("files.onnx.sha256", ..., "files.onnx.: missing \\['sha256'\\]"),
    ],
)
def test_a_field_that_does_not_fit_is_named(
    where: str, value: Any, message: str, card: NetworkCard, tmp_path: Path
) -> None:
    record = json.loads(card.to_json())
    change(record, where, value)
    path = tmp_path / "net.json"
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match=message):
        read_card(path)


def test_other_files_are_no_cards(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("{")
    (tmp_path / "b.json").write_text("[1]")
    with pytest.raises(RunError, match=r"a.json is not JSON"):
        read_card(tmp_path / "a.json")
    with pytest.raises(RunError, match="not the card of an exported network"):
        read_card(tmp_path / "b.json")
    with pytest.raises(MissingFileError, match=r"no card at .*c.json: copy the .json file"):
        read_card(tmp_path / "c.json")


def test_cards_hold_no_nan(classifier: Net) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dataclasses.replace(classifier[1], metrics={"auroc": float("nan")}).to_json()
