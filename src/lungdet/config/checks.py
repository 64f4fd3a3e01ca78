"""check_config: every reason why a composed configuration cannot run, collected before anything runs.

The order is from cheap to dear: missing values, interpolations, root keys, `_target_` nodes; only when those hold are
the parts built and compared with each other (`lungdet.config.experiment`).
"""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lungdet.config.nodes import check_nodes, mismatch, near_word
from lungdet.config.schema import ROOTS
from lungdet.errors import ConfigError

# Arguments that the commands pass themselves when they build a node.
PROVIDED: Mapping[str, Collection[str]] = {
    "data": ("split", "seed"),
    "model": ("optim", "scheduler"),
    "pipeline.segmentation": ("segmenter",),
    "pipeline.recipe": ("source",),
    "logger.*": ("save_dir",),
    "trainer": ("callbacks", "logger", "default_root_dir"),
}


def check_config(cfg: DictConfig, *, root: str, elsewhere: bool = False) -> None:
    """Raise one ConfigError that lists every problem of `cfg`.

    Args:
        cfg: the composed configuration.
        root: which root it was composed from: a key of `schema.ROOTS`.
        elsewhere: a training that will run on other machines, which have other devices than this one.

    Raises:
        ConfigError: with all problems found, each "config.path: what was given, what is allowed".
    """
    # Interpolations first: looking for missing values resolves them, and stops at the first that cannot be.
    problems = list(_interpolation_problems(cfg))
    if not problems:
        problems = [f"{key}: no value; set {key}=..." for key in sorted(OmegaConf.missing_keys(cfg))]
    if problems:
        raise ConfigError(problems)
    container = typing.cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True))
    problems = [*_schema_problems(ROOTS[root], "", container), *check_nodes("", container, PROVIDED)]
    if not problems and root == "train":
        from lungdet.config.experiment import experiment_problems

        problems = list(experiment_problems(cfg, elsewhere=elsewhere))
    if problems:
        raise ConfigError(problems)


def _interpolation_problems(node: DictConfig | ListConfig, path: str = "") -> Iterator[str]:
    """Each `${...}` that does not resolve, with its own config path."""
    keys: Any = node.keys() if isinstance(node, DictConfig) else range(len(node))
    for key in keys:
        inner_path = f"{path}.{key}" if path else str(key)
        if OmegaConf.is_missing(node, key):
            continue
        try:
            inner = node[key]
        except OmegaConfBaseException as error:
            yield f"{inner_path}: {str(error).splitlines()[0]}"
            continue
        if isinstance(inner, DictConfig | ListConfig):
            yield from _interpolation_problems(inner, inner_path)


def _schema_problems(schema: type, path: str, value: Mapping[str, Any]) -> Iterator[str]:
    fields = {f.name: f for f in dataclasses.fields(schema)}
    hints = typing.get_type_hints(schema)
    for key in value:
        if key not in fields:
            here = f"{path}.{key}" if path else str(key)
            yield f"{here}: there is no key '{key}' {f'in {path}' if path else 'here'}{near_word(str(key), fields)}"
    for name in fields:
        here = f"{path}.{name}" if path else name
        hint = hints[name]
        if name not in value:
            if mismatch(None, hint) is not None:
                yield f"{here}: no value; set {here}=..."
        elif dataclasses.is_dataclass(hint) and isinstance(hint, type):
            if isinstance(value[name], Mapping):
                yield from _schema_problems(hint, here, value[name])
            else:
                yield f"{here}: expects keys {', '.join(f.name for f in dataclasses.fields(hint))}, got {value[name]!r}"
        elif (expected := mismatch(value[name], hint)) is not None:
            yield f"{here}: expects {expected}, got {value[name]!r}"
