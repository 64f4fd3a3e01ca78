"""The seed book's trained candidate classifier (`cls_*.state`), read without executing anything from the file."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from lungdet.errors import RunError
from lungdet.nets.luna import LunaModel
from lungdet.nets.state_file import load_state_file, require_finite_tensors, require_layout


def load_book_classifier(path: Path | str) -> LunaModel:
    """Load the book's LunaModel for inference.

    It expects raw HU clipped to [-1000, 1000], not scaled, in crops of (32, 48, 48) native voxels; class 1 is nodule.
    Tensor names in the file are those of our `LunaModel`, so nothing is renamed.

    Args:
        path: a `cls_*.state` file of the book's repository.

    Returns:
        `LunaModel()` with those weights, in evaluation mode, on the CPU.

    Raises:
        MissingFileError: no such file.
        RunError: not a PyTorch state file, no `model_state` in it, the segmenter's file, missing or surplus tensors, or
            weights that are not finite.
        ShapeError: a tensor of another shape.
    """
    path = Path(path)
    state = read_model_state(path)
    if any(name.startswith("unet.") for name in state):
        raise RunError(f"{path.name} holds the book's segmentation network (seg_*.state); give the cls_*.state file")
    net = LunaModel()
    require_layout(state, net.state_dict(), path=path, net="LunaModel (the book's cls_*.state)")
    net.load_state_dict(state, strict=True)
    return net.eval()


def read_model_state(path: Path | str) -> dict[str, Tensor]:
    """Read the tensors under `model_state` of one of the book's files, with `weights_only=True`.

    Returns:
        Tensor name -> tensor on the CPU; every floating tensor is finite.

    Raises:
        MissingFileError: no such file.
        RunError: not a PyTorch file, no `model_state` dict of tensors, or a tensor with NaN or infinite numbers.
    """
    content = load_state_file(path)
    if "model_state" not in content:
        found = sorted(map(str, content))[:8]
        raise RunError(f"{path} has no 'model_state', only {found}; give one of the book's *.state files")
    return require_finite_tensors(content["model_state"], path)
