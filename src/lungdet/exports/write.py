"""A trained network to files: each format is written, loaded again and compared before anything is kept."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import logging
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from lungdet.errors import ConfigError, RunError
from lungdet.exports.calibrated import WithProbability, describe_second_output, probability_module
from lungdet.exports.card import FileEntry, NetworkCard
from lungdet.exports.load import FORMATS
from lungdet.exports.parity import Probability, check_parity, check_probability
from lungdet.nets.state_file import require_finite_tensors

log = logging.getLogger(__name__)

_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*")


def export_network(
    net: nn.Module,
    card: NetworkCard,
    folder: Path,
    *,
    formats: Sequence[str],
    probability: Probability | None = None,
) -> list[Path]:
    """Write a network and its card, or nothing at all.

    Args:
        net: the trained network; it is exported as it computes in evaluation mode, in float32, on the CPU.
        card: without files; its name is the stem of the file names.
        folder: made where it is missing.
        formats: keys of `FORMATS`. Those that hold a graph give the probability behind the raw outputs of a classifier.
        probability: the card's calibration in float64, computed elsewhere, which the graphs are compared with; not
            needed where the card has none.

    Returns:
        The files, the card last.

    Raises:
        ConfigError: no format, an unknown one, or a name that is no file name.
        RunError: `folder` holds a card of this name already, NaN or infinite weights, a network that a format cannot
            hold, a parity check that failed, or a calibration that nothing is given to compare with.
        MissingFileError: a format whose package is not installed.
    """
    check_formats(formats)
    if not _NAME.fullmatch(card.name):
        raise ConfigError([f"name={card.name!r}: give letters, digits, '.', '-' or '_', beginning with no dot"])
    card_path = folder / f"{card.name}.json"
    if card_path.exists():
        raise RunError(f"{card_path} exists; choose another name=... or out=..., or remove the old export")
    net = copy.deepcopy(net).cpu().to(memory_format=torch.contiguous_format).float().eval()
    require_finite_tensors(net.state_dict(), card.name)
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".export-") as name:
            return _write_all(net, card, Path(name), folder, formats=formats, probability=probability)
    finally:
        if is_new and not any(folder.iterdir()):
            folder.rmdir()


def check_formats(formats: Sequence[str]) -> None:
    """Refuse an empty list of formats and unknown ones.

    Raises:
        ConfigError: what was given and what is allowed.
    """
    unknown = [name for name in formats if name not in FORMATS]
    if unknown or not formats or len(set(formats)) < len(formats):
        raise ConfigError([f"formats={list(formats)}: choose one or several of {', '.join(FORMATS)}, each once"])


def _write_all(
    net: nn.Module,
    card: NetworkCard,
    staging: Path,
    folder: Path,
    *,
    formats: Sequence[str],
    probability: Probability | None,
) -> list[Path]:
    files = {}
    program: nn.Module = net
    if any(FORMATS[name].holds_graph for name in formats) and card.output.per != "voxel":
        probability = _reference(card, probability)
        program, card = _with_probability(net, card, probability)
    for name in formats:
        form = FORMATS[name]
        path = staging / f"{card.name}{form.suffix}"
        form.write(program if form.holds_graph else net, card, path)
        content = path.read_bytes()
        loaded = form.load(content, card, path)
        has_second = form.holds_graph and card.second_output is not None
        parity = check_parity(
            net, loaded, card.input, name=f"{name} ({path.name})", probability=probability if has_second else None
        )
        files[name] = FileEntry(
            file=path.name, sha256=hashlib.sha256(content).hexdigest(), n_bytes=len(content), parity=parity
        )
    (staging / f"{card.name}.json").write_text(dataclasses.replace(card, files=files).to_json(), encoding="utf-8")
    # The card last: without it the others are not taken for an export.
    names = [*(entry.file for entry in files.values()), f"{card.name}.json"]
    return [(staging / name).replace(folder / name) for name in names]


def _with_probability(net: nn.Module, card: NetworkCard, probability: Probability) -> tuple[nn.Module, NetworkCard]:
    """The network with its second output, and the card that says so."""
    module = probability_module(card.calibration)
    second = describe_second_output(card)
    difference = check_probability(module, probability)
    log.info("second output of the graphs: %s, %s; within %.1g", second["name"], second["meaning"], difference)
    second["max_abs_difference_to_float64"] = difference
    return WithProbability(net, module).eval(), dataclasses.replace(card, second_output=second)


def _reference(card: NetworkCard, probability: Probability | None) -> Probability:
    if probability is not None:
        return probability
    if card.calibration is not None:
        raise RunError(
            "the card has a calibration, and nothing was given to compare the graphs with: pass "
            "probability=calibrator.probability, or export formats=['safetensors']"
        )
    return lambda logit: torch.from_numpy(logit).sigmoid().numpy()
