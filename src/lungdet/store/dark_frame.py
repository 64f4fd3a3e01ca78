"""Dark frames around X-rays (collimator, scanner, letterbox): where they end, side by side, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
from scipy.ndimage import median_filter

from lungdet.errors import StoreError

SIDES = ("top", "bottom", "left", "right")


@dataclass(frozen=True)
class DarkFrame:
    """How a frame is recognised.

    Attributes:
        at_most: largest part of the height or width that may go, per side.
        dark_share: part of a line's pixels that are dark if it belongs to the frame. Air beside a patient is dark too,
            but seldom over a whole line.
        threshold_grey: Otsu's threshold is kept between these grey values: a band that is nothing but frame has none of
            its own, and one without a frame splits into tissue and lung. Without these ends (0, 255) the scan of every
            fourth training X-ray of Kermany et al. cuts 56 % of them, into the grey beside the body; with them 40 %.
        smooth_lines: width (odd) of the running median over the lines' dark shares; it hides letters and scratches and
            keeps the frame's end where it is.
        stop_after: so many lines in a row that are not frame end the scan; fewer, such as the bright rim of a film, do
            not.
        keep_px: lines of the frame that are left on.

    Raises:
        StoreError: a value out of range.
    """

    at_most: float = 0.12
    dark_share: float = 0.9
    threshold_grey: tuple[int, int] = (10, 40)
    smooth_lines: int = 5
    stop_after: int = 5
    keep_px: int = 2

    def __post_init__(self) -> None:
        threshold = tuple(int(v) for v in self.threshold_grey)
        object.__setattr__(self, "threshold_grey", threshold)
        checks = {
            "at_most": (0 < self.at_most < 0.5, "a part > 0 and < 0.5"),
            "dark_share": (0 < self.dark_share <= 1, "a part > 0 and <= 1"),
            "threshold_grey": (
                len(threshold) == 2 and 0 <= threshold[0] <= threshold[-1] <= 255,
                "a lower and an upper grey value from 0 to 255",
            ),
            "smooth_lines": (self.smooth_lines >= 1 and self.smooth_lines % 2 == 1, "an odd number >= 1"),
            "stop_after": (self.stop_after >= 1, "a number >= 1"),
            "keep_px": (self.keep_px >= 0, "a number >= 0"),
        }
        for name, (is_allowed, allowed) in checks.items():
            if not is_allowed:
                raise StoreError(f"store.dark_frame.{name}={getattr(self, name)} must be {allowed}")


@dataclass(frozen=True)
class SideScan:
    """What was seen from one side, line 0 the outermost.

    Attributes:
        threshold_grey: pixels up to this grey value are dark.
        dark_share: float64 [lines of the band], dark pixels / pixels.
        smoothed: the same after the running median.
        frame_lines: up to here, exclusive, the frame was seen.
        cut_lines: so many lines are cut off: `frame_lines` less `keep_px`.
    """

    threshold_grey: int
    dark_share: npt.NDArray[np.float64]
    smoothed: npt.NDArray[np.float64]
    frame_lines: int
    cut_lines: int


def frame_box(image: npt.NDArray[np.uint8], frame: DarkFrame) -> tuple[tuple[int, int, int, int], dict[str, SideScan]]:
    """What is left without the frame.

    Args:
        image: uint8 [H, W] or RGB [H, W, 3].
        frame: how to look.

    Returns:
        Top, left, bottom, right (exclusive) of what to keep, and what was seen by side.
    """
    grey = image if image.ndim == 2 else np.asarray(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), np.uint8)
    scans = {side: scan_side(_outside_first[side](grey), frame) for side in SIDES}
    height, width = grey.shape
    cut = {side: scan.cut_lines for side, scan in scans.items()}
    return (cut["top"], cut["left"], height - cut["bottom"], width - cut["right"]), scans


def scan_side(lines: npt.NDArray[np.uint8], frame: DarkFrame) -> SideScan:
    """Look inward from line 0.

    The band is inverted, so that Otsu's bright class is the frame; its threshold (Otsu 1979,
    doi 10.1109/TSMC.1979.4310076) is that of the band alone, not of the image.

    Args:
        lines: uint8 [lines, pixels of a line], all of the image.
        frame: how to look.
    """
    band = np.ascontiguousarray(lines[: int(len(lines) * frame.at_most)])
    if not len(band):
        return SideScan(frame.threshold_grey[0], np.zeros(0), np.zeros(0), 0, 0)
    otsu, _ = cv2.threshold(255 - band, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    low, high = frame.threshold_grey
    threshold = min(max(254 - int(otsu), low), high)  # inverted > otsu is grey <= 254 - otsu
    share = (band <= threshold).mean(axis=1)
    smoothed = np.asarray(median_filter(share, size=frame.smooth_lines, mode="nearest"), np.float64)
    seen = _frame_end(smoothed >= frame.dark_share, frame.stop_after)
    return SideScan(threshold, share, smoothed, seen, max(0, seen - frame.keep_px))


def _frame_end(is_frame: npt.NDArray[np.bool_], stop_after: int) -> int:
    """One past the last frame line before the first run of `stop_after` others."""
    end = 0
    for line in np.flatnonzero(is_frame):
        if line - end >= stop_after:
            break
        end = int(line) + 1
    return end


_outside_first: dict[str, Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.uint8]]] = {
    "top": lambda grey: grey,
    "bottom": lambda grey: grey[::-1],
    "left": lambda grey: grey.T,
    "right": lambda grey: grey.T[::-1],
}
