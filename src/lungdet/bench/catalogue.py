"""Which benchmarks there are: every module of this folder that defines `measure`. A new one is a new file."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def benchmarks() -> dict[str, str]:
    """Name -> first line of its docstring, in alphabetical order, read from the source without importing it."""
    found = {}
    for path in sorted(FOLDER.glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if any(isinstance(node, ast.FunctionDef) and node.name == "measure" for node in tree.body):
            found[path.stem] = (ast.get_docstring(tree) or "").splitlines()[0]
    return found


def load(name: str) -> Callable[..., Any]:
    """`measure(*, quick: bool, folder: Path) -> list[Row]` of a benchmark."""
    measure: Callable[..., Any] = importlib.import_module(f"lungdet.bench.{name}").measure
    return measure
