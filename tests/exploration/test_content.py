"""Words at the beginning of sentences, and records that nobody can change afterwards."""

from __future__ import annotations

import dataclasses

import pytest

from lungdet.exploration.content import Section, Words, first_capital


@pytest.mark.parametrize(
    ("words", "title"), [("chest X-rays", "Chest X-rays"), ("X-ray", "X-ray"), ("a", "A"), ("", ""), ("élan", "Élan")]
)
def test_only_the_first_letter_changes(words: str, title: str) -> None:
    assert first_capital(words) == title


def test_the_title_is_that_of_several() -> None:
    words = Words(("normal", "tumor"), "patch", "patches")
    assert words.title == "Patches"
    assert (words.part, words.parts) == ("shipped part", "shipped parts")


def test_sections_share_no_list() -> None:
    """A default that is one object for all would carry findings from page to page."""
    one, other = Section("a", "A"), Section("b", "B")
    assert one.lists is not other.lists
    assert one.record is not other.record
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.name = "c"  # type: ignore[misc]
