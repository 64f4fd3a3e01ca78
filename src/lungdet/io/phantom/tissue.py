"""What the chest is made of: attenuation of fat, muscle, blood, lung, spine and table on a grid of voxels."""

from __future__ import annotations

import numpy as np

from lungdet.io.phantom.anatomy import FloatArray, Thorax

_AIR_HU, _FAT_HU, _MUSCLE_HU, _LIVER_HU, _SKIN_HU = -1000.0, -100.0, 45.0, 60.0, 20.0
MEDIASTINUM_HU = -35.0  # fat and soft tissue between the great vessels


def base_hu(thorax: Thorax, x: FloatArray, y: FloatArray, z: FloatArray, edge_mm: float) -> FloatArray:
    """Attenuation of everything but bones of the chest wall and the trees, on a (broadcastable) grid.

    Args:
        thorax: the patient.
        x: mm, broadcastable against y and z.
        y: mm.
        z: mm.
        edge_mm: width over which one tissue passes into the next (partial volume), about one voxel.

    Returns:
        float32 HU of the broadcast shape.
    """
    t = thorax
    scale = t.half_width

    def inside(distance: FloatArray) -> FloatArray:
        return _inside(distance, edge_mm)

    shape = np.broadcast_shapes(x.shape, y.shape, z.shape)
    body = t.body_distance(x, y)
    # Fat is thicker at the sides and thin over the spine.
    muscle = body + t.fat * (0.7 + 0.5 * (x / t.half_width) ** 2)
    hu = np.full(shape, _AIR_HU, dtype=np.float32)
    _blend(hu, inside(_table_distance(t, x, y)), -150.0)
    _blend(hu, inside(body), _SKIN_HU)
    _blend(hu, inside(body + 0.012 * scale), _FAT_HU)
    _blend(hu, inside(muscle), _MUSCLE_HU)
    cavity, below = t.cavity_distance(x, y, z), t.diaphragm_distance(x, y, z)
    _blend(hu, inside(cavity), MEDIASTINUM_HU)
    _blend(hu, inside(np.maximum(cavity, -below)), _LIVER_HU)
    gas = (x - 0.5 * t.cavity_x, y + 0.3 * t.cavity_y, z - t.dome_z[1] + 0.32 * t.half_height)
    gas_distance = np.sqrt(gas[0] ** 2 + gas[1] ** 2 + (gas[2] * 1.6) ** 2) - 0.22 * t.cavity_x
    _blend(hu, inside(gas_distance), -940.0)
    _blend(hu, inside(t.heart_distance(x, y, z)), 0.5 * (t.blood_hu + 45.0))
    _blend(hu, inside(t.aorta_distance(x, y, z)), t.blood_hu)
    lung = t.join_lung(cavity, t.mediastinum_distance(x, y, z), below)
    parenchyma = t.lung_hu + t.table_side * t.gravity_hu * (y / t.cavity_y)
    fissure = z + 0.9 * y * (t.half_height / t.cavity_y) * 0.55 + 0.05 * t.half_height * np.sin(3 * x / t.cavity_x)
    parenchyma = parenchyma + 130 * np.clip(1 - np.abs(fissure) / max(edge_mm, 0.9), 0, 1)
    _blend(hu, inside(lung), parenchyma)
    _paint_spine(t, hu, (x, y, z), edge_mm)
    sternum = np.maximum(np.abs(x) - 0.13 * t.cavity_x, np.abs(y + t.cavity_y * 1.09) - 0.055 * t.cavity_y)
    _blend(hu, inside(np.maximum(sternum, np.abs(z - 0.1 * t.half_height) - 0.45 * t.half_height)), 230.0)
    return hu


def _paint_spine(t: Thorax, hu: FloatArray, xyz: tuple[FloatArray, FloatArray, FloatArray], edge_mm: float) -> None:
    def inside(distance: FloatArray) -> FloatArray:
        return _inside(distance, edge_mm)

    x, y, z = xyz
    rx, ry = t.spine_radii
    body = t.spine_distance(x, y)
    # |sin| is near zero in the discs between two vertebral bodies.
    disc = inside((np.abs(np.sin(np.pi * z / t.vertebra)) - 0.3) * t.vertebra / 3)
    _blend(hu, inside(body), 520.0 - 430.0 * disc)
    _blend(hu, inside(body + 0.16 * ry), 190.0 - 100.0 * disc)
    arch_y = t.spine_y + 1.35 * ry
    arch = np.sqrt((x / (0.75 * rx)) ** 2 + ((y - arch_y) / (0.62 * ry)) ** 2) - 1
    process = np.maximum(np.abs(x) - 0.14 * rx, np.abs(y - arch_y - 0.55 * ry) - 0.45 * ry)
    _blend(hu, inside(np.maximum(process, (disc - 0.5) * 2)), 350.0)
    _blend(hu, inside(arch * 0.65 * ry), 420.0 - 250.0 * disc)
    _blend(hu, inside((arch + 0.35) * 0.65 * ry), 25.0)


def _table_distance(t: Thorax, x: FloatArray, y: FloatArray) -> FloatArray:
    """Mm to the two thin shells of a curved table under the body."""
    top = t.half_depth * 1.03 - 0.10 * t.half_depth * (x / t.half_width) ** 2
    height = t.table_side * y - top
    shell = np.minimum(np.abs(height), np.abs(height - 0.16 * t.half_depth)) - 0.012 * t.half_width
    distance: FloatArray = np.maximum(shell, np.abs(x) - 0.8 * t.half_width)
    return distance


def _inside(distance: FloatArray, edge_mm: float) -> FloatArray:
    """Share of a voxel within a surface, from its distance to it."""
    share: FloatArray = np.clip(0.5 - distance / edge_mm, 0, 1)
    return share


def _blend(hu: FloatArray, weight: FloatArray, value: FloatArray | float) -> None:
    hu += weight * (value - hu)
