"""Images that are equal pixel by pixel, found in one pass that keeps one hash an image; no split may part them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from lungdet.errors import LungdetError


@dataclass(frozen=True)
class PixelDuplicates:
    """What one pass over a collection found.

    Attributes:
        keys: name -> pixel key, of every image that could be read, in the order given.
        failures: name -> why it could not be read.
    """

    keys: Mapping[str, str]
    failures: Mapping[str, str]

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """Names of equal images, two or more a group; groups and names in the order given."""
        members: dict[str, list[str]] = {}
        for name, key in self.keys.items():
            members.setdefault(key, []).append(name)
        return [tuple(names) for names in members.values() if len(names) > 1]

    def contradictions(self, labels: Mapping[str, Hashable]) -> list[tuple[str, ...]]:
        """The groups whose images do not all carry the same label."""
        return [names for names in self.groups if len({labels[name] for name in names}) > 1]


def pixel_key(image: npt.NDArray[np.uint8]) -> str:
    """SHA-256 (hex) over height, width and pixels; a grey image equals an RGB one of three equal channels.

    Args:
        image: uint8 [H, W] or [H, W, 3].
    """
    if image.ndim == 3 and (image == image[..., :1]).all():
        image = image[..., 0]
    shape = ",".join(map(str, image.shape))
    return hashlib.sha256(f"{shape}:".encode() + np.ascontiguousarray(image).tobytes()).hexdigest()


def find_pixel_duplicates(names: Iterable[str], read: Callable[[str], npt.NDArray[np.uint8]]) -> PixelDuplicates:
    """Read each image once, one at a time, and keep its key.

    Args:
        names: of the images, unique.
        read: name -> uint8 [H, W] or [H, W, 3]; a `LungdetError` of it is collected, and the others still count.
    """
    keys: dict[str, str] = {}
    failures: dict[str, str] = {}
    for name in names:
        try:
            keys[name] = pixel_key(read(name))
        except LungdetError as error:
            failures[name] = str(error)
    return PixelDuplicates(keys, failures)


def join_groups(groups: Sequence[str], keys: Sequence[str]) -> list[str]:
    """Groups (patients, slides) joined where they share an image, so that a split of the result tears neither apart.

    Args:
        groups: of each image.
        keys: its pixel key, in the same order; for an image that could not be read any text of its own.

    Returns:
        For each image the group of the first image that it is connected with, over any number of steps.

    Raises:
        ValueError: two lengths.

    >>> join_groups(["p1", "p2", "p2", "p3"], ["a", "a", "b", "c"])
    ['p1', 'p1', 'p1', 'p3']
    """
    if len(groups) != len(keys):
        raise ValueError(f"{len(groups)} groups for {len(keys)} pixel keys; each image has one of both")
    if not groups:
        return []
    group_codes, n_groups = _codes(groups)
    key_codes, n_keys = _codes(keys)
    n_nodes = n_groups + n_keys
    edges = coo_matrix((np.ones(len(groups)), (group_codes, key_codes + n_groups)), shape=(n_nodes, n_nodes))
    _, component = connected_components(edges, directed=False)
    first: dict[int, str] = {}
    return [first.setdefault(int(component[code]), group) for code, group in zip(group_codes, groups, strict=True)]


def _codes(values: Sequence[str]) -> tuple[npt.NDArray[Any], int]:
    numbers: dict[str, int] = {}
    codes = np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
    return codes, len(numbers)
