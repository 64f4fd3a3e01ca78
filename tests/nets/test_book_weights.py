from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from lungdet.errors import RunError, ShapeError
from lungdet.nets.book_weights import load_book_classifier
from lungdet.nets.luna import LunaModel

State = dict[str, Tensor]


def functional_luna(state: State, x: Tensor) -> Tensor:
    """The network written a second time, from the description in the book, without modules."""
    norm = "tail_batchnorm."
    x = (x - state[norm + "running_mean"]) / torch.sqrt(state[norm + "running_var"] + 1e-5)
    x = x * state[norm + "weight"] + state[norm + "bias"]
    for block in ("block1.", "block2.", "block3.", "block4."):
        for conv in ("conv1.", "conv2."):
            x = F.conv3d(x, state[block + conv + "weight"], state[block + conv + "bias"], padding=1).clamp(min=0)
        x = x.unfold(2, 2, 2).unfold(3, 2, 2).unfold(4, 2, 2).amax(dim=(-1, -2, -3))
    return x.reshape(len(x), -1) @ state["head_linear.weight"].T + state["head_linear.bias"]


def write(path: Path, change: Callable[[State], object]) -> Path:
    state = LunaModel().state_dict()
    change(state)
    torch.save({"model_state": dict(state), "epoch": 1}, path)
    return path


def test_round_trip_of_our_own_weights_gives_the_functional_answer(tmp_path: Path) -> None:
    torch.manual_seed(0)
    path = write(tmp_path / "cls.state", lambda state: state["tail_batchnorm.running_mean"].fill_(-600))
    net = load_book_classifier(path)
    assert not net.training
    x = torch.randn(2, 1, 32, 48, 48) * 300 - 600
    with torch.no_grad():
        torch.testing.assert_close(net(x), functional_luna(net.state_dict(), x), atol=2e-2, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        (lambda s: s.pop("block2.conv1.bias"), RunError, r"1 missing \['block2\.conv1\.bias'\], 0 unknown"),
        (lambda s: s.update(extra=torch.ones(1)), RunError, r"0 missing \[\], 1 unknown \['extra'\]"),
        (lambda s: s.update({"unet.last.bias": torch.ones(1)}), RunError, r"segmentation network.*cls_\*\.state"),
        (
            lambda s: s.update({"head_linear.weight": torch.ones(2, 100)}),
            ShapeError,
            r"head_linear\.weight has shape \(2, 100\), LunaModel .* needs \(2, 1152\)",
        ),
        (lambda s: s["head_linear.bias"].fill_(float("nan")), RunError, r"head_linear\.bias has NaN"),
    ],
)
def test_a_wrong_file_says_what_is_wrong(
    tmp_path: Path, change: Callable[[State], object], error: type[Exception], message: str
) -> None:
    path = write(tmp_path / "cls_wrong.state", change)
    with pytest.raises(error, match=message):
        load_book_classifier(path)


def test_a_file_without_model_state_lists_what_it_has(tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "other.ckpt")
    with pytest.raises(RunError, match=r"no 'model_state', only \['epoch', 'state_dict'\]"):
        load_book_classifier(tmp_path / "other.ckpt")


@pytest.mark.realdata
def test_the_books_file_loads_strictly_and_gives_the_functional_answer(realdata: Path) -> None:
    (path,) = sorted((realdata / "book_weights").glob("cls_*.state"))
    net = load_book_classifier(path)
    state = torch.load(path, map_location="cpu", weights_only=True)["model_state"]
    assert {name: tuple(t.shape) for name, t in net.state_dict().items()} == {
        n: tuple(t.shape) for n, t in state.items()
    }
    generator = torch.Generator().manual_seed(7)
    hu = (torch.rand(3, 1, 32, 48, 48, generator=generator, dtype=torch.float64) * 1400 - 1000).clamp(-1000, 1000)
    state64 = {name: tensor.double() for name, tensor in state.items()}
    with torch.no_grad():
        logits = net.double()(hu)  # float64 up to the float32 head, so that the comparison is not about rounding
        expected = functional_luna(state64, hu)
    scale = expected.abs().max()
    assert ((logits - expected).abs() / scale).max() < 1e-6
    assert torch.softmax(logits, 1)[:, 1].std() > 0  # three different noise crops, three different answers


@pytest.mark.realdata
def test_the_books_segmenter_is_refused(realdata: Path) -> None:
    (path,) = sorted((realdata / "book_weights").glob("seg_*.state"))
    with pytest.raises(RunError, match="segmentation network"):
        load_book_classifier(path)
