"""The seed book's trained segmentation network (`seg_*.state`), read without executing anything from the file."""

from __future__ import annotations

from pathlib import Path

from lungdet.errors import RunError
from lungdet.nets.book_weights import read_model_state
from lungdet.nets.state_file import require_layout
from lungdet.nets.unet import SliceUNet


def load_book_segmenter(path: Path | str) -> SliceUNet:
    """Load the book's 2.5-D UNet for inference.

    It expects seven neighbouring native slices of raw HU clipped to [-1000, 1000], not scaled, and gives the logit of
    "nodule" for every pixel of the middle one. Tensor names in the file are those of our `SliceUNet`.

    Args:
        path: a `seg_*.state` file of the book's repository.

    Returns:
        `SliceUNet()` with those weights, in evaluation mode, on the CPU.

    Raises:
        MissingFileError: no such file.
        RunError: not a PyTorch state file, no `model_state` in it, the classifier's file, missing or surplus tensors,
            or weights that are not finite.
        ShapeError: a tensor of another shape.
    """
    path = Path(path)
    state = read_model_state(path)
    if any(name.startswith("head_linear.") for name in state):
        raise RunError(f"{path.name} holds the book's candidate classifier (cls_*.state); give the seg_*.state file")
    net = SliceUNet()
    require_layout(state, net.state_dict(), path=path, net="SliceUNet (the book's seg_*.state)")
    net.load_state_dict(state, strict=True)
    return net.eval()
