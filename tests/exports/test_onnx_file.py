from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lungdet.errors import MissingFileError, RunError
from lungdet.exports.load import load_exported
from lungdet.exports.onnx_file import BinMean, as_onnx_has_it
from lungdet.nets.image_views import ViewAverage
from lungdet.nets.luna import LunaModel
from lungdet.nets.patch_cnn import PatchCnn

onnx = pytest.importorskip("onnx", reason='needs pip install "lungdet[onnx]"')
pytest.importorskip("onnxruntime", reason='needs pip install "lungdet[onnx]"')

Copied = Callable[[str], Path]
Replace = Callable[[Path, bytes, str], Path]
LoadChanged = Callable[[Callable[[Any], None]], None]


@pytest.fixture
def load_changed(copied: Copied, write_with_hash: Replace) -> LoadChanged:
    def load(change: Callable[[Any], None]) -> None:
        path = copied("onnx")
        model = onnx.load(path)
        change(model)
        load_exported(write_with_hash(path, model.SerializeToString(), "onnx"))

    return load


@pytest.mark.parametrize("size", [(2, 3, 3), (1, 1, 1), (5, 7, 4), (9, 11, 13), (None, 2, None)])
def test_bins_are_those_of_adaptive_pooling(size: tuple[int | None, ...]) -> None:
    x = torch.randn(2, 3, 5, 7, 9)
    expected = nn.AdaptiveAvgPool3d(size)(x)
    assert torch.allclose(BinMean(size)(x), expected, atol=1e-6)


def test_the_given_network_is_left_alone() -> None:
    net = LunaModel(conv_channels=2)
    assert isinstance(as_onnx_has_it(net).get_submodule("pool"), BinMean)
    assert isinstance(net.pool, nn.AdaptiveAvgPool3d)


@pytest.mark.parametrize("shape", [(24, 24), (24, 32)])
def test_views_are_one_batch_where_they_have_one_shape(shape: tuple[int, int]) -> None:
    """Turned, a picture that is not square has another shape; then its views are asked one by one."""
    net = PatchCnn(in_channels=1).eval()
    asked = []
    average = ViewAverage(net, views="dihedral", center_crop=1.0).eval()
    plain = as_onnx_has_it(nn.Sequential(average))
    inner = plain.get_submodule("0.net")
    inner.register_forward_hook(lambda module, given, answer: asked.append(len(given[0])))
    image = torch.rand(3, 1, *shape)
    with torch.inference_mode():
        assert torch.allclose(plain(image), average(image), atol=1e-6)
    assert asked == ([24] if shape == (24, 24) else [3] * 8)


def test_the_file_says_what_it_is(exported: Callable[[str], Path]) -> None:
    model = onnx.load(exported("onnx"))
    props = {p.key: p.value for p in model.metadata_props}
    assert props["lungdet.task"] == "candidate_classification"
    assert json.loads(props["lungdet.card"])["input"]["crop_zyx_vox"] == [24, 32, 32]
    batch = model.graph.input[0].type.tensor_type.shape.dim[0]
    assert batch.dim_param
    assert not batch.dim_value


def test_nan_weights(load_changed: LoadChanged) -> None:
    def change(model: Any) -> None:
        tensor = next(t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT and len(t.dims) > 1)
        values = np.full(tuple(tensor.dims), np.nan, dtype=np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))

    with pytest.raises(RunError, match="has NaN or infinite weights"):
        load_changed(change)


def test_weights_in_other_files(load_changed: LoadChanged) -> None:
    def change(model: Any) -> None:
        tensor = model.graph.initializer[0]
        tensor.ClearField("raw_data")
        tensor.data_location = onnx.TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")

    with pytest.raises(RunError, match="keeps weights in other files"):
        load_changed(change)


def test_operators_of_other_domains(load_changed: LoadChanged) -> None:
    def change(model: Any) -> None:
        model.graph.node[0].domain = "com.microsoft"

    with pytest.raises(RunError, match="operators of its own"):
        load_changed(change)


def test_a_model_with_two_inputs(load_changed: LoadChanged) -> None:
    def change(model: Any) -> None:
        model.graph.input.add().CopyFrom(model.graph.input[0])
        model.graph.input[1].name = "other"

    with pytest.raises(RunError, match="does not take one float32 image of 5 axes"):
        load_changed(change)


def test_other_outputs_than_the_card_says(load_changed: LoadChanged) -> None:
    def change(model: Any) -> None:
        del model.graph.output[1:]

    with pytest.raises(RunError, match=r"gives \['outputs'\], its card says \['outputs', 'probability'\]"):
        load_changed(change)


def test_other_files(copied: Copied, write_with_hash: Replace) -> None:
    with pytest.raises(RunError, match="cannot be read as ONNX"):
        load_exported(write_with_hash(copied("onnx"), b"no model", "onnx"))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_packages_that_are_not_installed(package: str, copied: Copied, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingFileError, match=f'needs the package {package}: pip install "lungdet\\[onnx\\]"'):
        load_exported(copied("onnx"))
