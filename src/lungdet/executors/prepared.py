"""Work that needs something dear (networks, a datamodule): each process makes it once, from a recipe of a few lines."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

R = TypeVar("R")
Recipe = Mapping[str, Any]

# The last thing that this process made. One: networks are large, and one command asks for one thing.
_made: dict[tuple[str, str], Any] = {}
_making = threading.Lock()


class Prepared(Generic[R]):
    """Calls a method of an object that `make(recipe)` gives.

    What is sent to another process is the name of `make` and the recipe, never the object.

    Args:
        make: a function that can be imported.
        recipe: JSON-ready; everything that the object is made from.
        method: called as `method(name, *arguments)` for each job.
        here: the object, where this process has it already.
    """

    def __init__(
        self, make: Callable[[dict[str, Any]], Any], recipe: Recipe | str, method: str, *, here: Any = None
    ) -> None:
        self.make, self.method, self._here = make, method, here
        self.recipe = recipe if isinstance(recipe, str) else json.dumps(recipe, sort_keys=True)

    def __call__(self, name: str, *arguments: Any) -> R:
        """The answer to one job."""
        answer: R = getattr(self.prepare(), self.method)(name, *arguments)
        return answer

    def __reduce__(self) -> tuple[Any, ...]:
        return Prepared, (self.make, self.recipe, self.method)

    def prepare(self) -> Any:
        """The object: the one given, the one made before of the same recipe, or a new one."""
        if self._here is not None:
            return self._here
        key = (f"{self.make.__module__}.{self.make.__qualname__}", self.recipe)
        with _making:
            if key not in _made:
                _made.clear()  # first, so that the old networks and the new ones are never there together
                _made[key] = self.make(json.loads(self.recipe))
            return _made[key]
