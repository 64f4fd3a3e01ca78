from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from lungdet.errors import MissingFileError, RunError, ShapeError
from lungdet.nets.book_segmenter import load_book_segmenter
from lungdet.nets.unet import SliceUNet

State = dict[str, Tensor]


def write(path: Path, change: Callable[[State], object]) -> Path:
    state = dict(SliceUNet().state_dict())
    change(state)
    torch.save({"model_state": state, "epoch": 5}, path)
    return path


def test_round_trip_of_our_own_weights(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write(tmp_path / "seg.state", lambda state: state["unet.last.bias"].fill_(7.5))
    net = load_book_segmenter(path)
    assert not net.training
    assert net.unet.last.bias is not None
    assert net.unet.last.bias.item() == 7.5


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("unet.last.bias"), RunError, r"1 missing \['unet\.last\.bias'\], 0 unknown"),
        (lambda s: s.update(extra=torch.ones(1)), RunError, r"0 missing \[\], 1 unknown \['extra'\]"),
        (lambda s: s.update({"head_linear.bias": torch.ones(2)}), RunError, r"candidate classifier.*seg_\*\.state"),
        (
            lambda s: s.update({"unet.last.weight": torch.ones(2, 16, 1, 1)}),
            ShapeError,
            r"unet\.last\.weight has shape \(2, 16, 1, 1\), SliceUNet .* needs \(1, 16, 1, 1\)",
        ),
        (lambda s: s["unet.last.weight"].fill_(float("nan")), RunError, r"unet\.last\.weight has NaN"),
        (lambda s: s["input_batchnorm.running_var"].fill_(float("inf")), RunError, r"running_var has NaN or infinite"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    tmp_path: Path, change: Callable[[State], object], error: type[Exception], message: str
) -> None:
    path = write(tmp_path / "seg_wrong.state", change)
    with pytest.raises(error, match=message):
        load_book_segmenter(path)


def test_a_missing_file_and_a_foreign_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"no weights at .*seg_none\.state"):
        load_book_segmenter(tmp_path / "seg_none.state")
    (tmp_path / "notes.state").write_text("not weights")
    with pytest.raises(RunError, match=r"notes\.state cannot be read as PyTorch weights"):
        load_book_segmenter(tmp_path / "notes.state")


@pytest.mark.realdata
def test_the_books_file_loads_strictly_and_the_classifiers_is_refused(realdata: Path) -> None:
    (path,) = sorted((realdata / "book_weights").glob("seg_*.state"))
    net = load_book_segmenter(path)
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    assert all(torch.equal(tensor, state[name]) for name, tensor in net.state_dict().items())
    (classifier,) = sorted((realdata / "book_weights").glob("cls_*.state"))
    with pytest.raises(RunError, match="candidate classifier"):
        load_book_segmenter(classifier)
