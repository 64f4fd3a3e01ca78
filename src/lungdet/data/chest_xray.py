"""Chest X-rays, normal or pneumonia, as a DataModule: `data=chest_xray data.root=<folder or manifest.csv>`."""

from __future__ import annotations

import numpy as np

from lungdet.data.images import ImageDataModule
from lungdet.io.chest_xray import read_chest_xray
from lungdet.io.image_collection import ImageCollection
from lungdet.io.shipped_split import shipped_split


class ChestXrayDataModule(ImageDataModule):
    """The X-rays of Kermany et al. (2018, doi 10.17632/rscbjbr9sj.2), or any others that a manifest lists.

    `root` is the folder with train, val and test, each with NORMAL and PNEUMONIA, or a CSV (`read_manifest`).
    """

    data_name = "chest_xray"
    channels = 1

    def read_collection(self) -> ImageCollection:
        """The images, and what is to be said of the parts they are shipped in; errors as `read_chest_xray`."""
        images = read_chest_xray(self.root).images
        table = images.assign(label=images["is_pneumonia"].astype(np.int8), row=-1)
        remarks = tuple(shipped_split(images).remarks)
        return ImageCollection(("normal", "pneumonia"), "chest X-ray", "chest X-rays", self.channels, table, remarks)
