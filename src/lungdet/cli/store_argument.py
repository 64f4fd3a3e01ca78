"""`store=...` on the command line: short for data.store_path, a folder or an address in an object store."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from lungdet.store.location import is_url, refuse_credentials

_STORE = re.compile(r"(\+{0,2})store=(.*)", re.DOTALL)
_PLACES = re.compile(r"\+{0,2}(?:store|data\.store_path|paths\.\w+)=(.*)", re.DOTALL)


def with_store_path(words: Sequence[str], *, root: str) -> list[str]:
    """The arguments of a command with `store=` spelt out, where the command has a data group.

    An address with a password in it is refused here, before Hydra writes the arguments into a run's folder.

    Args:
        words: of the command line.
        root: the command's configuration.

    Raises:
        StoreError: an address carries credentials; the message does not repeat them.
    """
    from lungdet.config.schema import ROOTS

    for word in words:
        place = _PLACES.fullmatch(word)
        for address in place.group(1).strip("'\"[]").split(",") if place else ():
            if is_url(address):
                refuse_credentials(address.strip("'\" "))
    if "data" not in {field.name for field in dataclasses.fields(ROOTS[root])}:
        return list(words)
    return [_STORE.sub(r"\1data.store_path=\2", word) if _STORE.fullmatch(word) else word for word in words]
