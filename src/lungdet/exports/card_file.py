"""The file of a card: JSON, parsed strictly, field by field."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from lungdet.errors import MissingFileError, RunError
from lungdet.exports.card import (
    FORMAT_VERSION,
    FileEntry,
    ImageInputSpec,
    InputSpec,
    NetworkCard,
    NetworkSpec,
    OutputSpec,
)

T = TypeVar("T")


def read_card(path: Path) -> NetworkCard:
    """Read a card.

    Raises:
        MissingFileError: no such file.
        RunError: not JSON, another version, or a field that is missing, unknown or of another type.
    """
    if not path.is_file():
        raise MissingFileError(f"no card at {path}: copy the .json file that was exported beside the network, too")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunError(f"{path} is not JSON ({error}): copy it again, or export the network again") from error
    if not isinstance(record, dict) or not isinstance(record.get("format_version"), int):
        raise RunError(f"{path} is not the card of an exported network: it has no format_version")
    if record["format_version"] != FORMAT_VERSION:
        raise RunError(
            f"{path} has format_version {record['format_version']}, this lungdet reads {FORMAT_VERSION}: use the "
            "lungdet that exported it, or export it again with this one"
        )
    try:
        return _parse_card(record)
    except _WrongFieldError as error:
        raise RunError(f"{path}: {error}; export the network again") from error
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


class _WrongFieldError(ValueError):
    pass


def _parse_card(record: Mapping[str, Any]) -> NetworkCard:
    files = record.get("files")
    if not isinstance(files, dict):
        raise _WrongFieldError("files: expects an object")
    parsed = {
        # Of cards from before there was any.
        "calibration": None,
        "second_output": None,
        **record,
        "network": _parse(NetworkSpec, record.get("network"), "network."),
        "input": _parse_input(record.get("input")),
        "output": _parse(OutputSpec, record.get("output"), "output."),
        "files": {name: _parse(FileEntry, entry, f"files.{name}.") for name, entry in files.items()},
    }
    return _parse(NetworkCard, parsed, "")


def _parse_input(record: object) -> InputSpec | ImageInputSpec:
    if isinstance(record, dict) and record.get("layout") == "image":
        return _parse(ImageInputSpec, record, "input.")
    return _parse(InputSpec, record, "input.")


def _parse(kind: type[T], record: object, where: str) -> T:
    """Build a dataclass from an object of JSON, lists becoming tuples; every field must be there and fit."""
    if not isinstance(record, dict):
        raise _WrongFieldError(f"{where.rstrip('.')}: expects an object")
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if record.keys() != fields.keys():
        missing, unknown = sorted(fields.keys() - record.keys()), sorted(record.keys() - fields.keys())
        raise _WrongFieldError(f"{where or 'the card'}: missing {missing}, unknown {unknown}")
    values = {}
    for name, value in record.items():
        values[name] = tuple(value) if isinstance(value, list) else value
        if not _fits(values[name], str(fields[name].type)):
            raise _WrongFieldError(f"{where}{name}={value!r}: expects {fields[name].type}")
    return kind(**values)


_SIMPLE = {"str": (str,), "int": (int,), "float": (int, float), "None": (type(None),)}


def _fits(value: object, annotation: str) -> bool:
    """Whether a value of JSON is what a field's annotation (as text) says."""
    for option in annotation.split(" | "):
        kinds = _SIMPLE.get(option)
        if kinds is not None and isinstance(value, kinds) and not isinstance(value, bool):
            return True
        items = re.fullmatch(r"tuple\[(.*)\]", option)
        if items is not None and isinstance(value, tuple):
            expected = items.group(1).split(", ")
            if expected[-1] == "...":
                expected = expected[:1] * len(value)
            return len(value) == len(expected) and all(map(_fits, value, expected))
        if option.startswith("dict[") and isinstance(value, dict):
            return True
        if option[0].isupper() and option not in _SIMPLE:
            # Literals and parsed parts: their values are checked by the dataclass that holds them.
            return isinstance(value, str) or dataclasses.is_dataclass(value)
    return False
