"""A network as a `torch.export` program (.pt2): PyTorch runs it without the class. Checked before PyTorch reads it.

`torch.export.load` trusts its file: it unpickles records marked so, evaluates shape expressions and guards, resolves
any name below `torch`, and loads compiled libraries. What we write uses none of it but arithmetic in shape expressions,
so `load` refuses everything else, in the same bytes and through the same reader that PyTorch then uses.
"""

from __future__ import annotations

import io
import json
import logging
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lungdet.errors import RunError
from lungdet.exports.card import NetworkCard
from lungdet.exports.frozen import FrozenNetwork, dynamic_shapes
from lungdet.exports.operators import require_known_operators
from lungdet.exports.parity import random_image
from lungdet.nets.state_file import require_finite_tensors

_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_RECORDS = re.compile(
    r"models/model\.json|data/(weights|constants)/model_(weights|constants)_config\.json|data/weights/weight_\d+"
    r"|data/constants/tensor_\d+|data/sample_inputs/model\.pt|archive_format|archive_version|byteorder"
    r"|\.data/(version|serialization_id)|\.format_version|\.storage_alignment"
)
# In srepr form, as PyTorch writes it: Mul(Integer(4), Symbol('s39', positive=True, integer=True)).
_SHAPE_EXPRESSION = re.compile(
    r"(Integer|Rational|Symbol|Add|Mul|Pow|Max|Min|FloorDiv|CleanDiv|CeilDiv|Mod|PythonMod|positive|integer|nonnegative"
    r"|True|False|'[su]\d+'|[su]\d+|\d+|[(),=+*/ -])*"
)
_OPERATOR = re.compile(r"torch\.ops\.aten\.(\w+)\.\w+")
_PLAIN_TARGETS = {"torch.ops.higher_order.wrap_with_autocast", "torch.sym_max", "torch.sym_min", "torch.sym_float"}
_PLAIN_TARGETS |= {f"_operator.{name}" for name in ("add", "sub", "mul", "floordiv", "mod", "neg", "getitem", "pow")}
_PLAIN_TARGETS |= {f"_operator.{name}" for name in ("eq", "ne", "ge", "gt", "le", "lt", "and_")}
_TREE_TYPES = (None, "builtins.tuple", "builtins.list", "builtins.dict")
_TREE_CONTEXTS = (None, "null", "[]")


def write(net: nn.Module, card: NetworkCard, path: Path) -> None:
    """Export `net` with an open batch axis, and open height and width for slices of any size.

    Raises:
        RunError: a network that `torch.export` cannot trace.
    """
    program = trace(net, card)
    program.example_inputs = None  # would be pickled
    torch.export.save(program, path)


def trace(net: nn.Module, card: NetworkCard) -> torch.export.ExportedProgram:
    """The program of `net` for the card's input.

    Raises:
        RunError: a network that `torch.export` cannot trace.
    """
    image = random_image(card.input, batch_size=2, seed=0)
    try:
        with torch.no_grad():
            return torch.export.export(net, (image,), dynamic_shapes=(dynamic_shapes(card.input),))
    except Exception as error:  # its errors have no common parent
        raise RunError(
            f"{card.network.target} cannot be exported as a graph; use formats=[safetensors]: {first_line(error)}"
        ) from error


def load(content: bytes, card: NetworkCard, path: Path) -> FrozenNetwork:
    """Read a program. What runs: the graph's operators, all of them on our list; guards are left out (see below).

    Raises:
        RunError: not such a file, code in it, an operator that no network needs, NaN or infinite weights.
    """
    try:
        _check_archive(content, path)
        # A stack trace for every unreadable file; the message below says it.
        with quiet_loggers("torch.export", level=logging.CRITICAL):
            program = torch.export.load(io.BytesIO(content))
        # Guards are Python text that would be compiled; the card's shape check does their work.
        graph = program.module(check_guards=False)
    except RunError:
        raise
    except Exception as error:  # anything: json, zip, schema and assertion errors
        raise RunError(f"{path} cannot be read as a torch.export program: {first_line(error)}") from error
    require_finite_tensors(dict(graph.state_dict()), path)
    return FrozenNetwork(card, without_device_checks(graph))


def without_device_checks(graph: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """Take out, in place, the statements that tensors lie on the CPU, where the network was exported."""
    for module in graph.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in list(module.graph.nodes):
                if node.target is torch.ops.aten._assert_tensor_metadata.default:
                    module.graph.erase_node(node)
            module.recompile()
    return graph


def _check_archive(content: bytes, path: Path) -> None:
    from torch.export.pt2_archive import PT2ArchiveReader

    refusal = f"{path} is no file that lungdet exported: it holds"
    # An unreadable program sends PyTorch to its older format, which it finds by this name and through another reader.
    if "version" in zipfile.ZipFile(io.BytesIO(content)).namelist():
        raise RunError(f"{refusal} a program of PyTorch 2.7 or older; nothing of it was run")
    reader = PT2ArchiveReader(io.BytesIO(content))
    names = reader.get_file_names()
    foreign = sorted(name for name in names if not _RECORDS.fullmatch(name))
    if foreign:
        raise RunError(f"{refusal} {foreign[:3]}, which may carry code; nothing of it was run")
    if reader.read_bytes(_SAMPLE_INPUTS):
        raise RunError(f"{refusal} pickled sample inputs; nothing of it was run")
    for kind in ("weights", "constants"):
        config = json.loads(reader.read_string(f"data/{kind}/model_{kind}_config.json"))
        for name, entry in config["config"].items():
            # A record named otherwise than tensors are would be unpickled.
            if entry["use_pickle"] is not False or not re.fullmatch(r"(weight|tensor)_\d+", entry["path_name"]):
                raise RunError(f"{refusal} pickled data for '{name}'; nothing of it was run")
    program = json.loads(reader.read_string("models/model.json"))
    _check_program(program, path)


def _check_program(program: Any, path: Path) -> None:
    operators = set()
    for key, value in _walk(program):
        if key == "target":
            found = _OPERATOR.fullmatch(str(value))
            if found:
                operators.add(found.group(1))
            elif value not in _PLAIN_TARGETS:
                operators.add(str(value))
        elif key == "expr_str" and not _SHAPE_EXPRESSION.fullmatch(str(value)):
            raise RunError(f"{path} has the shape expression {value!r}, which is more than arithmetic; nothing was run")
        elif key in ("in_spec", "out_spec") and value:
            _check_tree(value, path)
    for expression in program["range_constraints"]:
        if not _SHAPE_EXPRESSION.fullmatch(expression):
            raise RunError(f"{path} has the range of {expression!r}, which is more than arithmetic; nothing was run")
    require_known_operators(operators, path)


def _check_tree(text: Any, path: Path) -> None:
    """Inputs and outputs are tuples, lists and dicts of tensors; other types would be imported by name."""
    for key, value in _walk(json.loads(text)):
        allowed = _TREE_TYPES if key == "type" else _TREE_CONTEXTS if key == "context" else (value,)
        if value not in allowed:
            raise RunError(f"{path} takes or returns a {value!r}, not a tensor; nothing of it was run")


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of nested JSON; signatures name buffers as `target`, which are no operators."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key != "signature" or (isinstance(inner, dict) and "in_spec" in inner):
                yield key, inner
                yield from _walk(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk(inner)


@contextmanager
def quiet_loggers(*names: str, level: int = logging.WARNING) -> Iterator[None]:
    """Let other libraries' loggers say only what is at least of `level`."""
    before = [(logging.getLogger(name), logging.getLogger(name).level) for name in names]
    for logger, _ in before:
        logger.setLevel(level)
    try:
        yield
    finally:
        for logger, old in before:
            logger.setLevel(old)


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its type."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
