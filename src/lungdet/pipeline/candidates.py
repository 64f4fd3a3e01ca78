"""What a candidate source hands to the classifier: places worth a look, with size, density and a score."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Candidates:
    """N places in one scan.

    Attributes:
        center_xyz_mm: float64 [N, 3], world.
        diameter_mm: float64 [N], diameter of the ball of the same volume.
        mean_hu: float64 [N].
        logit: float64 [N], the source's own confidence, not calibrated; it stands where no classifier is given.
        regions: object [N], the `Region` of each on the source's grid, or None where the source has no voxels to show.
    """

    center_xyz_mm: FloatArray
    diameter_mm: FloatArray
    mean_hu: FloatArray
    logit: FloatArray
    regions: npt.NDArray[np.object_]

    def __len__(self) -> int:
        return len(self.center_xyz_mm)

    def take(self, rows: npt.NDArray[np.generic]) -> Candidates:
        """The candidates of an index or boolean array, in its order."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})
