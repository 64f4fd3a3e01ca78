"""No step waits for the device: every step runs on tensors of a GPU that is only pretended, where reading one fails.

PyTorch's fake tensors know shapes and devices but hold no numbers, so whatever needs a number on the host (`item`, a
condition, `nonzero`) raises; copies to the host are refused by `OnDevice`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.optim import SGD
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import SequentialSampler
from torchmetrics import Metric

from lungdet.bench.training import quiet_lightning
from lungdet.bench.training_loops import CropsInMemory, LightningPath
from lungdet.data import counter_random
from lungdet.data.augment import CropAugmentation
from lungdet.data.candidate_dataset import make_loader
from lungdet.data.intensity import Window
from lungdet.losses.classification import BinaryCrossEntropy, CrossEntropy, Focal
from lungdet.losses.segmentation import DiceCrossEntropy, DiceRecall, FocalTversky
from lungdet.nets.luna import LunaModel
from lungdet.nets.patch_cnn import PatchCnn
from lungdet.nets.resnet3d import R3d18
from lungdet.nets.unet import SliceUNet
from lungdet.tasks.candidate_classification import CandidateClassification
from lungdet.tasks.image_classification import ImageClassification
from lungdet.tasks.malignancy import MalignancyClassification
from lungdet.tasks.segmentation import Segmentation

GPU = torch.device("cuda:0")


class OnDevice(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Refuses to bring a tensor of the device to the host."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        leaves = given.get("device") is not None and torch.device(given["device"]).type == "cpu"
        if leaves and any(isinstance(a, Tensor) and a.device.type == "cuda" for a in args):
            raise AssertionError(f"{func}: the host waits for the device")
        return func(*args, **given)


@pytest.fixture
def gpu() -> Iterator[torch.device]:
    """A device that is only pretended."""
    counter_random._normal_quantiles.cache_clear()
    with FakeTensorMode(), OnDevice():  # type: ignore[no-untyped-call]
        yield GPU
    counter_random._normal_quantiles.cache_clear()


def class_batch(shape: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        "image": torch.zeros(4, *shape, device=GPU),
        "label": torch.ones(4, dtype=torch.int64, device=GPU),
        "index": torch.ones(4, dtype=torch.int64, device=GPU),
    }


def mask_batch() -> dict[str, Tensor]:
    flag = partial(torch.zeros, 4, 1, 16, 16, dtype=torch.bool, device=GPU)
    return {
        "image": torch.zeros(4, 3, 16, 16, device=GPU),
        **{name: flag() for name in ("mask", "valid", "near")},
        "index": torch.ones(4, dtype=torch.int64, device=GPU),
        "is_repeat": torch.zeros(4, dtype=torch.bool, device=GPU),
    }


def candidates(loss: Callable[[], nn.Module]) -> tuple[Any, Any]:
    task = CandidateClassification(net=LunaModel(conv_channels=2), loss=loss(), optim=partial(SGD, lr=0.1))
    return task, partial(class_batch, (1, 16, 16, 16))


def malignancy() -> tuple[Any, Any]:
    task = MalignancyClassification(net=LunaModel(conv_channels=2), loss=CrossEntropy(), optim=partial(SGD, lr=0.1))
    return task, partial(class_batch, (1, 16, 16, 16))


def video_resnet() -> tuple[Any, Any]:
    task = CandidateClassification(net=R3d18(), loss=BinaryCrossEntropy(), optim=partial(SGD, lr=0.1))
    return task, partial(class_batch, (1, 16, 16, 16))


def pictures() -> tuple[Any, Any]:
    return ImageClassification(net=PatchCnn(), loss=BinaryCrossEntropy(), optim=partial(SGD, lr=0.1)), partial(
        class_batch, (3, 32, 32)
    )


def masks(loss: Callable[[], nn.Module]) -> tuple[Any, Any]:
    net = SliceUNet(in_channels=3, depth=2, first_width=4)
    return Segmentation(net=net, loss=loss(), optim=partial(SGD, lr=0.1)), mask_batch


TASKS: dict[str, Callable[[], tuple[Any, Any]]] = {
    "cross entropy": partial(candidates, CrossEntropy),
    "focal": partial(candidates, Focal),
    "r3d_18": video_resnet,
    "malignancy": malignancy,
    "pictures": pictures,
    "dice": partial(masks, DiceCrossEntropy),
    "dice recall": partial(masks, DiceRecall),
    "tversky": partial(masks, FocalTversky),
}


def pretended(tensor: Tensor, device: torch.device) -> Tensor:
    """One of the same kind and layout on another device, without its numbers."""
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device=device)


def move(task: nn.Module, device: torch.device) -> None:
    """As `task.to(device)`, which cannot swap pretended parameters."""
    for module in task.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = nn.Parameter(pretended(parameter, device))
        for name, buffer in module._buffers.items():
            if buffer is not None:
                module._buffers[name] = pretended(buffer, device)
        if isinstance(module, Metric):
            for name, default in module._defaults.items():
                if isinstance(default, Tensor):
                    setattr(module, name, pretended(default, device))


@pytest.mark.parametrize("name", TASKS)
def test_neither_step_waits_for_the_device(name: str, request: pytest.FixtureRequest) -> None:
    task, batch_of = TASKS[name]()
    gpu = request.getfixturevalue("gpu")
    move(task, gpu)
    batch = batch_of()
    task._trainer = cast(Any, SimpleNamespace(world_size=1))
    with torch.no_grad():  # the backward pass is PyTorch's own
        for number in range(2):
            assert task.training_step(batch, number).device == gpu
        task.validation_step(batch, 0)
        rows = task.predict_step(batch, 0)
    assert {value.device for value in rows.values()} == {gpu}


def test_crops_are_augmented_and_windowed_without_waiting(gpu: torch.device) -> None:
    augmentation = CropAugmentation()
    hu = torch.zeros(4, 1, 8, 10, 12, dtype=torch.int16, device=gpu)
    n = {"contrast": torch.float32, "shift_hu": torch.float32, "noise_hu_sd": torch.float32, "noise_key": torch.int64}
    drawn = {name: torch.zeros(4, dtype=dtype, device=gpu) for name, dtype in n.items()}
    drawn["matrix"] = torch.zeros(4, 3, 4, device=gpu)
    counter_random._normal_quantiles(gpu)  # the table goes to the device once
    image = Window()(augmentation.apply(hu, cast(Any, drawn)))
    assert image.device == gpu
    assert image.shape == hu.shape


def test_what_waits_is_found_out(gpu: torch.device) -> None:
    on_device = torch.zeros(3, device=gpu)
    with pytest.raises(AssertionError, match="the host waits"):
        on_device.cpu()
    for read in (Tensor.item, bool, float):
        with pytest.raises(DataDependentOutputException):
            cast(Any, read)(on_device[0])
    for count in (torch.nonzero, torch.bincount):
        with pytest.raises(DynamicOutputShapeException):
            cast(Any, count)(on_device.int())


class HostReads(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts how often a number of a tensor was asked for."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.n: int = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def reads_of_an_epoch(n_batches: int, folder: Path) -> int:
    """With progress bar, TensorBoard and the callbacks of a run."""
    task = CandidateClassification(
        net=LunaModel(conv_channels=2), loss=CrossEntropy(), optim=partial(SGD, lr=0.1, foreach=True)
    )
    loader = make_loader(
        CropsInMemory(4 * n_batches, (16, 16, 16)), SequentialSampler(range(4 * n_batches)), batch_size=4,
        world_size=1, num_workers=0, pin_memory=False,
    )  # fmt: skip
    with HostReads() as reads, quiet_lightning():
        LightningPath(task, bf16=True, device=torch.device("cpu"), folder=folder).epoch(loader)
    n: int = reads.n
    return n


def test_a_longer_epoch_asks_the_device_no_more_often(tmp_path: Path) -> None:
    """Whatever Lightning, the progress bar and the loggers do in a step, they do without a number of the device."""
    # The first is not counted: some things are read once in a process.
    _, short, long = (reads_of_an_epoch(n, tmp_path / str(k)) for k, n in enumerate((2, 3, 12)))
    assert short == long > 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("name", TASKS)
def test_nor_on_a_real_gpu(name: str) -> None:
    """PyTorch itself says when the host waits."""
    task, batch_of = TASKS[name]()
    task.to(GPU)
    task._trainer = cast(Any, SimpleNamespace(world_size=1))
    batch, optimizer = batch_of(), task.configure_optimizers()
    for mode in ("default", "error"):  # the first step makes what later ones find
        torch.cuda.set_sync_debug_mode(mode)
        try:
            with torch.autocast("cuda", torch.bfloat16):
                loss = task.training_step(batch, 0)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            with torch.no_grad():
                task.validation_step(batch, 0)
        finally:
            torch.cuda.set_sync_debug_mode("default")
