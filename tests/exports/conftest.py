"""A small classifier and a small slice network, each exported once in every format, and copies of files to damage."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lungdet.exports.card import NetworkCard, NetworkSpec
from lungdet.exports.from_run import input_of, output_of
from lungdet.exports.image_input import image_input_of, predicting_network, with_views
from lungdet.exports.load import FORMATS, card_beside
from lungdet.exports.rebuild import describe_network, rebuild
from lungdet.exports.write import export_network

PATCH_CNN = "lungdet.nets.patch_cnn.PatchCnn"
UNIT = {"range_hu": [-1000, 400], "scale": "unit"}
HU = {"range_hu": [-1000, 1000], "scale": "hu"}


def shaken(net: nn.Module) -> nn.Module:
    """Batch norms with statistics of their own, so that leaving them out would be seen."""
    generator = torch.Generator().manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            for tensor in (module.running_mean, module.running_var, module.weight):
                assert tensor is not None
                tensor.data.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return net


def lively(net: nn.Module, *, seed: int = 0) -> nn.Module:
    """Random weights and batch norms that have seen random pictures, so that answers differ from picture to picture."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = None
    for tensor in net.parameters():
        if tensor.ndim > 1:
            tensor.data.normal_(std=1.3 * tensor[0].numel() ** -0.5, generator=generator)
    channels = int(net.in_channels)  # type: ignore[arg-type]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        net.train()(torch.rand(8, channels, 48, 48, generator=generator))
    return net.eval()


def make_card(net: nn.Module, network: NetworkSpec, crop: tuple[int, int, int], **changes: Any) -> NetworkCard:
    window, spacing = changes.pop("window", UNIT), changes.pop("spacing", [1.0, 1.0, 1.0])
    task = "segmentation" if "UNet" in network.target else "candidate_classification"
    card = NetworkCard(
        name="net",
        task=task,  # type: ignore[arg-type]
        network=network,
        input=input_of(net, crop, window=window, spacing=spacing),
        output=output_of(net, task, class_names=("non_nodule", "nodule")),  # type: ignore[arg-type]
        label_rule=None,
        training={"seed": 0},
        metrics={},
        software={},
    )
    return dataclasses.replace(card, **changes)


@pytest.fixture(scope="session")
def classifier() -> tuple[nn.Module, NetworkCard]:
    """A LunaModel whose pooling has to average: (24, 32, 32) leaves (2, 2, 2) for its (2, 3, 3) cells."""
    network = NetworkSpec(target="lungdet.nets.luna.LunaModel", arguments={"conv_channels": 2, "n_classes": 2})
    net = shaken(rebuild(network))
    return net, make_card(net, network, (24, 32, 32))


@pytest.fixture(scope="session")
def slices() -> tuple[nn.Module, NetworkCard]:
    network = NetworkSpec(
        target="lungdet.nets.unet.SliceUNet", arguments={"in_channels": 3, "depth": 2, "first_width": 3}
    )
    net = shaken(rebuild(network))
    return net, make_card(net, network, (3, 16, 20), spacing="native")


PREPARATION = {"size_hw": [40, 36], "fit": "cover", "pad": "reflect", "dark_frame": None}


def make_image_card(net: nn.Module, model: dict[str, Any], **changes: Any) -> NetworkCard:
    """The card of a network for pictures, from a `model` node as a run has it."""
    network = predicting_network(model)
    card = NetworkCard(
        name="net",
        task="image_classification",
        network=network,
        input=image_input_of(
            net, PREPARATION, views=model.get("views"), center_crop=network.arguments.get("center_crop")
        ),
        output=output_of(net, "image_classification", class_names=("normal", "pneumonia")),
        label_rule=None,
        training={"seed": 0},
        metrics={},
        software={},
    )
    return dataclasses.replace(card, **changes)


@pytest.fixture(scope="session")
def pictures() -> tuple[nn.Module, NetworkCard]:
    """A network for grey pictures of 40 x 36, which it resizes, asked about their middle and its mirror image."""
    net_node = {"_target_": PATCH_CNN, "in_channels": 1, "resize_hw": [48, 28]}
    model = {"net": net_node, "views": "flip", "center_crop": 0.9}
    net = lively(rebuild(describe_network(net_node)))
    return with_views(net, model), make_image_card(net, model)


@pytest.fixture(scope="session")
def exported(
    classifier: tuple[nn.Module, NetworkCard], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """`exported("onnx")`: the classifier's file, with the card beside it. Not to be changed."""
    folder = tmp_path_factory.mktemp("exported")
    files = dict(zip(FORMATS, export_network(*classifier, folder, formats=list(FORMATS)), strict=False))
    return lambda name: files[name]


@pytest.fixture
def copied(exported: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """The same in a folder of the test's own."""

    def copy(name: str) -> Path:
        path = shutil.copy(exported(name), tmp_path)
        shutil.copy(card_beside(exported(name)), tmp_path)
        return Path(path)

    return copy


Replace = Callable[[Path, bytes, str], Path]
Records = dict[str, bytes]


@pytest.fixture
def write_with_hash() -> Replace:
    """Replace a file by content that its card agrees with: what somebody does who can write both."""

    def write(path: Path, content: bytes, name: str) -> Path:
        path.write_bytes(content)
        card = json.loads(card_beside(path).read_text())
        card["files"][name]["sha256"] = hashlib.sha256(content).hexdigest()
        card_beside(path).write_text(json.dumps(card))
        return path

    return write


@pytest.fixture
def repack(write_with_hash: Replace) -> Callable[[Path, str, Callable[[Records], None]], Path]:
    """Change the records of a PyTorch archive, which its card then agrees with."""

    def change_records(path: Path, name: str, change: Callable[[Records], None]) -> Path:
        reader = torch._C.PyTorchFileReader(io.BytesIO(path.read_bytes()))
        own = (".data/", "byteorder", ".format_version", ".storage_alignment", "version")
        records = {n: reader.get_record(n) for n in reader.get_all_records() if not n.startswith(own)}
        change(records)
        buffer = io.BytesIO()
        writer = torch._C.PyTorchFileWriter(buffer)
        if "archive_format" in records:
            writer.set_min_version(6)  # as torch.export does: its version record has another name
        for record_name, record in records.items():
            writer.write_record(record_name, record, len(record))
        writer.write_end_of_file()
        return write_with_hash(path, buffer.getvalue(), name)

    return change_records
