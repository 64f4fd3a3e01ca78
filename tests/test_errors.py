"""Every error is ours and the builtin a caller would catch."""

from __future__ import annotations

import pytest

from lungdet import errors
from lungdet.errors import ConfigError, LungdetError


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.MissingFileError, FileNotFoundError),
        (errors.ScanError, ValueError),
        (errors.TableError, ValueError),
        (errors.StoreError, RuntimeError),
        (errors.SplitError, ValueError),
        (errors.ShapeError, ValueError),
        (errors.RunError, RuntimeError),
        (errors.ClusterError, ConnectionError),
        (errors.ConfigError, ValueError),
    ],
)
def test_each_leaf_is_two_things(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, LungdetError)
    assert issubclass(error, builtin)


def test_a_config_error_lists_every_problem() -> None:
    error = ConfigError(["optim.lr: too small", "data.root: missing"])
    assert error.problems == ["optim.lr: too small", "data.root: missing"]
    assert str(error) == "optim.lr: too small\ndata.root: missing"
