"""Reading tensors from a PyTorch file without executing anything that is in it."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lungdet.errors import MissingFileError, RunError, ShapeError

# What torch.load raises for text, for truncated and for foreign pickles; there is no common parent below Exception.
_UNREADABLE = (
    pickle.UnpicklingError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
)


def load_state_file(path: Path | str) -> dict[str, Any]:
    """Load a PyTorch file that holds a dict, with `weights_only=True`, onto the CPU.

    Raises:
        MissingFileError: no such file.
        RunError: not a complete PyTorch file, a file with code in it, or one that holds something other than a dict.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingFileError(f"no weights at {path}: give the path of an existing file")
    try:
        with warnings.catch_warnings():
            # A pickle of another protocol draws advice to file a PyTorch issue; what counts is whether it loads.
            warnings.simplefilter("ignore", UserWarning)
            content = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise RunError(f"{path} cannot be read as PyTorch weights (is it complete?): {first_line}") from error
    if not isinstance(content, dict):
        raise RunError(f"{path} holds a {type(content).__name__}, not a dict of tensors")
    return content


def require_finite_tensors(state: object, path: Path | str) -> dict[str, Tensor]:
    """Return `state` as a dict of tensors.

    Raises:
        RunError: not a dict of tensors, an empty one, or a floating tensor with NaN or infinite numbers.
    """
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise RunError(f"{path} does not hold a dict of tensors where weights are expected")
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise RunError(f"{path}: {name} has NaN or infinite weights: the file is damaged or the training diverged")
    return state


def require_layout(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, path: Path | str, net: str) -> None:
    """Refuse weights whose names or shapes are not those of the network, before PyTorch lists every one of them.

    Raises:
        RunError: names missing or unknown.
        ShapeError: a tensor of another shape.
    """
    missing, unknown = sorted(expected.keys() - state.keys()), sorted(state.keys() - expected.keys())
    if missing or unknown:
        raise RunError(
            f"{path} does not hold the weights of {net}: {len(missing)} missing {missing[:3]}, "
            f"{len(unknown)} unknown {unknown[:3]}"
        )
    for name, tensor in state.items():
        if tensor.shape != expected[name].shape:
            raise ShapeError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, {net} needs {tuple(expected[name].shape)}"
            )
