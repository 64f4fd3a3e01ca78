"""Draws a chest X-ray: a sum of attenuations (body, lungs, heart, bones, consolidations) under a random exposure.

Coordinates: x runs from -1 to 1 across the image, y from 0 (top) to 1 (bottom); the patient's right is on the left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from lungdet.io.phantom_images.smooth_noise import smooth_noise

Map = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

# Attenuation of the thickest part of each, in units of the whole brightness of the film.
_BODY, _LUNG, _HEART, _SPINE, _ABDOMEN, _RIB, _CLAVICLE, _VESSEL = 0.58, 0.42, 0.24, 0.12, 0.22, 0.10, 0.12, 0.07
_RIBS_BESIDE_LUNG = 9


@dataclass(frozen=True)
class Anatomy:
    """What the images of a patient share.

    Attributes:
        width: half the width of the thorax.
        lung_top, lung_base: y of apex and diaphragm.
        lung_width: half the width of a lung.
        lean: x that the spine moves from top to bottom.
        heart: half the width of the heart.
        rib_slope: how far ribs fall from spine to side, in rib distances.
        rib_phase: where the first rib is, in rib distances.
        texture_seed: of the vessels.
    """

    width: float
    lung_top: float
    lung_base: float
    lung_width: float
    lean: float
    heart: float
    rib_slope: float
    rib_phase: float
    texture_seed: int


@dataclass(frozen=True)
class Radiograph:
    """An image and what is to be found in it.

    Attributes:
        pixels: uint8 [H, W].
        lesion: bool [H, W], consolidations as drawn; all False in a normal chest.
    """

    pixels: npt.NDArray[np.uint8]
    lesion: Mask


def draw_anatomy(random: np.random.Generator) -> Anatomy:
    """A patient."""
    return Anatomy(
        width=random.uniform(0.72, 0.86),
        lung_top=random.uniform(0.12, 0.18),
        lung_base=random.uniform(0.70, 0.78),
        lung_width=random.uniform(0.29, 0.33),
        lean=random.uniform(-0.04, 0.04),
        heart=random.uniform(0.22, 0.32),
        rib_slope=random.uniform(1.2, 2.0),
        rib_phase=random.uniform(0, 1),
        texture_seed=int(random.integers(2**31)),
    )


def draw_radiograph(
    anatomy: Anatomy, random: np.random.Generator, *, size_hw: tuple[int, int], agent: str, difficulty: float
) -> Radiograph:
    """One image of a patient.

    Args:
        anatomy: of the patient.
        random: what differs between the images of a patient.
        size_hw: pixels.
        agent: `bacteria` (one dense consolidation), `virus` (several faint ones) or empty (normal).
        difficulty: 0 to 2; consolidations get fainter, and the exposure more variable.
    """
    height, width = size_hw
    angle, shift_x, shift_y = random.uniform(-0.06, 0.06), random.uniform(-0.06, 0.06), random.uniform(-0.03, 0.03)
    zoom = random.uniform(0.94, 1.06)
    grid_y, grid_x = np.mgrid[:height, :width].astype(np.float32)
    x0, y0 = (2 * grid_x + 1) / width - 1, (grid_y + 0.5) / height
    x = zoom * (x0 + angle * (y0 - 0.5)) - shift_x
    y = zoom * (y0 - 0.5 - 0.25 * angle * x0) + 0.5 - shift_y
    x = x - anatomy.lean * (y - 0.5)
    texture = np.random.default_rng(anatomy.texture_seed)

    chest = _bump(x / _half_width(y, anatomy))
    lungs = [_lung(x, y, side, anatomy) for side in (-1, 1)]
    air = np.maximum(*lungs)
    film = _BODY * chest + _LUNG * -air * (0.94 + 0.06 * smooth_noise(texture, size_hw, 0.05))
    heart = _bump((x - 0.13 - 0.12 * (y - 0.5)) / anatomy.heart, (y - anatomy.lung_base + 0.13) / 0.21)
    film += _HEART * np.maximum(heart**0.7, 0.6 * _bump(x / 0.19) * _step(y - 0.05, 0.05))
    film += _SPINE * _bump(x / 0.10) * (0.85 + 0.15 * np.cos(2 * np.pi * y * 16))
    film += _ABDOMEN * chest * _step(y - _diaphragm(x, anatomy), 0.012)
    film += _ribs(x, y, anatomy) * chest + _clavicles(x, y, anatomy)
    hilum = np.exp(-(((np.abs(x) - 0.22) / 0.2) ** 2) - ((y - 0.45) / 0.22) ** 2)
    vessels = np.abs(smooth_noise(texture, size_hw, 0.012))
    film += _VESSEL * air * hilum * vessels
    lesion, opacity = _consolidations(lungs, random, x=x, y=y, agent=agent, difficulty=difficulty)
    film += opacity
    film += _bump((np.abs(x) - 1.02) / 0.16) * 0.35 * _step(0.75 - y, 0.2)  # arms
    return Radiograph(_exposed(film, random, difficulty=difficulty), lesion)


def _consolidations(
    lungs: list[Map], random: np.random.Generator, *, x: Map, y: Map, agent: str, difficulty: float
) -> tuple[Mask, Map]:
    """Where lung is filled, and the attenuation that this adds (part of what the air took away)."""
    filled = np.zeros_like(x)
    shape = (x.shape[0], x.shape[1])
    sizes = {"bacteria": [(0.20, 0.30, 1.0)], "virus": [(0.10, 0.16, 0.75)] * int(random.integers(3, 6))}
    for smallest, largest, density in sizes.get(agent, []):
        lung = lungs[int(random.integers(2))]
        # Somewhere well inside the lung: a random pixel of its thick part.
        rows, columns = np.nonzero(lung > 0.55)
        place = int(random.integers(len(rows)))
        centre_x, centre_y = x[rows[place], columns[place]], y[rows[place], columns[place]]
        radius = random.uniform(smallest, largest)
        distance = np.hypot((x - centre_x) / radius, (y - centre_y) / (0.6 * radius))
        ragged = distance + 0.25 * smooth_noise(random, shape, 0.04)
        filled = np.maximum(filled, density * _step(1 - ragged, 0.3) * _step(lung - 0.05, 0.05))
    strength = (1.05 - 0.2 * difficulty) * random.uniform(0.85, 1.1)
    mottled = 0.92 + 0.08 * smooth_noise(random, shape, 0.02)
    return filled > 0.4, _LUNG * strength * filled * np.maximum(*lungs) * mottled


def _exposed(film: Map, random: np.random.Generator, *, difficulty: float) -> npt.NDArray[np.uint8]:
    """Film to pixels: exposure, contrast and gamma of this image, grain, and a letter where technicians put it."""
    spread = 0.5 + 0.5 * difficulty
    gain = 1 + spread * random.uniform(-0.15, 0.15)
    gamma = np.exp(spread * random.uniform(-0.35, 0.35))
    offset = random.uniform(0.0, 0.06)
    height, width = film.shape
    bright = np.clip(film + 0.012 * random.standard_normal(film.shape, dtype=np.float32), 0, 1.2) / 1.05
    pixels: npt.NDArray[np.uint8] = np.clip(255 * (offset + gain * bright**gamma), 0, 255).astype(np.uint8)
    if random.random() < 0.6:
        corner = (int(0.05 * width), int(random.uniform(0.12, 0.3) * height))
        cv2.putText(
            pixels, "R", corner, cv2.FONT_HERSHEY_SIMPLEX, height / 250, 235, max(1, height // 120), cv2.LINE_AA
        )
    return pixels


def _lung(x: Map, y: Map, side: int, anatomy: Anatomy) -> Map:
    """Thickness of the lung of a side (-1 is the patient's right), 0 to 1."""
    top, base = anatomy.lung_top, _diaphragm(x, anatomy)
    depth = np.clip((y - top) / (base - top), 0, 1)
    # Narrow at the apex, widest near the base; the middle wanders outwards with it.
    half = anatomy.lung_width * np.clip(depth * (2 - depth), 0, 1) ** 0.42 * (0.78 + 0.22 * depth)
    middle = side * (0.30 + 0.16 * depth)
    across = np.abs(x - middle) / np.maximum(half, 0.02)
    thickness = np.sqrt(np.clip(1 - across**2.6, 0, 1)) * _step(y - top, 0.015) * _step(base - y, 0.012)
    return np.asarray(thickness, dtype=np.float32)


def _diaphragm(x: Map, anatomy: Anatomy) -> Map:
    """Y of the domes; the right one (left in the image) stands higher."""
    dome = np.minimum(np.abs(x + 0.46) + 0.02, np.abs(x - 0.46))
    return np.asarray(anatomy.lung_base + 0.55 * dome**2 + 0.012 * (x > 0), dtype=np.float32)


def _half_width(y: Map, anatomy: Anatomy) -> Map:
    """Neck, shoulders and trunk."""
    neck = 0.26 + (anatomy.width + 0.1 - 0.26) * _step(y - 0.09, 0.025)
    return np.asarray(np.where(y < 0.3, neck, anatomy.width + 0.1), dtype=np.float32)


def _ribs(x: Map, y: Map, anatomy: Anatomy) -> Map:
    """Ribs behind, falling from the spine outwards, and fainter ones in front, rising to it."""
    distance = (anatomy.lung_base - anatomy.lung_top) / _RIBS_BESIDE_LUNG
    outwards = np.abs(x) / anatomy.width
    cage = _step(y - anatomy.lung_top, 0.02) * _step(anatomy.lung_base + 0.08 - y, 0.03)
    cage = cage * _step(anatomy.width + 0.02 - np.abs(x), 0.02)
    behind = (y - anatomy.lung_top) / distance - anatomy.rib_slope * (outwards**2 - 0.35 * outwards) + anatomy.rib_phase
    front = (y - anatomy.lung_top) / distance + 1.6 * np.clip(1 - outwards, 0, 1) ** 1.5 + anatomy.rib_phase + 0.5
    ridges = _ridge(behind, 0.20) * (0.7 + 0.5 * outwards) + 0.45 * _ridge(front, 0.18) * (outwards > 0.3)
    # Seen along its length at the side of the chest, a rib is brightest.
    edge = np.exp(-(((np.abs(x) - anatomy.width + 0.03) / 0.045) ** 2))
    return np.asarray(_RIB * cage * (ridges + 0.6 * edge * _ridge(behind, 0.3)), dtype=np.float32)


def _clavicles(x: Map, y: Map, anatomy: Anatomy) -> Map:
    line = anatomy.lung_top + 0.055 - 0.09 * np.abs(x) + 0.02 * np.sin(5 * np.abs(x))
    inside = _step(np.abs(x) - 0.10, 0.02) * _step(anatomy.width - 0.08 - np.abs(x), 0.03)
    return np.asarray(_CLAVICLE * inside * np.exp(-(((y - line) / 0.013) ** 2)), dtype=np.float32)


def _ridge(phase: Map, width: float) -> Map:
    """A band around each whole number, with the bright edges of cortical bone."""
    off = np.abs(phase - np.round(phase)) / width
    return np.asarray(_step(1 - off, 0.25) * (0.75 + 0.35 * np.clip(off, 0, 1)), dtype=np.float32)


def _bump(*offsets: Map) -> Map:
    """Half an ellipsoid: 1 in the middle, 0 from distance 1 on."""
    squared = sum(offset**2 for offset in offsets)
    return np.asarray(np.sqrt(np.clip(1 - squared, 0, 1)), dtype=np.float32)


def _step(value: Map, softness: float) -> Map:
    """0 below zero, 1 above, smooth in between."""
    return np.asarray(0.5 * (1 + np.tanh(value / softness)), dtype=np.float32)
