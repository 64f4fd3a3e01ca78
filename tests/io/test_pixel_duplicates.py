"""Equal images: found whatever the file format, and groups that share one are joined."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lungdet.errors import ScanError
from lungdet.io.chest_xray import identify
from lungdet.io.image_file import read_image
from lungdet.io.pixel_duplicates import find_pixel_duplicates, join_groups, pixel_key

GREY = np.random.default_rng(0).integers(0, 256, (6, 4)).astype(np.uint8)


def test_key_is_of_the_pixels_not_of_their_wrapping() -> None:
    key = pixel_key(GREY)
    assert pixel_key(np.repeat(GREY[..., None], 3, 2)) == key
    assert pixel_key(np.asfortranarray(GREY)) == key
    assert pixel_key(GREY.reshape(4, 6)) != key
    assert pixel_key(GREY.reshape(2, 4, 3)) != key
    other = GREY.copy()
    other[-1, -1] ^= 1
    assert pixel_key(other) != key
    assert pixel_key(np.stack([GREY, GREY, other], 2)) != key


def test_files_of_several_formats(tmp_path: Path) -> None:
    images = {"a.png": GREY, "b.bmp": GREY[::-1], "c.tif": GREY, "e.png": GREY[::-1], "f.tif": GREY[:-1]}
    for name, pixels in images.items():
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "d.png").write_text("no image")
    read: list[str] = []

    def once(name: str) -> np.typing.NDArray[np.uint8]:
        read.append(name)
        return read_image(tmp_path / name)

    names = sorted([*images, "d.png"])
    found = find_pixel_duplicates(iter(names), once)
    assert read == names
    assert found.groups == [("a.png", "c.tif"), ("b.bmp", "e.png")]
    assert list(found.keys) == sorted(images)
    assert list(found.failures) == ["d.png"]
    assert "d.png: not a readable image" in found.failures["d.png"]
    labels = {"a.png": 0, "b.bmp": 0, "c.tif": 1, "e.png": 0, "f.tif": 1}
    assert found.contradictions(labels) == [("a.png", "c.tif")]


def test_a_mistake_in_the_program_is_no_failure_of_an_image() -> None:
    def read(name: str) -> np.typing.NDArray[np.uint8]:
        raise KeyError(name)

    with pytest.raises(KeyError):
        find_pixel_duplicates(["a"], read)

    def refuse(name: str) -> np.typing.NDArray[np.uint8]:
        raise ScanError(name)

    assert find_pixel_duplicates(["a"], refuse).failures == {"a": "a"}


def test_groups_are_joined_over_several_steps() -> None:
    assert join_groups([], []) == []
    assert join_groups(["p", "q", "r"], ["1", "2", "3"]) == ["p", "q", "r"]
    # p3 shares an image with p2, p2 one with p1; p4 has its own.
    groups = ["p4", "p1", "p2", "p2", "p3", "p3"]
    assert join_groups(groups, ["z", "a", "a", "b", "b", "c"]) == ["p4", "p1", "p1", "p1", "p1", "p1"]
    with pytest.raises(ValueError, match="2 groups for 1 pixel keys"):
        join_groups(["a", "b"], ["1"])


@given(st.lists(st.tuples(st.sampled_from("pqrstu"), st.sampled_from("abcdef")), max_size=20))
def test_joining_against_repeated_relabelling(rows: list[tuple[str, str]]) -> None:
    """Independent reference: give every image the smallest label in reach until nothing changes."""
    labels = list(range(len(rows)))
    for _ in rows:
        for i, one in enumerate(rows):
            labels[i] = min(labels[j] for j, other in enumerate(rows) if one[0] == other[0] or one[1] == other[1])
    joined = join_groups([group for group, _ in rows], [key for _, key in rows])
    assert joined == [rows[label][0] for label in labels]


@pytest.mark.realdata
def test_duplicates_of_the_real_x_rays(realdata: Path) -> None:
    """Independent count: sha1sum of the files gives the same 24 groups of 50 images; each lies within one patient."""
    root = realdata / "chest_xray"
    if not root.is_dir():
        pytest.skip(f"no chest X-rays at {root}")
    names = sorted(path.relative_to(root).as_posix() for path in root.glob("train/*/*.jpeg"))
    found = find_pixel_duplicates(names, lambda name: read_image(root / name))
    assert len(found.groups) == 24
    assert sum(map(len, found.groups)) == 50
    assert not found.failures
    assert all(len({identify(name).patient_id for name in names}) == 1 for names in found.groups)
    assert not found.contradictions({name: name.split("/")[1] for name in names})
