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

TESTS = Path(__file__).parent

# Modules without a test file of their own -> the file whose subject they are, or why there is nothing to test.
NOT_MIRRORED: dict[str, str] = {
    "bench/baselines/book_detect.py": "pipeline/test_book.py",  # the answers to which the pipeline is held
    "bench/drawn/candidates.py": "bench/test_loader.py",
    "bench/drawn/networks.py": "bench/test_detect.py",
    "bench/drawn/results.py": "bench/test_evaluation.py",
    "bench/training_loops.py": "bench/test_training.py",
    "data/sample.py": "records only",
    "evaluation/size_results.py": "records only",
    "executors/outcome.py": "records only",
    "store/image_writer.py": "store/test_image_store.py",  # what is written is read back
    "store/remote_shard.py": "store/test_remote_store.py",
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


def test_each_module_has_a_test_file_of_its_own() -> None:
    modules = {path.relative_to(SRC).as_posix() for path in FILES if not path.name.startswith("__")}
    without = {name for name in modules if not (TESTS / name).with_name(f"test_{Path(name).name}").is_file()}
    assert not without - NOT_MIRRORED.keys(), "write tests/<room>/test_<module>.py, or say in NOT_MIRRORED why not"
    assert not NOT_MIRRORED.keys() - without, "these have one by now, or are gone: take them off NOT_MIRRORED"


@pytest.mark.parametrize(("module", "reason"), NOT_MIRRORED.items())
def test_what_is_not_mirrored_is_tested_elsewhere_or_has_nothing_to_test(module: str, reason: str) -> None:
    tree = ast.parse((SRC / module).read_text())
    if reason == "records only":
        functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
        # An executor is a Protocol: its methods say what others do.
        assert all(isinstance(f.body[-1], ast.Expr) for f in functions), f"{module} computes something: test it"
    else:
        assert (TESTS / reason).is_file(), f"{module}: there is no tests/{reason}"
