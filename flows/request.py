"""What a build is asked for."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Pulsar2Request(BaseModel):
    """How Pulsar2 converts; what is empty is the recipe's or the tool's own choice."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipe: Annotated[str, Field(description="Named settings: vendor-tiny, int8, w8a16 or all-u16.")] = "vendor-tiny"
    npu_mode: Annotated[str | None, Field(description="Cores to compile for, NPU1 to NPU4.")] = None
    overrides: Annotated[str | None, Field(description="YAML file with build config settings of your own.")] = None
    image: Annotated[str | None, Field(description="Docker image of Pulsar2.")] = None
    executable: Annotated[str | None, Field(description="Native pulsar2 command instead of docker.")] = None
    time_limit_minutes: Annotated[float | None, Field(description="Stop the conversion after this time.", gt=0)] = None
    memory_limit_gb: Annotated[float | None, Field(description="Most memory of the conversion.", gt=0)] = None


class BuildRequest(BaseModel):
    """Parameters of a build; the form that Prefect's UI shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(description="Preset name (tiny, small, base), or the path of an original config file.")]
    checkpoint: Annotated[
        str, Field(description="The .pth file with the weights: a path, or hf://owner/repo[@revision]/path.")
    ]
    scenes: Annotated[str, Field(description="Folder of scenes: a path, or hf://owner/repo[@revision]/path.")]
    store: Annotated[str, Field(description="Where artifacts are kept: a folder, or s3://bucket/prefix.")]
    num_samples: Annotated[int, Field(description="Frames in the calibration set.", ge=1)] = 32
    seed: Annotated[int, Field(description="Another seed chooses other calibration frames.")] = 0
    start_scene: Annotated[int, Field(description="First scene, counted from 0.", ge=0)] = 0
    end_scene: Annotated[int | None, Field(description="Scene to stop before; empty: all.", ge=1)] = None
    target: Annotated[str, Field(description="Chip that the graph is made for.")] = "AX650"
    converter: Annotated[
        Literal["onnxruntime", "pulsar2"], Field(description="What turns the graph into a quantised model.")
    ] = "onnxruntime"
    pulsar2: Annotated[Pulsar2Request, Field(description="Settings of Pulsar2, where it is the converter.")] = (
        Pulsar2Request()
    )
    runtime: Annotated[
        Literal["onnxruntime", "pulsar2", "axengine"] | None,
        Field(description="What executes the quantised model; empty: ONNX Runtime, or Pulsar2's simulator."),
    ] = None
    policy: Annotated[str | None, Field(description="YAML file with the gates; empty: those that come along.")] = None
    publish: Annotated[bool, Field(description="Publish the build if it passes its gates.")] = False
    device: Annotated[str, Field(description="Where float models run: cpu, cuda or cuda:N.")] = "cpu"
    score_threshold: Annotated[
        float | None, Field(description="Boxes at or below are dropped; empty: as the model's config says.", ge=0, le=1)
    ] = None

    @property
    def label(self) -> str:
        """Short name for people: the preset, or the config file without its folder and suffix."""
        return PurePath(self.model).stem
