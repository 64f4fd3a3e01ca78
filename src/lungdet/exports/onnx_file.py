"""A network as ONNX, run by ONNX Runtime on the CPU. Needs `pip install "lungdet[onnx]"`."""

from __future__ import annotations

import copy
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lungdet.errors import MissingFileError, RunError
from lungdet.exports.card import NetworkCard
from lungdet.exports.frozen import FrozenNetwork
from lungdet.exports.torch_program import first_line, quiet_loggers, trace
from lungdet.nets.image_views import ViewAverage

# Our own namespace in metadata_props, so that other programs can show where a file comes from.
_PREFIX = "lungdet."


def write(net: nn.Module, card: NetworkCard, path: Path) -> None:
    """Export with an open batch axis (and open height and width for slices); weights inside the one file.

    Raises:
        MissingFileError: the onnx packages are not installed.
        RunError: a network that cannot be exported.
    """
    onnx = _package("onnx")
    _package("onnxscript")
    program = trace(as_onnx_has_it(net), card)
    try:
        with quiet_loggers("onnxscript", "onnx_ir", "torch.onnx"):
            exported = torch.onnx.export(
                program, (), dynamo=True, input_names=["image"], output_names=list(card.graph_outputs), verbose=False
            )
    except Exception as error:  # its errors have no common parent
        raise RunError(
            f"{card.network.target} cannot be exported to ONNX; leave onnx out of formats: {first_line(error)}"
        ) from error
    assert exported is not None, "the old exporter, which we do not call, returns None"
    model = exported.model_proto
    facts = {
        "task": card.task,
        "network": card.network.target,
        "card": json.dumps(
            {"input": vars(card.input), "output": vars(card.output), "second_output": card.second_output}
        ),
        "intended_use": card.intended_use,
    }
    onnx.helper.set_model_props(model, {_PREFIX + name: value for name, value in facts.items()})
    path.write_bytes(model.SerializeToString())


def load(content: bytes, card: NetworkCard, path: Path) -> FrozenNetwork:
    """Read a model. What runs: ONNX Runtime's own operators; a model holds no code and here no paths either.

    Raises:
        MissingFileError: the onnx packages are not installed.
        RunError: not an ONNX model, weights in other files, NaN or infinite weights, or another input than the card's.
    """
    onnx, runtime = _package("onnx"), _package("onnxruntime")
    try:
        model = onnx.load_model_from_string(content)
        _check_weights(model, path)
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 4  # fatal: what goes wrong is raised too
        session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except RunError:
        raise
    except Exception as error:  # protobuf's and the runtime's errors derive from Exception alone
        raise RunError(f"{path} cannot be read as ONNX: {first_line(error)}") from error
    inputs, outputs = session.get_inputs(), [output.name for output in session.get_outputs()]
    rank = 2 + len(card.input.shape)
    if len(inputs) != 1 or inputs[0].type != "tensor(float)" or len(inputs[0].shape) != rank:
        raise RunError(f"{path} does not take one float32 image of {rank} axes, as its card says; export it again")
    if outputs != list(card.graph_outputs):
        raise RunError(f"{path} gives {outputs}, its card says {list(card.graph_outputs)}; export the network again")
    return FrozenNetwork(card, _Session(session, inputs[0].name))


class _Session:
    """A hop through NumPy: tensor in, tensors out, on the device of the input."""

    def __init__(self, session: Any, input_name: str) -> None:
        self._session = session
        self._input_name = input_name

    def __call__(self, x: Tensor) -> tuple[Tensor, ...]:
        image = np.ascontiguousarray(x.detach().cpu().numpy())
        answers = self._session.run(None, {self._input_name: image})
        return tuple(torch.from_numpy(answer).to(x.device) for answer in answers)

    def __deepcopy__(self, memo: dict[int, Any]) -> _Session:
        return self  # holds no state that changes, and a session cannot be copied


class BinMean(nn.Module):
    """`nn.AdaptiveAvgPool3d` by slices and means, which ONNX has; it has no adaptive pooling to more than one cell."""

    def __init__(self, size_zyx: tuple[int | None, ...]) -> None:
        super().__init__()
        self.size_zyx = size_zyx

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, D, H, W] -> [B, C, *size_zyx]; each cell is the mean over its bins, axis by axis."""
        for axis, wanted in enumerate(self.size_zyx, start=2):
            size = int(x.shape[axis])
            cells = size if wanted is None else wanted
            if cells != size:
                bins = [(i * size // cells, -(-(i + 1) * size // cells)) for i in range(cells)]
                means = [x.narrow(axis, low, high - low).mean(axis, keepdim=True) for low, high in bins]
                x = torch.cat(means, dim=axis)
        return x


class ViewsInOneBatch(ViewAverage):
    """`ViewAverage` that asks its network once about all views, one behind the other in the batch.

    Unrolled, the eight views of tf_efficientnet_lite0 are a graph of two thousand operators, and writing it takes over
    a minute. Views of a picture that is not square differ in shape where it is turned; they stay apart.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Float [B, C, H, W] -> float32 [B, n], the mean over the views."""
        views = self.views_of(x)
        if len({tuple(view.shape[2:]) for view in views}) > 1:
            return super().forward(x)
        answers: Tensor = self.net(torch.cat(views))
        return answers.reshape(len(views), -1, answers.shape[1]).mean(dim=0)


def as_onnx_has_it(net: nn.Module) -> nn.Module:
    """A copy of `net`: `BinMean` for adaptive 3-D average poolings, `ViewsInOneBatch` for averages over views."""
    net = copy.deepcopy(net)
    for parent in list(net.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool3d):
                size = child.output_size
                setattr(parent, name, BinMean(tuple(size) if isinstance(size, tuple | list) else (size,) * 3))
            elif isinstance(child, ViewAverage):
                average = ViewsInOneBatch(child.net, views=child.views, center_crop=child.center_crop)
                setattr(parent, name, average)
    return net.eval()


def _check_weights(model: Any, path: Path) -> None:
    """Weights lie in the file and are finite; in a subgraph too, constants there are of the same kind."""
    onnx = _package("onnx")
    if model.functions or {node.domain for node in model.graph.node} - {"", "ai.onnx"}:
        raise RunError(f"{path} has operators of its own; only those of ONNX are run. Export the network again")
    tensors = [*model.graph.initializer]
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                tensors.append(attribute.t)
            if attribute.HasField("g") or attribute.graphs:
                raise RunError(f"{path} has branches or loops, which no exported network has; export it again")
    for tensor in tensors:
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise RunError(f"{path} keeps weights in other files; export the network again, it is one file then")
        values = onnx.numpy_helper.to_array(tensor)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise RunError(
                f"{path}: {tensor.name} has NaN or infinite weights: the file is damaged or the training diverged"
            )


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingFileError(
            f'the ONNX format needs the package {name}: pip install "lungdet[onnx]", or use the safetensors file'
        ) from error
