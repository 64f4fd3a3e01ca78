"""Each format gives the trained network's outputs; files that are not what their card says are refused."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from lungdet.errors import MissingFileError, RunError, ShapeError
from lungdet.exports.card import NetworkCard
from lungdet.exports.load import FORMATS, card_beside, is_exported, load_exported
from lungdet.exports.write import export_network
from lungdet.pipeline.classify import CandidateClassifier
from lungdet.pipeline.crops import CropInput
from lungdet.pipeline.inference import mean_logit, prepare_network

Exported = Callable[[str], Path]
Net = tuple[nn.Module, NetworkCard]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("batch_size", [1, 3])
def test_outputs_are_those_of_the_trained_network(
    name: str, batch_size: int, exported: Exported, classifier: Net
) -> None:
    net = load_exported(exported(name)).net
    image = torch.rand(batch_size, 1, 24, 32, 32, generator=torch.Generator().manual_seed(9))
    with torch.inference_mode():
        expected = classifier[0](image)
        assert expected.abs().max() > 0.01
        assert torch.allclose(net(image), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", FORMATS)
def test_the_pipeline_takes_it(name: str, exported: Exported, classifier: Net) -> None:
    loaded = load_exported(exported(name))
    spec = loaded.card.ct_input
    contract = CropInput(
        shape_zyx=spec.crop_zyx_vox, spacing_zyx_mm=spec.spacing_zyx_mm, window_hu=spec.window_hu, scale=spec.scale
    )
    CandidateClassifier(nets=(loaded.net,), contract=contract)
    image = torch.rand(2, 1, 24, 32, 32)
    with torch.inference_mode():
        given = mean_logit((loaded.net,), image, flips=((), (-1,)))
        assert torch.allclose(given, mean_logit((classifier[0],), image, flips=((), (-1,))), atol=1e-5)
    if name != "safetensors":
        with pytest.raises(ShapeError, match="exactly"):
            CandidateClassifier(nets=(loaded.net,), contract=CropInput(shape_zyx=(32, 48, 48)))


def test_slices_of_any_size_in_every_format(slices: Net, tmp_path: Path) -> None:
    net, card = slices
    files = export_network(net, card, tmp_path, formats=list(FORMATS))
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in files}
    image = torch.rand(2, 3, 12, 40)
    with torch.inference_mode():
        expected = net(image)
        for path in files[:-1]:
            loaded = load_exported(path)
            prepare_network(loaded.net, path.name)
            assert getattr(loaded.net, "in_channels", None) == 3, path.name
            assert getattr(loaded.net, "divisor", None) == 2, path.name
            assert torch.allclose(loaded.net(image), expected, atol=1e-5, rtol=0), path.name


@pytest.mark.parametrize("name", FORMATS)
def test_a_copy_in_another_memory_format_answers_the_same(name: str, exported: Exported) -> None:
    net = load_exported(exported(name)).net
    other = copy.deepcopy(net).to(memory_format=torch.channels_last_3d)
    image = torch.rand(1, 1, 24, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(other(image), net(image), atol=1e-5)


@pytest.mark.parametrize("name", FORMATS)
def test_a_truncated_or_changed_file(name: str, copied: Exported) -> None:
    path = copied(name)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(RunError, match=f"is not the file that net.json describes .{len(content)} bytes"):
        load_exported(path)
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    with pytest.raises(RunError, match="damaged or belongs to another export"):
        load_exported(path)


def test_what_is_missing_is_said(copied: Exported, tmp_path: Path) -> None:
    path = copied("safetensors")
    with pytest.raises(MissingFileError, match="no network at"):
        load_exported(tmp_path / "absent.onnx")
    with pytest.raises(RunError, match=r"allowed are .safetensors, .onnx, .pt2, .ts.pt"):
        load_exported(tmp_path / "net.pth")
    card = json.loads(card_beside(path).read_text())
    del card["files"]["safetensors"]
    card_beside(path).write_text(json.dumps(card))
    with pytest.raises(RunError, match=r"is the card of \['onnx', .*export again with safetensors"):
        load_exported(path)
    card_beside(path).unlink()
    with pytest.raises(MissingFileError, match="no card at"):
        load_exported(path)


def test_names() -> None:
    assert is_exported(Path("a.ts.pt"))
    assert is_exported(Path("run-1.pt2"))
    assert not is_exported(Path("a.pt"))
    assert not is_exported(Path("a.state"))
    assert card_beside(Path("x/a.b.ts.pt")) == Path("x/a.b.json")
