"""The calibration set as steps: ``prev_bev`` of every scene that holds a chosen frame, then the four archives."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from bevformer_lib.backends.runtimes import ONNXRUNTIME, RUNTIMES
from bevformer_lib.calibration.collect import collect_scene_samples
from bevformer_lib.calibration.pack import pack_calibration
from bevformer_lib.calibration.plan import CalibrationPlan
from bevformer_lib.calibration.samples import samples_from_scenes
from bevformer_lib.pipeline.inputs import IMAGE_PACKAGES, SceneSource, open_artifact
from bevformer_lib.pipeline.linked import linked_folder
from bevformer_lib.pipeline.runtimes import Executable
from bevformer_lib.pipeline.work import NOT_IN_KEY, PART, Work
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.scenes.preprocess import Preprocessor
from bevformer_lib.scenes.requirements import SceneRequirements
from bevformer_lib.store.base import Store
from bevformer_lib.store.step import Artifact


@dataclass(frozen=True)
class PrevBevWork(
    Work,
    step="calibration-prev-bev",
    pool="gpu",
    modules=(RUNTIMES[ONNXRUNTIME],),
    packages=("onnxruntime", *IMAGE_PACKAGES),
):
    """Runs a scene as far as needed; puts out the ``prev_bev`` of its chosen frames.

    Attributes:
        positions: places of the chosen frames in the scene, ascending.
        device: where to run it: any device gives the same up to rounding.
    """

    scene: SceneSource = field(metadata=PART)
    positions: tuple[int, ...]
    graph: Artifact
    requirements: SceneRequirements
    device: str = field(metadata=NOT_IN_KEY)

    @property
    def num_frames(self) -> int:
        """Frames before the last chosen one, whose state is what they leave behind."""
        return max(1, max(self.positions))

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Run the scene.

        Raises:
            CalibrationError: a state holds NaN or infinity.
            SceneError: the scene can't be read.
            RuntimeUnavailableError: the model can't be run here.
        """
        runtime = Executable(self.graph, ONNXRUNTIME, self.device).open(store)
        preprocessor = Preprocessor(self.requirements.image_hw, self.requirements.img_norm)
        collect_scene_samples(
            self.scene.read(self.requirements),
            self.positions,
            runtime,
            preprocessor,
            folder / _STATES,
            on_progress=_labelled(f"prev_bev states of {self.scene.name}", on_progress),
        )
        return {"frames_run": max(self.positions), "device": self.device}


@dataclass(frozen=True)
class PackWork(Work, step="calibration", packages=IMAGE_PACKAGES):
    """Packs the chosen frames into the four archives and their manifest.

    Attributes:
        scenes: the scenes that hold one.
        states: what :class:`PrevBevWork` put out, by scene.
    """

    plan: CalibrationPlan
    scenes: tuple[SceneSource, ...]
    states: Mapping[str, Mapping[str, Artifact]]
    graph: Artifact
    requirements: SceneRequirements

    def produce(self, store: Store, folder: Path, on_progress: ProgressCallback) -> Mapping[str, Any]:
        """Pack the archives.

        Raises:
            CalibrationError: a sample does not fit the others.
            SceneError: a scene can't be read.
        """
        from bevformer_lib.export.host_geometry import host_geometry_of_graph
        from bevformer_lib.export.pixel_input import file_takes_pixels

        scenes = {scene.name: scene.read(self.requirements) for scene in self.scenes}
        files = {
            f"{name}/{file}": artifact for name, listed in self.states.items() for file, artifact in listed.items()
        }
        graph = open_artifact(store, self.graph)
        image_hw, img_norm = self.requirements.image_hw, self.requirements.img_norm
        preprocessor = Preprocessor(image_hw, img_norm, pixels=file_takes_pixels(graph))
        with linked_folder(store, files) as collected:
            pack_calibration(
                samples_from_scenes(
                    self.plan,
                    scenes,
                    {name: collected / name / _STATES for name in scenes},
                    preprocessor,
                ),
                folder,
                num_samples=self.plan.num_samples,
                seed=self.plan.seed,
                model_sha256=self.graph.sha256,
                host_geometry=host_geometry_of_graph(graph),
                on_progress=on_progress,
            )
        by_scene = {name: len(places) for name, places in self.plan.positions().items()}
        first = sum(sample.position == 0 for sample in self.plan.samples)
        return {"samples_by_scene": by_scene, "first_frames": first}


_STATES: Final = "states"


def _labelled(label: str, on_progress: ProgressCallback) -> ProgressCallback:
    return lambda _, done, total: on_progress(label, done, total)
