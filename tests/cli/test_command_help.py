"""Help of a command: which groups, which keys, and the comment that stands above each in the file it comes from."""

from __future__ import annotations

from pathlib import Path

import pytest

from lungdet.cli.command_help import command_help
from lungdet.config.location import conf_folder

ROOTS = sorted(path.stem for path in conf_folder().glob("*.yaml"))


@pytest.mark.parametrize("root", ROOTS)
def test_every_command_says_what_it_is_and_lists_its_own_keys_with_their_comments(root: str) -> None:
    shown = command_help(root, [])
    assert shown.startswith(f"lungdet {root.replace('_', '-')}")
    text = (Path(conf_folder()) / f"{root}.yaml").read_text(encoding="utf-8").split("_self_", 1)[1]
    lines = [line for line in text.splitlines() if line[:1].isalpha() and not line.startswith(("hydra", "defaults"))]
    for line in lines:
        assert f"\n  {line.partition(':')[0]}:" in shown
    assert ("#" in text) == ("\n  # " in shown or "\n    # " in shown)


def test_only_the_groups_of_the_command_are_listed_and_the_chosen_option_is_marked() -> None:
    shown = command_help("detect", [])
    assert "  executor: dask, local *\n  pipeline: book, default *\n" in shown
    assert "trainer" not in shown
    assert "groups" not in command_help("froc", [])


def test_keys_follow_the_choice_and_a_variant_has_the_comments_of_what_it_builds_on() -> None:
    shown = command_help("train", ["model=unet_seg"])
    assert "unet_seg *" in shown
    assert "      # Slices (odd), then y and x.\n      vox:\n" not in command_help("train", [])  # of another choice
    assert "      # Slices (odd), then y and x.\n      vox:\n" in shown
    # data=phantom builds on luna16, where this stands; cv on train.
    assert "    # null: every subset folder that is there.\n    subsets: null\n" in shown
    assert (
        "  # Initial weights, batch order and augmentation; the split has a seed of its own.\n  seed: 0"
        in command_help("cv", [])
    )
