"""What a build is asked for."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class BuildRequest(BaseModel):
    """Parameters of a build; the form that Prefect's UI shows."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(description="Preset name (tiny, small, base), or the path of an original config file.")]
    checkpoint: Annotated[str, Field(description="The .pth file with the weights.")]
    scenes: Annotated[str, Field(description="Folder of scenes.")]
    store: Annotated[str, Field(description="Where artifacts are kept.")]
    num_samples: Annotated[int, Field(description="Frames in the calibration set.", ge=1)] = 32
    seed: Annotated[int, Field(description="Another seed chooses other calibration frames.")] = 0
    start_scene: Annotated[int, Field(description="First scene, counted from 0.", ge=0)] = 0
    end_scene: Annotated[int | None, Field(description="Scene to stop before; empty: all.", ge=1)] = None
    target: Annotated[str, Field(description="Chip that the graph is made for.")] = "AX650"
    converter: Annotated[str, Field(description="What quantises the graph.")] = "onnxruntime"
    device: Annotated[str, Field(description="Where float models run: cpu, cuda or cuda:N.")] = "cpu"
    score_threshold: Annotated[
        float | None, Field(description="Boxes at or below are dropped; empty: as the model's config says.", ge=0, le=1)
    ] = None
