"""Reading written pages as a browser would: what they hold and refer to, and how they look."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

_VOID = {"meta", "link", "img", "br", "input", "hr", "image", "path", "use", "circle"}


class Page(HTMLParser):
    """What a page fetches (`references`) and leads to (`links`), its ids, tags and text; every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.references: list[str] = []
        self.tags: Counter[str] = Counter()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        if tag not in _VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id" and value:
                self.ids.append(value)
            if name in {"src", "href", "xlink:href", "srcset", "data", "action", "poster"} and value:
                (self.links if tag == "a" else self.references).append(value)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def assert_self_contained(html: str) -> None:
    """Nothing is fetched from outside, all ids are unique, and every link on the page leads somewhere."""
    page = Page(html)
    assert all(reference.startswith(("#", "data:image/png;base64,")) for reference in page.references)
    assert {link.removeprefix("#") for link in page.links} <= set(page.ids)
    assert [name for name, n in Counter(page.ids).items() if n > 1] == []
    assert not {"script", "link", "iframe", "object", "base", "img"} & set(page.tags)
    outside = re.sub(r'xmlns(:xlink)?="[^"]+"', "", html)
    assert "http" not in outside
    assert "@import" not in outside
    assert re.findall(r"url\((?!#)", outside) == []


def browse(page: Path, folder: Path, *options: str) -> str:
    """What Chromium prints when it opens the page; its profile lies in the folder."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip("no Chromium or Chrome on this machine: the page was parsed, but not rendered")
    command = [found, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars"]
    command += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    command += [f"--user-data-dir={folder / 'profile'}", *options, page.resolve().as_uri()]
    return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout.decode("utf-8")


def assert_renders(page: Path, folder: Path, *, width: int, height: int) -> None:
    """Not blank: ink in every fifth of the page, and at the right margin nothing that overflows."""
    shot = folder / "page.png"
    browse(page, folder, f"--screenshot={shot}", f"--window-size={width},{height}")
    pixels = np.asarray(Image.open(shot).convert("L"), dtype=float)
    assert pixels.shape == (height, width)
    for part in np.array_split(pixels, 5):
        assert part.std() > 8
    assert pixels[:, -6:].std() < 2
