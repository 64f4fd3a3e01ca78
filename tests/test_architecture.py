"""Who may import whom: the rooms of src/lungdet are parsed, not imported; a forbidden line fails by file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "lungdet"
FILES = sorted(SRC.rglob("*.py"))

# Every room may use geometry and errors and itself; the rest is listed here.
ALLOWED_ROOMS: dict[str, set[str]] = {
    "geometry": set(),
    "errors": set(),
    "io": set(),
    "store": {"io"},
    "data": {"io", "store"},
    "nets": set(),
    "losses": set(),
    "metrics": set(),
    "tasks": {"nets", "losses", "metrics", "data.sample"},
    "explain": {"nets", "pipeline.threads"},
    "evaluation": {"metrics"},
    "explanations": {"explain", "evaluation"},
    "comparison": {"evaluation", "metrics"},
    "sweeps": {"evaluation"},
    "exploration": {"evaluation", "metrics", "io", "store"},
    "pipeline": {"io", "store", "tasks", "nets", "metrics"},
    "outputs": {"io", "pipeline", "evaluation"},
    "exports": {"nets", "io", "store"},
    "training": {"data", "store", "tasks", "metrics", "evaluation"},
    # Measures every other room, as their users call them.
    "bench": {
        "store",
        "io",
        "data",
        "explain",
        "nets",
        "losses",
        "metrics",
        "tasks",
        "training",
        "evaluation",
        "pipeline",
    },
    "executors": {"store.processes"},
    "config": set(),
}

# Third-party walls: package -> the rooms (or files) that may import it.
WALLS: dict[str, set[str]] = {
    "SimpleITK": {"io", "bench"},  # the baselines that benchmarks compare with
    "pydicom": {"io", "outputs"},
    "highdicom": {"outputs"},
    "zarr": {"store", "bench"},
    "numcodecs": {"store"},
    "obstore": {"store", "bench"},
    "moto": {"bench"},
    "dask": {"executors", "bench"},
    "distributed": {"executors", "bench"},
    "pytorch_lightning": {"data", "tasks", "training", "config", "cli", "bench"},
    "hydra": {"config", "cli"},
    "omegaconf": {"config", "cli"},
    "torch": {
        "bench",
        "data",
        "nets",
        "losses",
        "metrics",
        "tasks",
        "explain",
        "explanations",
        "pipeline",
        "exports",
        "training",
        "config",
        "cli",
    },
}


def module_name(path: Path) -> str:
    parts = path.relative_to(SRC).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def within(name: str, prefixes: set[str]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_room_imports_only_what_the_plan_allows(path: Path) -> None:
    name = module_name(path)
    room = name.split(".")[0]
    if room in {"cli", "", "__main__"}:  # cli may import anything
        return
    assert room in ALLOWED_ROOMS, f"{path}: room '{room}' is not in the plan"
    allowed = ALLOWED_ROOMS[room] | {"geometry", "errors", room}
    for line, target in imports(path):
        if target == "lungdet" or not target.startswith("lungdet."):
            continue
        inner = target.removeprefix("lungdet.")
        if inner == "__version__" or any(a.startswith(inner + ".") for a in allowed):
            continue
        assert within(inner, allowed), f"{path}:{line}: {room} must not import lungdet.{inner}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_third_party_walls(path: Path) -> None:
    name = module_name(path)
    for line, target in imports(path):
        package = target.split(".")[0]
        if package in WALLS:
            assert within(name, WALLS[package]), f"{path}:{line}: {package} is walled off from {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_module_says_what_it_is_for(path: Path) -> None:
    text = path.read_text()
    assert not text.strip() or ast.get_docstring(ast.parse(text)), f"{path}: no module docstring"


def test_no_room_is_named_after_nothing() -> None:
    vague = {"utils", "common", "helpers", "core", "base", "misc"}
    assert not [p for p in FILES if vague & set(module_name(p).split("."))]
