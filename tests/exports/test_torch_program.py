"""Programs that would run code when PyTorch loads them are refused before it does."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lungdet.errors import RunError
from lungdet.exports import torch_program
from lungdet.exports.card import NetworkCard
from lungdet.exports.load import load_exported

Copied = Callable[[str], Path]
Replace = Callable[[Path, bytes, str], Path]
Records = dict[str, bytes]
Repack = Callable[[Path, str, Callable[[Records], None]], Path]
LoadChanged = Callable[[Callable[[Records], None]], None]
Net = tuple[nn.Module, NetworkCard]
PROGRAM = "models/model.json"


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


@pytest.fixture
def load_changed(copied: Copied, repack: Repack) -> LoadChanged:
    def load(change: Callable[[Records], None]) -> None:
        load_exported(repack(copied("torch_export"), "torch_export", change))

    return load


def test_an_unchanged_archive_passes_the_repacking_of_these_tests(load_changed: LoadChanged) -> None:
    load_changed(lambda records: None)


def test_pickled_sample_inputs(copied: Copied, repack: Repack, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save((Touch(tmp_path / "ran"),), buffer)

    def change(records: Records) -> None:
        records["data/sample_inputs/model.pt"] = buffer.getvalue()

    path = repack(copied("torch_export"), "torch_export", change)
    with pytest.raises(RunError, match="pickled sample inputs; nothing of it was run"):
        load_exported(path)
    assert not (tmp_path / "ran").exists()
    torch.export.load(path)  # what we keep from happening
    assert (tmp_path / "ran").exists()


def test_pickled_weights(load_changed: LoadChanged) -> None:
    def change(records: Records) -> None:
        name = "data/weights/model_weights_config.json"
        config = json.loads(records[name])
        config["config"]["net.head_linear.bias"]["use_pickle"] = True
        records[name] = json.dumps(config).encode()

    with pytest.raises(RunError, match=r"pickled data for 'net.head_linear.bias'"):
        load_changed(change)


def test_opaque_constants(load_changed: LoadChanged) -> None:
    def change(records: Records) -> None:
        entry = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": False, "tensor_meta": None}
        records["data/constants/model_constants_config.json"] = json.dumps({"config": {"c": entry}}).encode()

    with pytest.raises(RunError, match="pickled data for 'c'"):
        load_changed(change)


@pytest.mark.parametrize("name", ["data/aotinductor/model/a.so", "data/weights/model.pt", "models/other.json"])
def test_foreign_records(name: str, load_changed: LoadChanged) -> None:
    with pytest.raises(RunError, match="which may carry code; nothing of it was run"):
        load_changed(lambda records: records.update({name: b"x"}))


def with_program(change: Callable[[dict[str, Any]], None]) -> Callable[[Records], None]:
    def apply(records: Records) -> None:
        program = json.loads(records[PROGRAM])
        change(program)
        records[PROGRAM] = json.dumps(program).encode()

    return apply


@pytest.mark.parametrize(
    "target",
    ["torch.hub.load", "torch.ops.aten.from_file.default", "torch.ops.image.write_file.default", "torch.load"],
)
def test_foreign_operators(target: str, load_changed: LoadChanged) -> None:
    def change(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(RunError, match="which is no operator of a network known here; nothing of it was run"):
        load_changed(with_program(change))


def test_code_in_a_shape(load_changed: LoadChanged, tmp_path: Path) -> None:
    def change(program: dict[str, Any]) -> None:
        text = json.dumps(program).replace("Symbol('s", f"__import__('os').mkdir('{tmp_path}/ran') or Symbol('s")
        program.clear()
        program.update(json.loads(text))

    with pytest.raises(RunError, match="more than arithmetic; nothing was run"):
        load_changed(with_program(change))
    assert not (tmp_path / "ran").exists()


def test_code_in_a_range(load_changed: LoadChanged) -> None:
    def change(program: dict[str, Any]) -> None:
        program["range_constraints"]["__import__('os')"] = {"min_val": 0, "max_val": None}

    with pytest.raises(RunError, match="more than arithmetic"):
        load_changed(with_program(change))


def test_guards_are_never_compiled(copied: Copied, repack: Repack, tmp_path: Path) -> None:
    def change(program: dict[str, Any]) -> None:
        program["guards_code"] = [f"__import__('os').mkdir('{tmp_path}/ran') is None"]

    path = repack(copied("torch_export"), "torch_export", with_program(change))
    load_exported(path).net(torch.zeros(1, 1, 24, 32, 32))
    assert not (tmp_path / "ran").exists()


def test_foreign_types_of_inputs(load_changed: LoadChanged) -> None:
    def change(program: dict[str, Any]) -> None:
        signature = program["graph_module"]["module_call_graph"][0]["signature"]
        signature["in_spec"] = signature["in_spec"].replace("builtins.dict", "collections.defaultdict")

    with pytest.raises(RunError, match=r"takes or returns a 'collections.defaultdict'"):
        load_changed(with_program(change))


def test_nan_weights(load_changed: LoadChanged) -> None:
    def change(records: Records) -> None:
        config = json.loads(records["data/weights/model_weights_config.json"])["config"]["net.head_linear.bias"]
        name = f"data/weights/{config['path_name']}"
        records[name] = b"\x00\x00\xc0\x7f" + records[name][4:]

    with pytest.raises(RunError, match=r"head_linear.bias has NaN or infinite weights"):
        load_changed(change)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_other_files(content: bytes, copied: Copied, write_with_hash: Replace) -> None:
    with pytest.raises(RunError, match=r"cannot be read as a torch.export program"):
        load_exported(write_with_hash(copied("torch_export"), content, "torch_export"))


def test_a_network_that_cannot_be_traced(classifier: Net, tmp_path: Path) -> None:
    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(RunError, match=r"cannot be exported as a graph; use formats=\[safetensors\]"):
        torch_program.write(Undecided(), classifier[1], tmp_path / "a.pt2")


def test_weights_may_move_to_another_device(copied: Copied) -> None:
    """What PyTorch writes into a graph with a float32 head insists on the CPU."""
    graph = load_exported(copied("torch_export")).net.get_submodule("graph")
    targets = [str(n.target) for m in graph.modules() if isinstance(m, torch.fx.GraphModule) for n in m.graph.nodes]
    assert "aten.linear.default" in targets
    assert not [target for target in targets if "assert" in target]
