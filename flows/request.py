"""What a build is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, Final, Literal, TypeAlias

from cyclopts import Parameter
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from bevformer_lib.backends.converters import CONVERTERS, EXECUTED_BY, TAKE_PULSAR2_SETTINGS
from bevformer_lib.backends.runtimes import RUNTIMES
from bevformer_lib.cli.options import DEVICE_PATTERN, MOST_SCENES, MOST_SEED, NPU_PATTERN
from bevformer_lib.config.host_geometry import GeometryForm
from bevformer_lib.config.model_config import ImageDtype
from bevformer_lib.config.presets import PRESETS
from bevformer_lib.demo import DEMO
from bevformer_lib.export.chip import DEFAULT_CHIP, chip_names
from bevformer_lib.ptq.names import DEFAULT_PASSES, PASSES, as_they_run
from bevformer_lib.pulsar2.settings import Pulsar2Settings
from bevformer_lib.store.open import ADDRESS_PATTERN
from tasks.settings import in_order

if TYPE_CHECKING:
    _Chip: TypeAlias = str
    _Converter: TypeAlias = str
    _Runtime: TypeAlias = str
    _PtqPass: TypeAlias = str
else:
    _Chip, _Converter, _Runtime, _PtqPass = (
        Literal[tuple(registry)] for registry in (chip_names(), CONVERTERS, RUNTIMES, PASSES)
    )


_HUB: Final = r"hf://(@[^/:]+|[^/:@]*)(/.*)?"


@dataclass(frozen=True)
class Place:
    """Marks a field that names a file, a folder or an address.

    The forms of deployments take it absolute only, for a worker's folder is its own. No pattern leaves room for a user
    and a password: Prefect's database keeps what is typed. The command line takes relative paths.

    Attributes:
        names: what else it may be: something that the product knows by name.
        address: pattern of the addresses that it may be.
    """

    names: tuple[str, ...] = ()
    address: str | None = None

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Add the pattern to the form's field."""
        kinds = (*map(re.escape, self.names), "/.*", "file:///.*", *filter(None, [self.address]))
        return {**handler(core), "pattern": f"^({'|'.join(kinds)})$"}


class Pulsar2Request(Pulsar2Settings):
    """How the weights are prepared for 8 bits, and how Pulsar2 converts."""

    model_config = ConfigDict(json_schema_extra=in_order)

    ptq_passes: Annotated[
        tuple[_PtqPass, ...],
        Field(description="Pulsar2, emulator: changes of the float weights so that less is lost in 8 bits."),
        Parameter(negative="--no-ptq-passes"),
        AfterValidator(as_they_run),  # the same work has the same key
    ] = DEFAULT_PASSES
    overrides: Annotated[
        str | None, Place(), Field(description="Pulsar2, emulator: YAML file with build config settings of your own.")
    ] = None


class BuildRequest(BaseModel):
    """Parameters of a build: the form that Prefect's UI shows, and the options of `bevformer build`."""

    model_config = ConfigDict(extra="forbid", frozen=True, json_schema_extra=in_order)

    model: Annotated[
        str,
        Place(names=(*PRESETS, DEMO)),
        Field(description=f"Preset name ({', '.join(PRESETS)}), or the path of an original config file.", min_length=1),
    ]
    checkpoint: Annotated[
        str,
        Place(names=(DEMO,), address=_HUB),
        Field(
            description="The .pth file with the weights: a path, hf://owner/repo[@revision]/path, or `demo` (shipped).",
            min_length=1,
        ),
    ]
    scenes: Annotated[
        str,
        Place(address=_HUB),
        Field(description="Folder of scenes: a path, or hf://owner/repo[@revision]/path.", min_length=1),
    ]
    store: Annotated[
        str,
        Place(address=ADDRESS_PATTERN),
        Field(
            description="Keeps every artifact: a folder (made if missing), or s3://bucket/prefix.",
            min_length=1,
        ),
    ]
    image_size: Annotated[
        str | None, Field(description="Padded image size HxW in pixels, without it the config's own.")
    ] = None
    num_samples: Annotated[int, Field(description="Frames in the calibration set.", ge=1, le=MOST_SCENES)] = 32
    seed: Annotated[int, Field(description="Another seed chooses other calibration frames.", ge=0, le=MOST_SEED)] = 0
    start_scene: Annotated[int, Field(description="First scene, counted from 0.", ge=0, le=MOST_SCENES)] = 0
    end_scene: Annotated[
        int | None, Field(description="Scene to stop before, without it none.", ge=1, le=MOST_SCENES)
    ] = None
    target: Annotated[_Chip, Field(description="Chip that the graph is made for.")] = DEFAULT_CHIP
    spatial: Annotated[
        Literal["dense", "visible"] | None,
        Field(description="How BEV cells sample the cameras, without it visible where these are fewer than all."),
    ] = None
    cameras_per_query: Annotated[
        int | None,
        Field(
            description="Most cameras that see a BEV cell, without it what so many cameras around a car need.",
            ge=1,
            le=MOST_SCENES,
        ),
    ] = None
    geometry: Annotated[
        GeometryForm | None,
        Field(description="Who computes where cells lie in the cameras and in prev_bev, without it host."),
    ] = None
    input_dtype: Annotated[
        ImageDtype,
        Field(description="Images that the host has normalised, or pixels, a quarter of the bytes."),
    ] = "float32"
    waive: Annotated[
        tuple[str, ...],
        Field(description="Findings of the check for the chip to let pass: RULE everywhere, or RULE:NODE."),
        Parameter(negative=""),
    ] = ()
    converter: Annotated[
        _Converter,
        Field(description="What makes the quantised model; the emulator works out what Pulsar2 would make."),
    ] = "emulator"
    pulsar2: Annotated[
        Pulsar2Request,
        Field(description="Settings of Pulsar2, where it or its emulator converts."),
        Parameter(name="*"),
    ] = Pulsar2Request()
    runtime: Annotated[
        _Runtime | None,
        Field(description="What executes the quantised model, without it ONNX Runtime, or Pulsar2's simulator."),
    ] = None
    policy: Annotated[
        str | None,
        Place(),
        Field(description="YAML file with the gates that the build must pass, without it the shipped ones."),
    ] = None
    drop_camera: Annotated[
        str | None,
        Field(
            description="Measure NDS and mAP without this camera too, whose images are black then: its name, or all "
            "for each in turn, which takes as many evaluations more."
        ),
    ] = None
    publish: Annotated[bool, Field(description="Publish the build if it passes its gates.")] = False
    device: Annotated[
        str,
        Field(
            description="Where float models run: cpu, cuda or cuda:N. A worker's BEVFORMER_DEVICE takes precedence.",
            pattern=DEVICE_PATTERN,
        ),
    ] = "cpu"
    npu: Annotated[
        str | None,
        Field(
            description="Which NPU of its machine AXEngine uses: board, card or card:N, without it the board's, or "
            "else the first card. A worker's BEVFORMER_NPU takes precedence.",
            pattern=NPU_PATTERN,
        ),
    ] = None
    score_threshold: Annotated[
        float | None,
        Field(
            description="Boxes at or below are dropped, without it the config's own threshold holds, if any.",
            ge=0,
            le=1,
        ),
        Parameter(name=["--score-thr", "--score-threshold"]),
    ] = None

    @model_validator(mode="after")
    def _settings_of_pulsar2_are_for_a_converter_that_takes_them(self) -> BuildRequest:
        given = self.pulsar2.model_dump(exclude_defaults=True)
        if given and self.converter not in TAKE_PULSAR2_SETTINGS:
            raise ValueError(
                f"{', '.join(given)} are settings of Pulsar2; the converter {self.converter} has none of them: "
                "leave them out"
            )
        return self

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
    def relative_paths(self) -> dict[str, str]:
        """What is named relative to a folder, by field: only the machine where it was typed knows which folder."""
        return {field: path for field, path in _places(self) if "://" not in path and not PurePath(path).is_absolute()}

    @property
    def label(self) -> str:
        """Short name for people: the preset, or the config file without its folder and suffix."""
        return PurePath(self.model).stem


def _places(model: BaseModel, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield the fields that name files, folders or addresses, with what is given for them."""
    for name, declared in type(model).model_fields.items():
        value = getattr(model, name)
        if isinstance(value, BaseModel):
            yield from _places(value, f"{prefix}{name}.")
        for place in declared.metadata:
            if isinstance(place, Place) and value is not None and value not in place.names:
                yield f"{prefix}{name}", value
