"""Jobs for executors, importable by the processes that do them."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from lungdet.errors import ConfigError


def square(name: str, number: int) -> int:
    """A value, or one of the ways to fail."""
    if name == "refused":
        raise ConfigError(["a: wrong", "b: wrong"])
    if name == "odd":
        raise ValueError("never seen before")
    return number * number


def process_id(name: str) -> int:
    """Who did it."""
    return os.getpid()


def die_once(name: str, folder: Path) -> str:
    """Notes each beginning in a file; the first try of `killed` ends with its process, in the middle of writing."""
    with (folder / f"{name}.begun").open("a") as file:
        file.write("x")
    time.sleep(0.1)
    if name == "always":
        os.kill(os.getpid(), signal.SIGKILL)
    if name == "killed" and (folder / "killed.begun").stat().st_size == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def begin_and_wait(name: str, folder: Path) -> str:
    """Notes that it began, and takes a second."""
    (folder / f"{name}.begun").touch()
    time.sleep(1.0)
    (folder / f"{name}.done").touch()
    return name


class Counter:
    """What `make_counter` makes: knows how often it was asked in this process."""

    def __init__(self, first: int) -> None:
        self.count = first

    def ask(self, name: str, step: int) -> tuple[int, int]:
        """(process, count)."""
        self.count += step
        return os.getpid(), self.count


def make_counter(recipe: dict[str, Any]) -> Counter:
    """From `{"first": ...}`."""
    if recipe["first"] < 0:
        raise ConfigError(["first: too small"])
    return Counter(recipe["first"])


def threads(name: str) -> tuple[int, int]:
    """Of OpenCV and PyTorch."""
    import cv2
    import torch

    return cv2.getNumThreads(), torch.get_num_threads()


def die_in_next_write(flag: str) -> None:
    """From now on, whoever finds the file when it has written an array removes the file and is killed."""
    from lungdet.store import writer
    from lungdet.store.shard_writer import write_array as write

    def write_array(*given: Any, **named: Any) -> None:
        write(*given, **named)
        with suppress(FileNotFoundError):
            Path(flag).unlink()
            os.kill(os.getpid(), signal.SIGKILL)

    writer.write_array = write_array  # type: ignore[attr-defined]


def die_in_next_classification(flag: str) -> None:
    """The same in the middle of a scan that is searched."""
    from lungdet.pipeline import detect
    from lungdet.pipeline.nms import suppress_neighbours

    def suppressed(*given: Any, **named: Any) -> Any:
        with suppress(FileNotFoundError):
            Path(flag).unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return suppress_neighbours(*given, **named)

    detect.suppress_neighbours = suppressed  # type: ignore[attr-defined]
