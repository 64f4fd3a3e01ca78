"""What a field of a card may hold; `test_card` reads whole cards and damages them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from lungdet.errors import RunError
from lungdet.exports.card import NetworkCard
from lungdet.exports.card_file import _fits, read_card


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (1, "int", True),
        (1.0, "int", False),
        (True, "int", False),
        (1, "float", True),
        (False, "float", False),
        (None, "int | None", True),
        (None, "int", False),
        ("a", "str | None", True),
        ((1, 2), "tuple[int, int]", True),
        ((1,), "tuple[int, int]", False),
        ((1, "b"), "tuple[int, int]", False),
        ([1, 2], "tuple[int, int]", False),
        ((), "tuple[str, ...]", True),
        (("a", "b", "c"), "tuple[str, ...]", True),
        (("a", None), "tuple[str, ...]", False),
        ((1.0, 2, 3.5), "tuple[float, float, float] | None", True),
        (None, "tuple[float, float, float] | None", True),
        ({"a": [None]}, "dict[str, Any]", True),
        ([], "dict[str, Any]", False),
        ({}, "dict[str, Any] | None", True),
        ("unit", 'Literal["unit", "hu"]', True),
        (1, 'Literal["unit", "hu"]', False),
        (None, "Layout", False),
        ({}, "InputSpec | ImageInputSpec", False),
    ],
)
def test_values_of_json_fit_the_annotation_or_not(value: Any, annotation: str, fits: bool) -> None:
    assert _fits(value, annotation) is fits


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"card\.json is not JSON .*: copy it again, or export the network again"),
        (b"\xff\xfe", r"card\.json is not JSON"),
        (b"null", "it has no format_version"),
        (b"{}", "it has no format_version"),
        (b'{"format_version": 1.0}', "it has no format_version"),
        (b'{"format_version": true}', "files: expects an object"),
        (b'{"format_version": 0}', "has format_version 0, this lungdet reads 1: use the lungdet that exported it"),
        (b'{"format_version": 1}', "files: expects an object; export the network again"),
        (b'{"format_version": 1, "files": {"onnx": 3}}', "network: expects an object"),
    ],
)
def test_what_is_no_card(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(RunError, match=message):
        read_card(tmp_path / "card.json")


def test_fields_are_checked_from_the_inside_out(classifier: tuple[nn.Module, NetworkCard], tmp_path: Path) -> None:
    """A wrong part is named by its place, what is unknown in the card itself as such."""
    record = json.loads(classifier[1].to_json())
    path = tmp_path / "card.json"
    path.write_text(json.dumps({**record, "colour": "red"}))
    with pytest.raises(RunError, match=r"card\.json: the card: missing \[\], unknown \['colour'\]; export the network"):
        read_card(path)
    path.write_text(json.dumps({**record, "colour": "red", "output": {**record["output"], "channels": "2"}}))
    with pytest.raises(RunError, match=r"card\.json: output\.channels='2': expects int"):
        read_card(path)
