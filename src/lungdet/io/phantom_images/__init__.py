"""Simulated 2-D images with known lesions, written in the layouts of the real collections."""

from lungdet.io.phantom_images.chest_xray import write_chest_xray_phantom
from lungdet.io.phantom_images.histopathology import write_histopathology_phantom
from lungdet.io.phantom_images.spec import ChestXrayPhantomSpec, HistopathologyPhantomSpec, ImagePhantomSpec
from lungdet.io.phantom_images.write import write_image_phantom

__all__ = [
    "ChestXrayPhantomSpec",
    "HistopathologyPhantomSpec",
    "ImagePhantomSpec",
    "write_chest_xray_phantom",
    "write_histopathology_phantom",
    "write_image_phantom",
]
