from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lungdet.errors import ConfigError, RunError
from lungdet.nets.luna import LunaModel
from lungdet.pipeline.inference import (
    Mean,
    check_choice,
    device_of,
    mean_logit,
    parse_flips,
    prepare_network,
    resolve_precision,
)


class Corner(nn.Module):
    """Looks at the first voxel only, so every mirrored view answers differently."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2)[:, :, 0]


class Image(nn.Module):
    """Multiplies by a ramp along x, so that mirroring does not commute with it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.arange(x.shape[-1])


def test_views_are_averaged() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])  # [1, 1, 2, 2]: corners 1, 2 (x), 3 (y), 4 (yx)
    assert mean_logit([Corner()], image).item() == 1.0
    views = parse_flips(["", "x", "y", "yx"])
    assert mean_logit([Corner()], image, flips=views).item() == pytest.approx(2.5)


def test_probabilities_are_averaged_when_asked() -> None:
    image = torch.tensor([[[[-2.0, 3.0]]]])
    p = torch.sigmoid(torch.tensor([-2.0, 3.0])).mean()
    answer = mean_logit([Corner()], image, flips=parse_flips(["", "x"]), mean="probability")
    assert answer.item() == pytest.approx(torch.logit(p).item(), abs=1e-5)


def test_image_answers_are_mirrored_back() -> None:
    image = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    answer = mean_logit([Image()], image, flips=parse_flips(["x"]), flips_back=True)
    assert answer.tolist() == [[[2.0, 2.0, 0.0]]]  # [3, 2, 1] * [0, 1, 2] = [0, 2, 2], mirrored back


def test_z_mirrors_neighbouring_slices_without_mirroring_the_answer_back() -> None:
    class FirstSlice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:, :1]

    image = torch.arange(2 * 3 * 2 * 2).float().view(2, 3, 2, 2)
    answer = mean_logit([FirstSlice()], image, flips=parse_flips(["z"]), flips_back=True)
    assert torch.equal(answer, image[:, 2])


def test_softmax_pairs_and_ensembles() -> None:
    class Pair(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.tensor([[1.0, 4.0]]).expand(len(x), 2)

    class Single(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.full((len(x), 1), 5.0)

    assert mean_logit([Pair(), Single()], torch.zeros(2, 1, 1, 1)).tolist() == [4.0, 4.0]


def test_bf16_runs_under_autocast_and_answers_in_float32() -> None:
    torch.manual_seed(0)
    net = LunaModel().eval()
    image = torch.randn(2, 1, 16, 16, 16)
    with torch.inference_mode():
        exact, rounded = (mean_logit([net], image, precision=p) for p in ("fp32", "bf16"))
    assert rounded.dtype == torch.float32
    assert not torch.equal(exact, rounded)
    torch.testing.assert_close(exact, rounded, atol=0.05, rtol=0.05)


def test_auto_precision_is_bf16_only_where_the_processor_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    cpu = torch.device("cpu")
    assert resolve_precision("fp32", cpu) == "fp32"
    assert resolve_precision("bf16", cpu) == "bf16"
    monkeypatch.setattr("lungdet.pipeline.inference._CPU_CHECKS", ("no_such_check",))
    assert resolve_precision("auto", cpu) == "fp32"
    monkeypatch.setattr(torch.cpu, "no_such_check", lambda: True, raising=False)
    assert resolve_precision("auto", cpu) == "bf16"
    assert resolve_precision("auto", torch.device("meta")) == "fp32"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda *, including_emulation: including_emulation)
    assert resolve_precision("auto", torch.device("cuda")) == "fp32"


@pytest.mark.parametrize(
    "flips", [[], ["", "xy", "yx"], ["w"], ["", ""]], ids=["none", "same view twice", "no such axis", "twice"]
)
def test_bad_views_are_refused(flips: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"flips=.*different views made of the axes z, y, x"):
        parse_flips(flips)


def test_damaged_weights_are_refused_by_name() -> None:
    net = LunaModel()
    assert prepare_network(net.train(), "nodule") is net
    assert not net.training
    with torch.no_grad():
        net.state_dict()["block2.conv1.bias"][3] = float("nan")
    with pytest.raises(RunError, match=r"nodule network LunaModel has NaN or infinite numbers in block2\.conv1\.bias"):
        prepare_network(net, "nodule")
    net = LunaModel()
    assert net.tail_batchnorm.running_var is not None
    net.tail_batchnorm.running_var.fill_(float("inf"))
    with pytest.raises(RunError, match=r"tail_batchnorm\.running_var"):
        prepare_network(net, "nodule")


def test_choices_and_devices() -> None:
    with pytest.raises(ConfigError, match="mean='median': allowed are 'logit', 'probability'"):
        check_choice("mean", "median", Mean)
    assert device_of(nn.ReLU()) == torch.device("cpu")
    assert device_of(nn.Linear(1, 1, device="meta")) == torch.device("meta")
