from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from lungdet.io.phantom.anatomy import Thorax
from lungdet.io.phantom.tissue import base_hu


def hu_at(thorax: Thorax, *point: float) -> float:
    x, y, z = (np.full((1, 1, 1), v, np.float32) for v in point)
    return float(base_hu(thorax, x, y, z, 0.7)[0, 0, 0])


def test_attenuation_of_the_organs(thorax: Thorax) -> None:
    t = thorax
    up = 0.15 * t.half_height
    assert hu_at(t, 0.98 * 56, -0.98 * 56, up) == pytest.approx(-1000)
    assert hu_at(t, 0.7 * t.cavity_x, -0.1 * t.cavity_y, up) == pytest.approx(t.lung_hu, abs=t.gravity_hu)
    assert hu_at(t, -0.5 * t.cavity_x, 0.0, -0.75 * t.half_height) == pytest.approx(60)  # liver
    assert hu_at(t, *t.heart) == pytest.approx(0.5 * (t.blood_hu + 45))
    assert hu_at(t, t.aorta[0], t.aorta[1], 0.0) == pytest.approx(t.blood_hu, abs=5)
    assert hu_at(t, 0.0, t.spine_y, 0.5 * t.vertebra) == pytest.approx(190, abs=10)  # marrow, not a disc
    assert hu_at(t, 0.0, t.spine_y, 0.0) == pytest.approx(90, abs=10)  # a disc
    assert hu_at(t, 0.0, t.spine_y + 1.35 * t.spine_radii[1], 0.5 * t.vertebra) == pytest.approx(25)  # spinal canal


def test_fat_lies_around_muscle(thorax: Thorax) -> None:
    x = np.linspace(thorax.cavity_x, 56, 300, dtype=np.float32)[None, None]
    zero = np.zeros((1, 1, 1), np.float32)
    profile = base_hu(thorax, x, zero, zero, 0.4)[0, 0]
    muscle, fat = np.flatnonzero(np.abs(profile - 45) < 1), np.flatnonzero(np.abs(profile + 100) < 1)
    assert len(muscle) > 5
    assert len(fat) > 5
    assert muscle.max() < fat.min()
    assert profile[-1] == -1000


def test_the_table_is_under_the_patient_and_dependent_lung_is_denser(thorax: Thorax) -> None:
    prone = dataclasses.replace(thorax, table_side=-1)
    y = np.linspace(-56, 56, 500, dtype=np.float32)[None, :, None]
    at = np.full((1, 1, 1), 0.6 * thorax.cavity_x, np.float32)
    z = np.full((1, 1, 1), 0.1 * thorax.half_height, np.float32)
    beyond = np.abs(y[0, :, 0]) > thorax.half_depth
    for chest, side in ((thorax, 1), (prone, -1)):
        column = base_hu(chest, at, y, z, 0.7)[0, :, 0]
        plates = y[0, beyond & (column > -700), 0]
        assert len(plates)
        assert (np.sign(plates) == side).all()
        lung = np.flatnonzero(column < -700)
        lung = lung[np.abs(y[0, lung, 0]) < 0.6 * thorax.cavity_y]
        low, high = lung[y[0, lung, 0] * side > 0], lung[y[0, lung, 0] * side < 0]
        assert np.median(column[low]) > np.median(column[high]) + 3


def test_edges_are_as_wide_as_asked(thorax: Thorax) -> None:
    x = np.linspace(thorax.half_width - 6, thorax.half_width + 6, 1200, dtype=np.float32)[None, None]
    zero = np.zeros((1, 1, 1), np.float32)
    widths = []
    for edge in (0.5, 2.0):
        profile = base_hu(thorax, x, zero, zero, edge)[0, 0]
        partial = (profile > -999) & (profile < -200)
        widths.append(partial.sum() * float(x[0, 0, 1] - x[0, 0, 0]))
    assert widths[1] / widths[0] == pytest.approx(4.0, rel=0.25)
