"""Which steps a network becomes: what is folded, what stays, and what windows pass."""

from __future__ import annotations

import pytest
import torch
from tests.explain.networks import with_statistics
from torch import Tensor, nn

from lungdet.explain.recorded_calls import record_calls
from lungdet.explain.window_program import steps_of
from lungdet.explain.window_steps import Joined, Local, Moved, Pointwise, Step, Whole
from lungdet.nets.backbone2d import Backbone2d


def steps(*layers: nn.Module, image: Tensor | None = None) -> list[Step]:
    """Of layers in a row."""
    network = with_statistics(nn.Sequential(*layers))
    return steps_of(record_calls(network, torch.rand(1, 2, 9, 9) if image is None else image))


def test_norm_and_activation_go_into_the_convolution() -> None:
    layers = (nn.Conv2d(2, 3, 3, bias=False), nn.BatchNorm2d(3), nn.ReLU6(inplace=True))
    found = steps(*layers)
    assert [type(step) for step in found] == [Local]
    images = torch.rand(4, 2, 9, 9)
    with torch.no_grad():
        (answer,) = found[0].of_whole([images], n_images=4)
        torch.testing.assert_close(answer, nn.Sequential(*layers)(images), rtol=1e-5, atol=1e-6)


def test_a_norm_is_not_folded_into_what_something_else_takes() -> None:
    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)

        def forward(self, images: Tensor) -> Tensor:
            seen = self.convolution(images)
            return torch.cat([self.norm(seen), seen], dim=1)

    assert [type(step) for step in steps(Fork())] == [Local, Pointwise, Joined]


def test_padding_of_one_side_goes_into_the_convolution() -> None:
    (step,) = steps(nn.ZeroPad2d((0, 1, 2, 3)), nn.Conv2d(2, 1, 3, padding=1))
    assert isinstance(step, Local)
    assert (step.before, step.after) == ((3, 1), (4, 2))


def test_cells_cut_off_do_not_cancel_out_with_padding() -> None:
    layers = (nn.ZeroPad2d((-2, 3, 1, -4)), nn.Conv2d(2, 1, 3, padding=1))
    found = steps(*layers)
    images = torch.rand(2, 2, 9, 9)
    cells = images
    with torch.no_grad():
        for step in found:
            (cells,) = step.of_whole([cells], n_images=2)
        torch.testing.assert_close(cells, nn.Sequential(*layers)(images), rtol=1e-5, atol=1e-6)
    assert [type(step) for step in found] == [Local, Local]
    assert len(steps(nn.ZeroPad2d(-1), nn.Conv2d(2, 1, 3))) == 2


def test_parts_of_a_batch_stay_whole() -> None:
    class Sliced(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            answer: Tensor = torch.ops.aten.slice(images)  # along the first axis, from its start to its end
            return answer

    assert [type(step) for step in steps(Sliced())] == [Whole]


def test_other_padding_stays() -> None:
    found = steps(nn.ConstantPad2d(1, 0.5), nn.Conv2d(2, 1, 3))
    assert [type(step) for step in found] == [Local, Local]
    assert isinstance(found[0], Local)
    assert found[0].fill == 0.5


@pytest.mark.parametrize(
    ("layer", "kind"),
    [
        (nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), Local),
        (nn.AvgPool2d(3, 2, padding=1), Local),
        (nn.AvgPool2d(3, 2, padding=1, count_include_pad=False), Whole),  # divides by less at the border
        (nn.AvgPool2d(2, 2, ceil_mode=True), Whole),  # and here
        (nn.AdaptiveAvgPool2d(2), Whole),
        (nn.ConvTranspose2d(2, 2, 2), Whole),
        (nn.GroupNorm(1, 2), Whole),
        (nn.Softmax(dim=1), Whole),
        (nn.GELU(), Pointwise),
        (nn.PReLU(2), Whole),
        (nn.BatchNorm2d(2), Pointwise),
        (nn.Upsample(scale_factor=2, mode="bilinear"), Moved),
        (nn.ReflectionPad2d(1), Whole),
        (nn.Flatten(), Whole),
    ],
    ids=lambda value: str(value) if isinstance(value, nn.Module) else value.__name__,
)
def test_what_windows_pass(layer: nn.Module, kind: type[Step]) -> None:
    assert isinstance(steps(layer)[-1], kind)


def test_constants_that_differ_between_cells_stop_windows() -> None:
    class Scaled(nn.Module):
        def __init__(self, *shape: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.rand(shape))

        def forward(self, images: Tensor) -> Tensor:
            return images * self.scale

    assert isinstance(steps(Scaled(2, 1, 1))[0], Pointwise)
    assert isinstance(steps(Scaled(1))[0], Pointwise)
    assert isinstance(steps(Scaled(9, 9))[0], Whole)
    assert isinstance(steps(Scaled(1, 9))[0], Whole)


def test_windows_pass_an_efficientnet_lite_up_to_its_pooling() -> None:
    network = Backbone2d("tf_efficientnet_lite0", in_channels=1).eval()
    found = steps_of(record_calls(network, torch.rand(1, 1, 64, 64)))
    # 49 convolutions and 9 sums, the normalisation (subtract, divide) as one, and the head.
    assert [type(step) for step in found[-3:]] == [Whole] * 3
    assert sum(isinstance(step, Local) for step in found) == 49
    assert sum(isinstance(step, Joined) for step in found) == 9
    assert len(found) == 49 + 9 + 1 + 3
