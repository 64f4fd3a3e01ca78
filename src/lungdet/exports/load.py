"""Exported networks back into a process: `load_exported(path)` for each format, none of which may bring code along."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from lungdet.errors import MissingFileError, RunError
from lungdet.exports import onnx_file, safetensors_file, torch_program, torchscript
from lungdet.exports.card import NetworkCard
from lungdet.exports.card_file import read_card

Load = Callable[[bytes, NetworkCard, Path], nn.Module]


@dataclass(frozen=True)
class FileFormat:
    """How a format is written and read.

    Attributes:
        suffix: of the file name.
        holds_graph: whether the file can compute by itself, and so gives all of `NetworkCard.graph_outputs`.
        write: network or `WithProbability` around it, card, path.
        load: what `write` made.
    """

    suffix: str
    holds_graph: bool
    write: Callable[[nn.Module, NetworkCard, Path], None]
    load: Load


FORMATS: dict[str, FileFormat] = {
    "safetensors": FileFormat(".safetensors", False, safetensors_file.write, safetensors_file.load),
    "onnx": FileFormat(".onnx", True, onnx_file.write, onnx_file.load),
    "torch_export": FileFormat(".pt2", True, torch_program.write, torch_program.load),
    "torchscript": FileFormat(".ts.pt", True, torchscript.write, torchscript.load),
}


@dataclass(frozen=True)
class ExportedNetwork:
    """A network that was loaded from a file.

    Attributes:
        card: what it takes and what its answer means.
        net: float32 [B, C, ...] -> raw outputs [B, K, ...] in evaluation mode, on the CPU. `in_channels`,
            `check_input` and, for slices, `divisor` are set as on the networks of `lungdet.nets`. Of a graph's file,
            `answers` gives the probability, too.
        path: the file.
    """

    card: NetworkCard
    net: nn.Module
    path: Path


def is_exported(path: Path) -> bool:
    """Whether a file name is that of an exported network."""
    return _format_of(path) is not None


def load_exported(path: Path | str) -> ExportedNetwork:
    """Load a network that `lungdet export` wrote, with the card that lies beside it.

    The file is hashed and compared with its card before it is parsed: a guard against damage and mix-ups. Who can
    change the card too can change the hash, so each format's `load` says what it lets run, and refuses the rest.

    Args:
        path: `NAME.safetensors`, `NAME.onnx`, `NAME.pt2` or `NAME.ts.pt`; `NAME.json` is the card.

    Raises:
        MissingFileError: no file, no card, or ONNX Runtime is not installed.
        RunError: another suffix, a card of another version or of other files, a file that is damaged, holds code or
            NaN or infinite weights.
        ShapeError: weights of other shapes than the card's network.
    """
    path = Path(path).expanduser()
    name = _format_of(path)
    if name is None:
        raise RunError(f"{path} is no exported network: allowed are {', '.join(f.suffix for f in FORMATS.values())}")
    if not path.is_file():
        raise MissingFileError(f"no network at {path}: give the path of an existing file")
    card_path = card_beside(path)
    card = read_card(card_path)
    entry = card.files.get(name)
    if entry is None:
        raise RunError(f"{card_path} is the card of {sorted(card.files)}, not of {path.name}: export again with {name}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise RunError(
            f"{path} ({len(content)} bytes) is not the file that {card_path.name} describes ({entry.n_bytes} bytes): "
            "it is damaged or belongs to another export; copy both files again"
        )
    return ExportedNetwork(card, FORMATS[name].load(content, card, path).eval(), path)


def card_beside(path: Path) -> Path:
    """Where the card of a network's file lies."""
    name = _format_of(path)
    assert name is not None, "only called for a known suffix"
    return path.with_name(path.name.removesuffix(FORMATS[name].suffix) + ".json")


def _format_of(path: Path) -> str | None:
    return next((name for name, form in FORMATS.items() if path.name.endswith(form.suffix)), None)
