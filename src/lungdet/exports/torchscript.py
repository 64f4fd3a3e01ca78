"""A network as TorchScript (.ts.pt), for C++ programs and older PyTorch. PyTorch has deprecated it: prefer .pt2.

A TorchScript file is a program in a small language of its own. It cannot call Python, but some of its operators read
and write files; and `__setstate__` runs while it is loaded. So `load` reads the program first and refuses all but the
operators and statements that a traced network is made of.
"""

from __future__ import annotations

import ast
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.jit._trace import TracerWarning  # torch.jit offers it without declaring it

from lungdet.errors import RunError
from lungdet.exports.card import NetworkCard
from lungdet.exports.frozen import FrozenNetwork
from lungdet.exports.operators import require_known_operators
from lungdet.exports.parity import random_image
from lungdet.exports.torch_program import first_line
from lungdet.nets.state_file import require_finite_tensors

_FUNCTIONS = ("annotate", "int", "float", "bool", "getattr", "unchecked_cast")
_PRIMITIVES = ("ops.prim.NumToTensor", "ops.prim.unchecked_cast", "ops.prim.min", "ops.prim.max", "ops.prim.device")
_METHOD = re.compile(r"forward\d*")
_WORDS = re.compile(r"[\w.:-]*")


def write(net: nn.Module, card: NetworkCard, path: Path) -> None:
    """Trace `net` on an input of the card's shape and save it.

    Raises:
        RunError: a network that cannot be traced.
    """
    image = random_image(card.input, batch_size=2, seed=0)
    try:
        with torch.no_grad(), _deprecation_known():
            # The check would compare with itself; the parity check compares with the network.
            program = torch.jit.trace(net, (image,), check_trace=False)  # type: ignore[no-untyped-call]
            torch.jit.save(program, path)
    except Exception as error:  # its errors have no common parent
        raise RunError(
            f"{card.network.target} cannot be traced; leave torchscript out of formats: {first_line(error)}"
        ) from error


def load(content: bytes, card: NetworkCard, path: Path) -> FrozenNetwork:
    """Read a program. What runs: its `forward`, made of operators on our list.

    Raises:
        RunError: not such a file, other statements or operators in it, NaN or infinite weights.
    """
    try:
        _check_code(content, path)
        with _deprecation_known():
            program = torch.jit.load(io.BytesIO(content), map_location="cpu")  # type: ignore[no-untyped-call]
    except RunError:
        raise
    except Exception as error:  # anything: zip, syntax and schema errors
        raise RunError(f"{path} cannot be read as TorchScript: {first_line(error)}") from error
    require_finite_tensors(dict(program.state_dict()), path)
    return FrozenNetwork(card, program)


def _check_code(content: bytes, path: Path) -> None:
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
        names = reader.get_all_records()
        sources = [reader.get_record(name).decode("ascii") for name in names if name.endswith(".py")]
    except (RuntimeError, ValueError) as error:
        raise RunError(f"{path} cannot be read as TorchScript: {first_line(error)}") from error
    if not sources or "constants.pkl" not in names:
        raise RunError(f"{path} cannot be read as TorchScript: there is no code in it")
    operators: set[str] = set()
    for source in sources:
        # Neither occurs in what PyTorch writes, and both could make it read the text otherwise than Python does.
        if "#" in source or "\\" in source:
            raise RunError(
                f"{path} has comments or escapes in its code: no file that lungdet exported; nothing was run"
            )
        for node in ast.walk(ast.parse(source)):
            operators.update(_operators(node))
    require_known_operators(operators, path)


def _operators(node: ast.AST) -> Iterator[str]:
    """Names of operators that a node of the syntax tree calls; anything unexpected comes back as its own text."""
    if isinstance(node, ast.FunctionDef) and not _METHOD.fullmatch(node.name):
        yield f"def {node.name}"
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and not _WORDS.fullmatch(node.value):
        yield repr(node.value)
    elif isinstance(node, ast.Call):
        called = ast.unparse(node.func)
        if called.startswith("torch."):
            yield called.removeprefix("torch.")
        elif isinstance(node.func, ast.Attribute) and _METHOD.fullmatch(node.func.attr):
            pass  # of a submodule
        elif called not in _FUNCTIONS and called not in _PRIMITIVES:
            yield called


@contextmanager
def _deprecation_known() -> Iterator[None]:
    """PyTorch announces its deprecation at every call; the documentation of this project says it once.

    Tracing also warns where a shape becomes a constant: wanted for fixed shapes, found by the parity check where not.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r".*torch\.jit.*deprecated.*")
        warnings.simplefilter("ignore", TracerWarning)
        yield
