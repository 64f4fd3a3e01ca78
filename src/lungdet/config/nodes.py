"""Checks one `_target_` node against the signature it names: keys, required arguments, types. Nothing is built here.

Hydra finds a misspelt argument only when the object is made, and inside a `_partial_` node never; an experiment file
may add any key. So the YAML is compared with the constructors before anything runs.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

from lungdet.config.location import conf_folder

HYDRA_KEYS = frozenset({"_target_", "_partial_", "_recursive_", "_convert_", "_args_"})


def near_word(word: str, allowed: Collection[str]) -> str:
    """`; did you mean 'lr'?` when a near word exists, else the list of what is allowed."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.6)
    if near:
        return f"; did you mean '{near[0]}'?"
    return f"; allowed: {', '.join(sorted(allowed))}" if allowed else ""


def locate(target: str) -> Callable[..., Any]:
    """The object that a dotted `_target_` names.

    Raises:
        ValueError: the module or the attribute does not exist; the message holds the near word.
    """
    parts = target.split(".")
    for n in range(len(parts) - 1, 0, -1):
        name = ".".join(parts[:n])
        try:
            found: Any = importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name and (name == error.name or name.startswith(error.name + ".")):
                continue
            raise ValueError(f"'{target}' needs the package '{error.name}', which is not installed") from error
        for part in parts[n:]:
            if not hasattr(found, part):
                public = [v for v in dir(found) if not v.startswith("_")]
                near = difflib.get_close_matches(part, public, n=1)
                hint = f"; did you mean '{near[0]}'?" if near else ""
                raise ValueError(f"'{target}' does not exist: {found.__name__} has no '{part}'{hint}")
            found = getattr(found, part)
        if not callable(found):
            raise ValueError(f"'{target}' is not a class or function")
        return typing.cast(Callable[..., Any], found)
    raise ValueError(f"'{target}' does not exist: no package '{parts[0]}'")


def check_nodes(path: str, value: Any, provided: Mapping[str, Collection[str]]) -> Iterator[str]:
    """Problems of every `_target_` node below `value`.

    Args:
        path: config path of `value`, for the messages.
        value: plain containers (dict, list, scalars); interpolations already resolved.
        provided: config path (`logger.*` for each entry of `logger`) -> argument names that the program itself passes,
            so they are not missing in the YAML.

    Yields:
        One message a problem, config path first.
    """
    if isinstance(value, Mapping):
        if "_target_" in value:
            parent = path.rpartition(".")[0]
            yield from _check_node(path, value, provided.get(path, provided.get(f"{parent}.*", ())))
        for key, inner in value.items():
            yield from check_nodes(f"{path}.{key}" if path else str(key), inner, provided)
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from check_nodes(f"{path}[{n}]", inner, provided)


def _check_node(path: str, node: Mapping[str, Any], provided: Collection[str]) -> Iterator[str]:
    try:
        target = locate(str(node["_target_"]))
    except ValueError as error:
        yield f"{path}._target_: {error}"
        return
    signature = inspect.signature(target)
    hints = _hints(target)
    parameters = {
        name: p for name, p in signature.parameters.items() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    }
    takes_any = any(p.kind == p.VAR_KEYWORD for p in signature.parameters.values())
    name = getattr(target, "__name__", str(target))
    for key, value in node.items():
        if key in HYDRA_KEYS:
            continue
        if key not in parameters:
            if not takes_any:
                yield f"{path}.{key}: {name} has no argument '{key}'{near_word(str(key), parameters)}"
        elif (expected := mismatch(value, hints.get(key, Any))) is not None:
            yield f"{path}.{key}: {name} expects {expected} for '{key}', got {value!r}{_option(f'{path}.{key}', value)}"
    if node.get("_partial_"):
        return
    for key, parameter in parameters.items():
        if parameter.default is parameter.empty and key not in node and key not in provided:
            yield f"{path}.{key}: {name} needs '{key}'; set {path}.{key}=..."


def _option(path: str, value: Any) -> str:
    """What to type where the name of an option was given as a value: model/loss=focal for model.loss=focal."""
    group = path.replace(".", "/")
    options = {file.stem for file in (conf_folder() / group).glob("*.yaml")}
    return f"; type {group}={value}" if isinstance(value, str) and value in options else ""


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError, AttributeError):  # annotations that exist only for type checkers: nothing to compare
        return {}


def mismatch(value: Any, hint: Any) -> str | None:
    """What was expected, in words, when a YAML value cannot be what the annotation says; else None.

    Nodes (mappings with `_target_`) are judged where they are checked themselves, unknown annotations pass.
    """
    if hint is Any or (isinstance(value, Mapping) and "_target_" in value):
        return None
    origin = typing.get_origin(hint)
    if origin in (Union, types.UnionType):
        options = typing.get_args(hint)
        answers = [mismatch(value, option) for option in options]
        return None if None in answers else " or ".join(dict.fromkeys(a for a in answers if a))
    if origin is Literal:
        allowed = typing.get_args(hint)
        return None if value in allowed else "one of " + ", ".join(map(repr, allowed))
    if hint is None or hint is type(None):
        return None if value is None else "null"
    if origin is not None:
        return _container_mismatch(value, hint, origin)
    return _scalar_mismatch(value, hint)


_WORDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}


def _scalar_mismatch(value: Any, hint: Any) -> str | None:
    if not inspect.isclass(hint):
        return None
    accepted: dict[Any, tuple[type, ...]] = {float: (int, float), Path: (str, Path), int: (int,), bool: (bool,)}
    if hint in _WORDS:
        fits = isinstance(value, accepted.get(hint, (hint,))) and (hint is bool or not isinstance(value, bool))
        return None if fits else _WORDS[hint]
    if issubclass(hint, Enum):
        return None if isinstance(value, str | hint) else f"one of {', '.join(e.name for e in hint)}"
    if value is None or isinstance(value, int | float | bool | str):
        # A class that YAML scalars cannot be: the node is missing. Classes that accept scalars by conversion are
        # annotated as unions, so they do not come here.
        return f"a {hint.__name__} (a node with _target_)" if not isinstance(value, hint) else None
    return None


def _container_mismatch(value: Any, hint: Any, origin: Any) -> str | None:
    arguments = typing.get_args(hint)
    if not inspect.isclass(origin):
        return None
    if issubclass(origin, Mapping):
        return None if isinstance(value, Mapping) else "a mapping"
    if issubclass(origin, tuple) and arguments and arguments[-1] is not Ellipsis:
        if not isinstance(value, list | tuple) or len(value) != len(arguments):
            return f"{len(arguments)} values [{', '.join(_word(a) for a in arguments)}]"
        wrong = [m for v, a in zip(value, arguments, strict=True) if (m := mismatch(v, a))]
        return f"{len(arguments)} values, each {wrong[0]}" if wrong else None
    if issubclass(origin, Sequence | set | frozenset) or origin in (typing.get_origin(list[Any]), Collection):
        if isinstance(value, str) or not isinstance(value, list | tuple):
            return "a list"
        wrong = [m for v in value if arguments and (m := mismatch(v, arguments[0]))]
        return f"a list of {wrong[0]}" if wrong else None
    if issubclass(origin, Callable):  # type: ignore[arg-type]
        # `optim`, `scheduler`: a `_partial_` node, which was handled above.
        return "a node with _target_" if isinstance(value, int | float | bool | str) else None
    return None


def _word(hint: Any) -> str:
    return _WORDS.get(hint, str(getattr(hint, "__name__", hint)))
