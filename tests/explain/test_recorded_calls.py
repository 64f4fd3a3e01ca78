"""What is recorded of a network is run again, for other images and other numbers of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.explain.networks import small_network
from torch import Tensor, nn

from lungdet.errors import RunError
from lungdet.explain.recorded_calls import PerImage, Recording, Value, record_calls
from lungdet.nets.image_views import ViewAverage


def again(recording: Recording, images: Tensor) -> Tensor:
    """Run what was recorded."""
    values: dict[int, Any] = {0: images}
    for call in recording.calls:
        found = call([values[number] for number in call.inputs], n_images=len(images))
        values.update(zip(call.results, found if isinstance(found, tuple | list) else (found,), strict=True))
    answer: Tensor = values[recording.output]
    return answer


@pytest.mark.parametrize("n_axes", [2, 3])
def test_a_recording_answers_as_the_network(n_axes: int) -> None:
    network: nn.Module = small_network(n_axes)
    if n_axes == 2:
        network = ViewAverage(network, views="dihedral", center_crop=0.9).eval()
    recording = record_calls(network, torch.rand(1, 1, *(8,) * n_axes))
    for n in (1, 4):
        images = torch.rand(n, 1, *(8,) * n_axes)
        with torch.no_grad():
            torch.testing.assert_close(again(recording, images), network(images))


def test_what_counts_images_counts_them_again() -> None:
    class Folded(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.reshape(2 * len(images), -1).sum(1).reshape(len(images), 2)

    recording = record_calls(Folded().eval(), torch.rand(1, 2, 4, 4))
    assert [call.name for call in recording.calls] == ["view", "sum", "view"]
    assert recording.calls[0].args == (Value(0), [PerImage(2, 0), -1])
    images = torch.rand(5, 2, 4, 4)
    torch.testing.assert_close(again(recording, images), images.sum((2, 3)))


def test_operations_in_place_leave_values_alone() -> None:
    class InPlace(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            doubled = images * 2
            doubled.sub_(1).relu_()
            return doubled.flatten(1).sum(1, keepdim=True)

    recording = record_calls(InPlace().eval(), torch.rand(1, 1, 3, 3))
    assert [call.name for call in recording.calls][:3] == ["mul", "sub", "relu"]
    images = torch.rand(4, 1, 3, 3)
    kept = images.clone()
    torch.testing.assert_close(again(recording, images), (images * 2 - 1).relu().sum((1, 2, 3))[:, None])
    assert torch.equal(images, kept)


def test_operators_that_end_in_underscores_are_not_in_place() -> None:
    class Bits(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            numbers = (images.flatten(1) * 8).int()
            return (numbers.__and__(numbers.view(-1, 9).sum(1, keepdim=True)) >> 1).float()

    images = torch.rand(4, 1, 3, 3)
    assert torch.equal(again(record_calls(Bits().eval(), images[:1]), images), Bits()(images))


class Refused(nn.Module):
    """Does what `how` says."""

    constant: Tensor

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.seen: list[int] = []
        self.register_buffer("constant", torch.zeros(1))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, images: Tensor) -> Any:
        self.seen.append(len(images))
        flat = images.flatten(1)
        if self.how == "branch":
            return flat if bool(flat.sum() > 0) else -flat
        if self.how == "change a view":
            doubled = images * 2
            flat = doubled.flatten(1)
            doubled.relu_()
            return flat
        if self.how == "change a constant":
            self.constant.add_(1)
            return flat + self.constant
        if self.how == "write into a constant":
            room = torch.zeros(images.shape)
            room[:, :, 1:] = images[:, :, 1:]
            return room.flatten(1) + flat
        if self.how == "other constants":
            return flat + torch.arange(len(images)).view(-1, 1)
        if self.how == "state of a layer":
            rows = images[:, 0]
            return self.attention(rows, rows, rows, need_weights=False)[0]
        if self.how == "no tensor":
            return [flat]
        return flat if len(self.seen) == 1 else flat * 2


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("branch", "depends on the values"),
        ("write into a constant", "changes a constant"),
        ("state of a layer", "something else than tensors"),
        ("change a view", "something else may look at"),
        ("change a constant", "changes a constant"),
        ("other constants", "depend on the number of images"),
        ("no tensor", "does not answer with a tensor"),
        ("moody", "something else with a batch of 2"),
    ],
)
def test_what_cannot_be_repeated_is_refused(how: str, message: str) -> None:
    with pytest.raises(RunError, match=message):
        record_calls(Refused(how).eval(), torch.rand(1, 1, 4, 4))
