"""lungdet: config-driven experiments for lung-nodule detection on chest CT."""

__version__ = "0.1.0"
