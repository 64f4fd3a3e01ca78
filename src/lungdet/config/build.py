"""Objects from nodes. Every command builds through here."""

from __future__ import annotations

from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig


def build(node: DictConfig, **given: Any) -> Any:
    """The object that a `_target_` node describes, with what the program itself passes.

    Args:
        node: a checked node.
        given: finished objects. They reach the constructor as they are: handed to Hydra, a dataclass instance would
            come out as a DictConfig.

    Raises:
        hydra.errors.InstantiationException: the constructor refused a value.
    """
    if not given:
        return instantiate(node)
    return instantiate(node, _partial_=True)(**given)
