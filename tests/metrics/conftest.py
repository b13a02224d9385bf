"""The dataset of the tests of nuScenes."""

from tests.nuscenes.conftest import dataset, extracted, nuscenes_root, scenes

__all__ = ["dataset", "extracted", "nuscenes_root", "scenes"]
