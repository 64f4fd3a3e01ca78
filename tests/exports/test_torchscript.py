"""TorchScript that does more than a traced network is refused before it is loaded."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lungdet.errors import RunError
from lungdet.exports.load import load_exported

Copied = Callable[[str], Path]
Replace = Callable[[Path, bytes, str], Path]
Records = dict[str, bytes]
Repack = Callable[[Path, str, Callable[[Records], None]], Path]
LoadWith = Callable[[str, str], None]


def code_of(records: Records) -> str:
    """The file that holds the network's code; PyTorch numbers it when the process has traced that class before."""
    return next(name for name, data in records.items() if name.endswith(".py") and b"class LunaModel(" in data)


@pytest.fixture
def load_with(copied: Copied, repack: Repack) -> LoadWith:
    """Load the file with some text of its code replaced."""

    def load(old: str, new: str) -> None:
        def change(records: Records) -> None:
            name = code_of(records)
            text = records[name].decode()
            assert old in text
            records[name] = text.replace(old, new, 1).encode()

        load_exported(repack(copied("torchscript"), "torchscript", change))

    return load


def test_an_unchanged_archive_passes_the_repacking_of_these_tests(load_with: LoadWith) -> None:
    load_with("def forward", "def forward")


@pytest.mark.parametrize(
    ("new", "named"),
    [
        ("torch.from_file('a', True, 4)", "from_file"),
        ("ops.image.write_file('a', x)", "ops.image.write_file"),
        ("(x).save('a')", "x.save"),
        ("torch.save(x, 'a')", "save"),
        ("print(x)", "print"),
        ("annotate(Tensor, '/etc/passwd')", "'/etc/passwd'"),
    ],
)
def test_foreign_calls(new: str, named: str, load_with: LoadWith) -> None:
    with pytest.raises(RunError, match=f"calls .*{named}.*nothing of it was run"):
        load_with("    return", f"    _e = {new}\n    return")


def test_code_that_would_run_while_loading(load_with: LoadWith) -> None:
    with pytest.raises(RunError, match="def __setstate__"):
        load_with("def forward", "def __setstate__")


@pytest.mark.parametrize("text", ["  # type: ignore", " \\"])
def test_comments_and_escapes(text: str, load_with: LoadWith) -> None:
    with pytest.raises(RunError, match="comments or escapes"):
        load_with("\n", text + "\n")


@pytest.mark.filterwarnings("ignore:.*torch.jit.*deprecated")
def test_nan_weights(copied: Copied, write_with_hash: Replace) -> None:
    path = copied("torchscript")
    program = torch.jit.load(path)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        program.net.head_linear.bias.fill_(float("inf"))
    buffer = io.BytesIO()
    torch.jit.save(program, buffer)
    with pytest.raises(RunError, match=r"head_linear.bias has NaN or infinite weights"):
        load_exported(write_with_hash(path, buffer.getvalue(), "torchscript"))


def test_other_files(copied: Copied, write_with_hash: Replace) -> None:
    path = copied("torchscript")
    with pytest.raises(RunError, match="cannot be read as TorchScript"):
        load_exported(write_with_hash(path, b"no archive", "torchscript"))
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(1)}, buffer)
    with pytest.raises(RunError, match="cannot be read as TorchScript: there is no code in it"):
        load_exported(write_with_hash(path, buffer.getvalue(), "torchscript"))
