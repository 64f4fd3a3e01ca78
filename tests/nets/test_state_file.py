from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch

from lungdet.errors import MissingFileError, RunError, ShapeError
from lungdet.nets.state_file import load_state_file, require_finite_tensors, require_layout


class RunsCode:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('executed')",))


def test_reads_a_dict_of_tensors(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "w.pt")
    assert torch.equal(load_state_file(tmp_path / "w.pt")["a"], torch.ones(2))


def test_a_missing_file_is_also_a_file_not_found_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no weights at .*nowhere\.pt"):
        load_state_file(tmp_path / "nowhere.pt")
    with pytest.raises(MissingFileError):
        load_state_file(tmp_path)  # a folder is no file either


@pytest.mark.parametrize("content", [b"", b"not a pickle at all", b"\x80\x04", b"PK\x03\x04 half a zip"])
def test_foreign_and_truncated_files_are_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "broken.state"
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"broken\.state cannot be read as PyTorch weights"):
        load_state_file(path)


def test_code_in_the_file_is_refused_not_run(tmp_path: Path) -> None:
    torch.save({"a": RunsCode()}, tmp_path / "evil.pt")
    with pytest.raises(RunError, match="cannot be read"):
        load_state_file(tmp_path / "evil.pt")
    (tmp_path / "evil.pkl").write_bytes(pickle.dumps(RunsCode()))
    with pytest.raises(RunError, match="cannot be read"):
        load_state_file(tmp_path / "evil.pkl")


def test_something_other_than_a_dict_is_named(tmp_path: Path) -> None:
    torch.save([torch.ones(1)], tmp_path / "list.pt")
    with pytest.raises(RunError, match="holds a list, not a dict"):
        load_state_file(tmp_path / "list.pt")


@pytest.mark.parametrize("state", [None, {}, {"a": 1.0}])
def test_require_finite_tensors_refuses_what_is_not_tensors(state: object) -> None:
    with pytest.raises(RunError, match=r"w\.pt does not hold a dict of tensors"):
        require_finite_tensors(state, "w.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_require_finite_tensors_names_the_bad_tensor(value: float) -> None:
    state = {"good": torch.ones(2), "steps": torch.tensor(3), "conv.bias": torch.tensor([0.0, value])}
    with pytest.raises(RunError, match=r"w\.pt: conv\.bias has NaN or infinite"):
        require_finite_tensors(state, "w.pt")
    state["conv.bias"] = torch.zeros(2)
    assert require_finite_tensors(state, "w.pt") is state


def test_require_layout_names_what_differs() -> None:
    expected = {"a": torch.ones(2, 3), "b": torch.ones(1)}
    require_layout(expected, expected, path="w.pt", net="Net")
    with pytest.raises(RunError, match=r"w\.pt does not hold the weights of Net: 1 missing \['b'\], 1 unknown \['c'\]"):
        require_layout({"a": torch.ones(2, 3), "c": torch.ones(1)}, expected, path="w.pt", net="Net")
    with pytest.raises(ShapeError, match=r"w\.pt: a has shape \(3, 2\), Net needs \(2, 3\)"):
        require_layout({"a": torch.ones(3, 2), "b": torch.ones(1)}, expected, path="w.pt", net="Net")
