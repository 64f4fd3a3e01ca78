from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.errors import RunError
from lungdet.exports.operators import ALLOWED, require_known_operators


def test_known_operators_pass() -> None:
    require_known_operators(["conv3d", "relu_", "cat"], Path("a.pt2"))


def test_unknown_ones_are_named() -> None:
    with pytest.raises(RunError, match=r"a.pt2 calls from_file, image::write_file, .* nothing of it was run"):
        require_known_operators(["conv3d", "image::write_file", "from_file"], Path("a.pt2"))


def test_nothing_that_touches_files_is_allowed() -> None:
    assert not ALLOWED & {"from_file", "save", "load", "set_", "set_data", "backward", "manual_seed", "print"}
