"""Each wrong node ends in one sentence that names the path, the mistake and the near word."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest

from lungdet.config.nodes import check_nodes, locate, mismatch, near_word


class Colour(Enum):
    RED = 1


class Part:
    """Stands for a network that another node holds."""


class Machine:
    """A constructor as YAML would name it."""

    def __init__(
        self, part: Part, *, size: int, rate: float = 1.0, name: str = "x", mode: Literal["a", "b"] = "a"
    ) -> None:
        self.given = (part, size, rate, name, mode)


def open_ended(**anything: Any) -> dict[str, Any]:
    return anything


HERE = __name__


def problems(
    node: dict[str, Any], monkeypatch: pytest.MonkeyPatch, provided: Mapping[str, Sequence[str]] | None = None
) -> list[str]:
    # Test modules are not importable by name (import mode importlib), so the lookup is answered here.
    known = {"test.Machine": Machine, "test.Part": Part, "test.open_ended": open_ended}
    monkeypatch.setattr("lungdet.config.nodes.locate", lambda target: known[target])
    return list(check_nodes("model", node, provided or {}))


def test_a_complete_node_has_no_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "test.Machine", "part": {"_target_": "test.Part"}, "size": 3, "rate": 2}
    assert problems(node, monkeypatch) == []


def test_a_misspelt_key_gets_the_near_word(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "test.Machine", "part": {"_target_": "test.Part"}, "size": 3, "rat": 2}
    assert problems(node, monkeypatch) == ["model.rat: Machine has no argument 'rat'; did you mean 'rate'?"]


def test_a_misspelt_key_in_a_partial_node_is_found_too(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "test.Machine", "_partial_": True, "sise": 3}
    assert problems(node, monkeypatch) == ["model.sise: Machine has no argument 'sise'; did you mean 'size'?"]


def test_a_word_with_nothing_near_lists_what_is_allowed() -> None:
    assert near_word("zzz", ["lr", "momentum"]) == "; allowed: lr, momentum"
    assert near_word("zzz", []) == ""


def test_a_missing_argument_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "test.Machine", "part": {"_target_": "test.Part"}}
    assert problems(node, monkeypatch) == ["model.size: Machine needs 'size'; set model.size=..."]


def test_arguments_that_the_program_passes_are_not_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems({"_target_": "test.Machine"}, monkeypatch, {"model": ("part", "size")}) == []


def test_wrong_types_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"_target_": "test.Machine", "part": "resnet", "size": "big", "rate": True, "name": 3, "mode": "c"}
    assert problems(node, monkeypatch) == [
        "model.part: Machine expects a Part (a node with _target_) for 'part', got 'resnet'",
        "model.size: Machine expects a whole number for 'size', got 'big'",
        "model.rate: Machine expects a number for 'rate', got True",
        "model.name: Machine expects text for 'name', got 3",
        "model.mode: Machine expects one of 'a', 'b' for 'mode', got 'c'",
    ]


def test_nested_nodes_and_lists_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    node = {"parts": [{"_target_": "test.Part"}, {"_target_": "test.Part", "x": 1}]}
    assert problems(node, monkeypatch) == ["model.parts[1].x: Part has no argument 'x'"]


def test_a_function_with_open_arguments_takes_any_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert problems({"_target_": "test.open_ended", "whatever": 1}, monkeypatch) == []


def test_a_target_that_does_not_exist_is_a_problem_of_its_path() -> None:
    found = list(check_nodes("optim", {"_target_": "torch.optim.AdamV"}, {}))
    assert found == [
        "optim._target_: 'torch.optim.AdamV' does not exist: torch.optim has no 'AdamV'; did you mean 'Adam'?"
    ]


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nosuchpackage.Thing", "no package 'nosuchpackage'"),
        ("lungdet.errors.Nothing_", "lungdet.errors has no 'Nothing_'"),
        ("lungdet.__version__", "not a class or function"),
        ("Plain", "no package 'Plain'"),
    ],
)
def test_locate_says_what_is_missing(target: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        locate(target)


def test_locate_names_the_package_that_a_module_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "needs_more.py").write_text("import surely_not_installed\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ValueError, match="needs the package 'surely_not_installed', which is not installed"):
        locate("needs_more.Thing")


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (1, int), (1, float), (1.5, float), (True, bool), ("x", str), ("a/b", Path), (3, int | None),
        ([1, 2], tuple[int, int]), ([1, 2, 3], tuple[int, ...]), ([1], list[int]), ({"a": 1}, dict[str, int]),
        ({"_target_": "x"}, Part), (3, Any), ("native", tuple[float, float] | Literal["native"]), ("RED", Colour),
        ({"_target_": "x", "_partial_": True}, Callable[..., int]), ([1, 2], Sequence[float]), (None, None),
        ({"a": 1}, Part), ("anything", "forward reference"),
    ],
)  # fmt: skip
def test_values_that_fit(value: Any, hint: Any) -> None:
    assert mismatch(value, hint) is None


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        (1.5, int, "a whole number"),
        (True, int, "a whole number"),
        (1, bool, "true or false"),
        (None, int, "a whole number"),
        (3, None, "null"),
        ("x", int | None, "a whole number or null"),
        ([1], tuple[int, int], "2 values [a whole number, a whole number]"),
        ([1, "x"], tuple[int, int], "2 values, each a whole number"),
        ("abc", list[int], "a list"),
        (["x"], Sequence[int], "a list of a whole number"),
        (3, dict[str, int], "a mapping"),
        (3, Callable[..., int], "a node with _target_"),
        (3, Colour, "one of RED"),
    ],
)
def test_values_that_do_not_fit(value: Any, hint: Any, expected: str) -> None:
    assert mismatch(value, hint) == expected
