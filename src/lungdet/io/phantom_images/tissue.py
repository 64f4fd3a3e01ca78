"""Draws stained tissue: amounts of haematoxylin and eosin, seen through the stain of a slide (Beer and Lambert).

Nuclei are what tells the classes apart: a tumour has large, pale, crowded ones with a rim and a nucleolus; lymphocytes
are small, dark and round, somewhat larger and paler in a follicle; those of connective tissue are thin and few.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from lungdet.io.phantom_images.smooth_noise import smooth_noise

Map = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

PATCH_PIXELS = 96
#: The label of a patch is about the square of this many pixels in its middle.
CENTRE_PIXELS = 32

_SHAPE = (PATCH_PIXELS, PATCH_PIXELS)
_GLASS = 244.0
_FULL = 2.5  # the amount of stain that 255 on a drawing stands for
_SUBPIXEL_BITS = 4
_SUBPIXEL = 1 << _SUBPIXEL_BITS


@dataclass(frozen=True)
class SlideStain:
    """How a slide was stained.

    Attributes:
        vectors: float64 [2, 3], density of haematoxylin and eosin in red, green and blue.
        strength: float64 [2], how strongly each of them took.
        blur_sd: of the focus, pixels.
    """

    vectors: npt.NDArray[np.float64]
    strength: npt.NDArray[np.float64]
    blur_sd: float


@dataclass(frozen=True)
class Patch:
    """An image and what is to be found in it.

    Attributes:
        pixels: uint8 [96, 96, 3].
        lesion: bool [96, 96], tumour.
    """

    pixels: npt.NDArray[np.uint8]
    lesion: Mask

    @property
    def is_tumor(self) -> bool:
        """Whether there is tumour in the middle: the label."""
        rim = (PATCH_PIXELS - CENTRE_PIXELS) // 2
        return bool(self.lesion[rim:-rim, rim:-rim].any())


@dataclass(frozen=True)
class _Cells:
    """Nuclei of one kind.

    Attributes:
        radius: mean, pixels; spread: its standard deviation, as a part of it.
        distance: between neighbours, in mean diameters; presence: share of the places that are taken.
        axes: ratio of the long to the short axis.
        body, rim, spot: amount of haematoxylin inside, in the outline and in the nucleolus.
    """

    radius: float
    spread: float
    distance: float
    presence: float
    axes: float
    body: float
    rim: float
    spot: float


_LYMPHOCYTES = _Cells(radius=3.3, spread=0.12, distance=1.22, presence=0.92, axes=1.12, body=1.6, rim=1.75, spot=0.0)
_FOLLICLE = _Cells(radius=4.0, spread=0.15, distance=1.12, presence=0.92, axes=1.2, body=1.05, rim=1.3, spot=0.0)
_SPINDLES = _Cells(radius=2.6, spread=0.25, distance=2.6, presence=0.7, axes=3.2, body=1.4, rim=1.4, spot=0.0)


def draw_slide(random: np.random.Generator) -> SlideStain:
    """A slide: purple to brown nuclei, pink to red ground, stained weakly to strongly."""
    haematoxylin = np.array([random.uniform(0.58, 0.68), 0.70, random.uniform(0.28, 0.48)])
    eosin = np.array([random.uniform(0.10, 0.26), 0.88, random.uniform(0.28, 0.46)])
    vectors = np.stack([v / np.linalg.norm(v) for v in (haematoxylin, eosin)])
    return SlideStain(vectors, random.uniform(0.8, 1.25, 2), random.uniform(0.4, 0.8))


def draw_patch(slide: SlideStain, random: np.random.Generator, *, tumor: bool, difficulty: float) -> Patch:
    """One patch of a slide.

    Args:
        slide: its stain.
        random: everything else.
        tumor: whether tumour reaches into the middle. Without, it may still lie at the border.
        difficulty: 0 to 2; tumour nuclei come nearer to lymphocytes in size and darkness.
    """
    nest = np.zeros(_SHAPE, dtype=bool)
    if tumor or random.random() < 0.15 * difficulty:
        nest = _nest(random, in_the_middle=tumor, difficulty=difficulty)
    ground = ("lymphoid", "follicle", "stroma", "fat")[int(random.choice(4, p=(0.35, 0.2, 0.3, 0.15)))]
    eosin = np.clip(0.42 + 0.10 * smooth_noise(random, _SHAPE, 0.03), 0.1, 1)
    canvas = np.zeros(_SHAPE, np.uint8)
    if ground in ("lymphoid", "follicle"):
        eosin *= 0.7
        _draw(canvas, _LYMPHOCYTES if ground == "lymphoid" else _FOLLICLE, random, where=~nest)
    else:
        direction = random.uniform(0, np.pi)
        eosin += 0.22 * _fibres(random, direction)
        _draw(canvas, _SPINDLES, random, where=~nest, direction=direction)
    holes = _fat(random) & ~nest if ground == "fat" else np.zeros(_SHAPE, bool)
    _draw(canvas, _tumor_cells(random, difficulty), random, where=nest)
    amounts = np.stack([canvas.astype(np.float32) * (_FULL / 255), np.where(nest, 0.5 * eosin + 0.25, eosin)])
    # Cytoplasm of a tumour takes a little haematoxylin too; chromatin is clumped.
    amounts[0] = np.maximum(amounts[0] * (1 + 0.12 * smooth_noise(random, _SHAPE, 0.012)), np.where(nest, 0.14, 0.05))
    amounts *= ~holes
    return Patch(_through_the_slide(amounts, slide, random), nest)


def _tumor_cells(random: np.random.Generator, difficulty: float) -> _Cells:
    darker = 0.25 * difficulty
    return _Cells(
        radius=random.uniform(6.6, 7.8) - 1.1 * difficulty,
        spread=0.16,
        distance=1.05,
        presence=0.97,
        axes=random.uniform(1.15, 1.4),
        body=0.7 + darker,
        rim=1.15 + darker,
        spot=1.8,
    )


def _nest(random: np.random.Generator, *, in_the_middle: bool, difficulty: float) -> Mask:
    """Where the tumour is: a ragged disc that covers the middle, or stays out of it."""
    rows, columns = np.mgrid[:PATCH_PIXELS, :PATCH_PIXELS] - (PATCH_PIXELS - 1) / 2
    if in_the_middle:
        radius, (row, column) = random.uniform(22, 44) - 3 * difficulty, random.uniform(-9, 9, 2)
    else:
        radius, angle = random.uniform(16, 26), random.uniform(0, 2 * np.pi)
        row, column = 52 * np.sin(angle), 52 * np.cos(angle)
    distance = np.hypot(rows - row, columns - column) + 3 * smooth_noise(random, _SHAPE, 0.08)
    nest: Mask = distance < radius
    if not in_the_middle:
        nest &= np.maximum(np.abs(rows), np.abs(columns)) > CENTRE_PIXELS / 2 + 2
    return nest


def _draw(
    canvas: npt.NDArray[np.uint8],
    cells: _Cells,
    random: np.random.Generator,
    *,
    where: Mask,
    direction: float | None = None,
) -> None:
    """Draw nuclei onto a canvas of haematoxylin.

    Args:
        canvas: uint8 [96, 96], changed.
        cells: what they look like.
        random: where they are.
        where: bool [96, 96], true around the places that may be taken.
        direction: of the long axes, radians; by default each has its own.
    """
    places = _places(cells, random, where=where)
    n = len(places)
    radii = cells.radius * np.maximum(0.5, 1 + cells.spread * random.standard_normal(n))
    own = random.uniform(0, 180, n)
    angles = own if direction is None else np.rad2deg(direction) + 12 * random.standard_normal(n)
    axes = radii[:, None] * np.array([np.sqrt(cells.axes), 1 / np.sqrt(cells.axes)])
    spots = places + 0.3 * radii[:, None] * np.stack([np.sin(own), np.cos(own)], axis=1)
    layers = [(places, axes, cells.rim), (places, np.maximum(0.6, axes - 1.1), cells.body)]
    if cells.spot:
        layers.append((spots, np.full_like(axes, 1.2), cells.spot))
    # Fixed-point whole numbers for OpenCV, all at once: rounding them one by one took longer than the drawing.
    fixed = [
        (np.rint(at[:, ::-1] * _SUBPIXEL).astype(int).tolist(), np.rint(size * _SUBPIXEL).astype(int).tolist(),
         min(255, round(amount / _FULL * 255)))
        for at, size, amount in layers
    ]  # fmt: skip
    for number, angle in enumerate(angles.tolist()):
        for at, size, value in fixed:
            cv2.ellipse(canvas, at[number], size[number], angle, 0, 360, value, cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS)


def _places(cells: _Cells, random: np.random.Generator, *, where: Mask) -> npt.NDArray[np.float64]:
    """Middles of nuclei, in a jittered hexagonal arrangement: float64 [N, 2], row and column."""
    step = 2 * cells.radius * cells.distance
    rows, columns = np.mgrid[-step : PATCH_PIXELS + step : step * 0.87, -step : PATCH_PIXELS + step : step]
    columns[1::2] += step / 2
    places = np.stack([rows.ravel(), columns.ravel()], axis=1) + random.uniform(0, step, 2)
    places += random.uniform(-0.24, 0.24, places.shape) * step
    taken = random.random(len(places)) < cells.presence
    taken &= np.abs(places - PATCH_PIXELS / 2).max(axis=1) < PATCH_PIXELS / 2 + cells.radius * cells.axes
    nearest = np.clip(np.rint(places).astype(int), 0, PATCH_PIXELS - 1)
    taken &= where[nearest[:, 0], nearest[:, 1]]
    chosen: npt.NDArray[np.float64] = places[taken]
    return chosen


def _fibres(random: np.random.Generator, direction: float) -> Map:
    """Wavy stripes along a direction (radians, from the column axis towards the rows)."""
    rows, columns = np.mgrid[:PATCH_PIXELS, :PATCH_PIXELS].astype(np.float32)
    across = rows * np.cos(direction) - columns * np.sin(direction) + 4 * smooth_noise(random, _SHAPE, 0.15)
    profile = smooth_noise(random, (1, 512), 0.006)[0]
    return np.asarray(np.interp(across, np.linspace(-160, 160, 512), profile), dtype=np.float32)


def _fat(random: np.random.Generator) -> Mask:
    """Round empty cells with thin walls."""
    places = random.uniform(-10, PATCH_PIXELS + 10, (9, 2))
    rows, columns = np.mgrid[:PATCH_PIXELS, :PATCH_PIXELS]
    distances = np.sort([np.hypot(rows - row, columns - column) for row, column in places], axis=0)
    holes: Mask = (distances[1] - distances[0] > 3.5) & (distances[0] < 26)
    return holes


def _through_the_slide(amounts: Map, slide: SlideStain, random: np.random.Generator) -> npt.NDArray[np.uint8]:
    density = amounts.reshape(2, -1).T.astype(np.float32) @ (slide.strength[:, None] * slide.vectors).astype(np.float32)
    light = cv2.GaussianBlur(_GLASS * np.exp(-density).reshape(*_SHAPE, 3), (0, 0), slide.blur_sd)
    grain = 2 * random.standard_normal((*_SHAPE, 3), dtype=np.float32)
    pixels: npt.NDArray[np.uint8] = np.rint(np.clip(light + grain, 0, 255)).astype(np.uint8)
    return pixels
