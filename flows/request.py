"""What a build is asked for."""

from __future__ import annotations

from pathlib import PurePath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bevformer_lib.backends.converters import EXECUTED_BY
from tasks.settings import in_order


class Pulsar2Request(BaseModel):
    """How Pulsar2 converts; what is empty is the recipe's or the tool's own choice."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    recipe: Annotated[
        Literal["vendor-tiny", "int8", "w8a16", "all-u16", "mixed"] | None,
        Field(description="Named settings of quantisation; empty: mixed."),
    ] = None
    npu_mode: Annotated[
        Literal["NPU1", "NPU2", "NPU3", "NPU4"] | None,
        Field(description="Cores to compile for; empty: all that the chip has."),
    ] = None
    overrides: Annotated[str | None, Field(description="YAML file with build config settings of your own.")] = None
    image: Annotated[str | None, Field(description="Docker image of Pulsar2.")] = None
    executable: Annotated[str | None, Field(description="Native pulsar2 command instead of docker.")] = None
    time_limit_minutes: Annotated[float | None, Field(description="Stop the conversion after this time.", gt=0)] = None
    memory_limit_gb: Annotated[float | None, Field(description="Most memory of the conversion.", gt=0)] = None


class BuildRequest(BaseModel):
    """Parameters of a build; the form that Prefect's UI shows."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    model: Annotated[
        str, Field(description="Preset name (tiny, small, base), or the path of an original config file.", min_length=1)
    ]
    checkpoint: Annotated[
        str,
        Field(description="The .pth file with the weights: a path, or hf://owner/repo[@revision]/path.", min_length=1),
    ]
    scenes: Annotated[
        str, Field(description="Folder of scenes: a path, or hf://owner/repo[@revision]/path.", min_length=1)
    ]
    store: Annotated[str, Field(description="Where artifacts are kept: a folder, or s3://bucket/prefix.", min_length=1)]
    image_size: Annotated[
        str | None, Field(description="Padded image size HxW in pixels; empty: the config's own.")
    ] = None
    num_samples: Annotated[int, Field(description="Frames in the calibration set.", ge=1, le=1_000_000)] = 32
    seed: Annotated[int, Field(description="Another seed chooses other calibration frames.", ge=0, le=2**63 - 1)] = 0
    start_scene: Annotated[int, Field(description="First scene, counted from 0.", ge=0)] = 0
    end_scene: Annotated[int | None, Field(description="Scene to stop before; empty: all.", ge=1)] = None
    target: Annotated[
        Literal["AX650", "AX620E", "AX615", "AX637", "M57", "M76H"],
        Field(description="Chip that the graph is made for."),
    ] = "AX650"
    spatial: Annotated[
        Literal["dense", "slots"] | None,
        Field(description="How BEV cells sample the cameras; empty: slots where they are fewer than the cameras."),
    ] = None
    cameras_per_query: Annotated[
        int | None,
        Field(description="Room per cell of the slots; empty: what so many cameras around a car need.", ge=1),
    ] = None
    geometry: Annotated[
        Literal["graph", "host"] | None,
        Field(description="Who computes where cells lie in cameras and history; empty: host."),
    ] = None
    waive: Annotated[
        tuple[str, ...], Field(description="Findings of the check for the chip to let pass: RULE, or RULE:NODE.")
    ] = ()
    converter: Annotated[
        Literal["onnxruntime", "pulsar2", "emulator"],
        Field(description="What makes the quantised model; the emulator works out what Pulsar2 would make."),
    ] = "emulator"
    pulsar2: Annotated[Pulsar2Request, Field(description="Settings of Pulsar2, where it or its emulator converts.")] = (
        Pulsar2Request()
    )
    runtime: Annotated[
        Literal["onnxruntime", "pulsar2", "axengine"] | None,
        Field(description="What executes the quantised model; empty: ONNX Runtime, or Pulsar2's simulator."),
    ] = None
    policy: Annotated[str | None, Field(description="YAML file with the gates; empty: those that come along.")] = None
    drop_camera: Annotated[
        str | None,
        Field(description="Measure too without this camera, whose images are black then: its name, or all in turn."),
    ] = None
    publish: Annotated[bool, Field(description="Publish the build if it passes its gates.")] = False
    device: Annotated[
        str,
        Field(
            description="Where float models run: cpu, cuda or cuda:N. A worker's BEVFORMER_DEVICE takes precedence.",
            pattern=r"^(cpu|cuda(:[0-9]+)?)$",
        ),
    ] = "cpu"
    score_threshold: Annotated[
        float | None, Field(description="Boxes at or below are dropped; empty: as the model's config says.", ge=0, le=1)
    ] = None

    @model_validator(mode="after")
    def _the_runtime_executes_what_the_converter_makes(self) -> BuildRequest:
        executed_by = EXECUTED_BY[self.converter]
        if self.runtime is not None and self.runtime not in executed_by:
            raise ValueError(
                f"what the converter {self.converter} makes is executed by {' or '.join(executed_by)}, "
                f"not by {self.runtime}"
            )
        return self

    @property
    def label(self) -> str:
        """Short name for people: the preset, or the config file without its folder and suffix."""
        return PurePath(self.model).stem
