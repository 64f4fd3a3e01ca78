"""A network from the name of its class and its arguments: only classes of `lungdet.nets`, no pickle, no download."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lungdet.errors import LungdetError, RunError
from lungdet.exports.card import NetworkSpec

_TARGET = re.compile(r"lungdet\.nets\.([a-z]\w*\.)+[A-Z]\w*")
_AVERAGE = "lungdet.nets.network_average.NetworkAverage"
# Names the class of a network that is an argument of another, as in YAML.
_NESTED = "_target_"
# Arguments that fetch or read initial weights. The weights come from the exported file or the checkpoint.
_INITIAL_WEIGHTS: Mapping[str, Any] = {"weights": None, "pretrained": False}


def describe_network(node: Mapping[str, Any]) -> NetworkSpec:
    """Turn the `net` node of a run's configuration into what a card says.

    Args:
        node: `_target_` and arguments, as JSON types.

    Raises:
        RunError: a class outside `lungdet.nets`, or arguments that are objects themselves.
    """
    target = str(node.get(_NESTED))
    arguments = {name: value for name, value in node.items() if name != _NESTED}
    arguments = {name: _INITIAL_WEIGHTS.get(name, value) for name, value in arguments.items()}
    network = NetworkSpec(target=target, arguments=arguments)
    _network_class(network)
    return network


def rebuild(network: NetworkSpec) -> nn.Module:
    """Build the network with weights drawn at random, in evaluation mode, without touching the global random state.

    Raises:
        RunError: a class that is not a network of `lungdet.nets`, or arguments that it does not take.
    """
    kind = _network_class(network)
    try:
        with torch.random.fork_rng(devices=[]):
            return kind(**{name: _built(value) for name, value in network.arguments.items()}).eval()
    except (LungdetError, TypeError, ValueError, RuntimeError) as error:
        raise RunError(f"{network.target} cannot be built with {network.arguments}: {error}") from error


def nested(network: NetworkSpec) -> dict[str, Any]:
    """A network as the argument of another one: the mean over its views, or over several networks."""
    return {_NESTED: network.target, **network.arguments}


def average_of(members: Sequence[NetworkSpec]) -> NetworkSpec:
    """The mean of several networks, `lungdet.nets.network_average.NetworkAverage`."""
    return NetworkSpec(target=_AVERAGE, arguments={"members": [nested(member) for member in members]})


def _built(value: Any) -> Any:
    """An argument, with the networks in it built."""
    if _is_network(value):
        return rebuild(_unnested(value))
    return [_built(item) for item in value] if isinstance(value, list | tuple) else value


def _is_network(value: object) -> bool:
    return isinstance(value, Mapping) and _NESTED in value


def _unnested(node: Mapping[str, Any]) -> NetworkSpec:
    return NetworkSpec(target=str(node[_NESTED]), arguments={k: v for k, v in node.items() if k != _NESTED})


def _network_class(network: NetworkSpec) -> type[nn.Module]:
    refusal = f"the network is '{network.target}'; only classes of lungdet.nets can be built from a card"
    if not _TARGET.fullmatch(network.target):
        raise RunError(refusal)
    module_name, _, name = network.target.rpartition(".")
    try:
        kind = getattr(importlib.import_module(module_name), name, None)
    except ImportError as error:
        raise RunError(f"{refusal}, and this lungdet has no {module_name}: use the version that exported it") from error
    if not (inspect.isclass(kind) and issubclass(kind, nn.Module) and kind.__module__ == module_name):
        raise RunError(f"{refusal}, and {module_name} defines no network '{name}'")
    unknown = sorted(network.arguments.keys() - inspect.signature(kind).parameters.keys())
    if unknown:
        raise RunError(f"{network.target} has no argument {unknown}: use the lungdet that exported the network")
    wrong = [
        name
        for name, value in network.arguments.items()
        if not _is_plain(value) or (name in _INITIAL_WEIGHTS and value != _INITIAL_WEIGHTS[name])
    ]
    if wrong:
        raise RunError(f"{network.target}: the arguments {wrong} must be numbers, words or lists, and fetch no weights")
    return kind


def _is_plain(value: object) -> bool:
    if _is_network(value):
        assert isinstance(value, Mapping)
        _network_class(_unnested(value))
        return True
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
