"""From a checkpoint to a static ONNX graph that is checked, proven, and only then given its name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import onnx

from bevformer_lib.config.host_geometry import DEFAULT_GEOMETRY, GeometryForm, HostGeometryConfig
from bevformer_lib.config.model_config import ImageDtype, ModelConfig
from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import DEFAULT_CHIP, Chip, load_chip
from bevformer_lib.export.graph import OPSET
from bevformer_lib.export.intermediate_outputs import drop_outputs, intermediate_names
from bevformer_lib.export.lint.findings import LintReport, Waiver
from bevformer_lib.export.lint.run import lint, require_no_errors
from bevformer_lib.export.parity import ParityReport, check_parity
from bevformer_lib.export.passes import simplify
from bevformer_lib.export.passes.pipeline import PASSES, GraphPass, PassReport, run_passes
from bevformer_lib.export.pixel_input import normalize_inside
from bevformer_lib.export.provenance import Provenance, package_versions, write_provenance
from bevformer_lib.export.reachability import require_all_paths
from bevformer_lib.export.spatial import SpatialChoice, choose_spatial
from bevformer_lib.export.trace import EXPORTER, trace_model
from bevformer_lib.files import atomic_path, require_writable_file, sha256_of_file
from bevformer_lib.model.bevformer import build_model
from bevformer_lib.model.camera_sampling import DenseSampling, SpatialForm
from bevformer_lib.model.checkpoint import CheckpointFacts, load_checkpoint
from bevformer_lib.progress import ProgressCallback, no_progress
from bevformer_lib.runtime.model_metadata import BEV_HW_KEY

RAW_SUFFIX: Final = "_raw"
_PROVEN_PASSES: Final[Mapping[str, GraphPass]] = {**PASSES, "simplify": partial(simplify.apply, compare_values=False)}
"""The parity check compares the result with PyTorch itself."""


@dataclass(frozen=True)
class ExportResult:
    """A finished export.

    Attributes:
        raw_output: the graph before the passes.
        operators: operator -> number of nodes in ``output``, most frequent first.
        parity: figures of the comparison with PyTorch, which samples every cell in every camera.
        host_geometry: what the host needs to compute its geometry; ``None``: the graph computes it.
        image_bytes: of the images of a frame, as the graph takes them.
        lint: what the check for the chip found: no errors, perhaps warnings and waived findings.
        seconds: stage -> time taken.
    """

    output: Path
    raw_output: Path
    sha256: str
    size_bytes: int
    operators: Mapping[str, int]
    passes: tuple[PassReport, ...]
    parity: ParityReport
    spatial: SpatialChoice
    host_geometry: HostGeometryConfig | None
    image_bytes: int
    lint: LintReport
    provenance: Provenance
    checkpoint: CheckpointFacts
    seconds: Mapping[str, float]


def raw_path(output: Path) -> Path:
    """Return where the graph before the passes goes: ``X.onnx`` -> ``X_raw.onnx``."""
    return output.with_name(f"{output.stem}{RAW_SUFFIX}{output.suffix}")


def export_onnx(
    config: ModelConfig,
    checkpoint: Path,
    output: Path,
    *,
    spatial: SpatialForm | None = None,
    cameras_per_query: int | None = None,
    geometry: GeometryForm | None = None,
    input_dtype: ImageDtype = "float32",
    target: str = DEFAULT_CHIP,
    waivers: Sequence[Waiver] = (),
    on_progress: ProgressCallback = no_progress,
) -> ExportResult:
    """Export a checkpoint; the same checkpoint and configuration give the same bytes.

    Args:
        config: the model's configuration.
        checkpoint: its weights.
        output: the ``.onnx`` file to write; the raw graph goes beside it. Files of these names are replaced, once the
            new ones have passed everything.
        spatial: how the cameras are sampled; ``None``: what :func:`choose_spatial` finds best.
        cameras_per_query: most cameras of a cell; ``None``: what so many cameras around a car need.
        geometry: who computes sampling locations, visibility and ego motion; ``None``: the host.
        input_dtype: what ``img`` is: normalised images, or pixels.
        target: the chip whose converter must accept the graph.
        waivers: findings of the check to let pass.
        on_progress: called with the progress of stages, passes and frames of the parity check.

    Raises:
        CheckpointError: the checkpoint can't be read, or is not of this configuration.
        ParityError: the graph does not compute what the model computes.
        ExportError: the graph can't be made, the chip's converter won't take it, or an input lost its influence.
            After any error nothing new is under either name.
        OutputError: nothing can be written there.
    """
    if output.suffix != ".onnx":
        raise ExportError(f"{output}: name the graph to write with the suffix .onnx")
    for path in (output, raw_path(output)):
        require_writable_file(path)
    _require_use_of_can_bus(config)
    chip = load_chip(target)
    choice = choose_spatial(config, spatial, cameras_per_query)
    stages = _Stages(on_progress)
    with stages.run("load"):
        model = build_model(config, spatial=choice.form, cameras_per_query=choice.cameras_per_query)
        facts = load_checkpoint(checkpoint, model)
    provenance = _provenance(config, facts)
    host_geometry = choice.host_geometry(model) if (geometry or DEFAULT_GEOMETRY) == "host" else None
    metadata = choice.metadata(config) | (host_geometry.to_metadata() if host_geometry else {})
    metadata |= {BEV_HW_KEY: f"{config.bev_h}x{config.bev_w}"}
    with atomic_path(raw_path(output)) as raw_file, atomic_path(output) as file:
        with stages.run("trace"):
            trace_model(model, config, raw_file, host_geometry=host_geometry)
            raw = onnx.load(str(raw_file))
        with stages.run("passes"):
            # The named tensors are outputs meanwhile: no rewrite may lose them.
            graph, reports = run_passes(raw, _PROVEN_PASSES, on_progress)
            for model_proto, path in ((raw, raw_file), (graph, file)):
                drop_outputs(model_proto.graph, intermediate_names(config))
                if input_dtype == "uint8":
                    normalize_inside(model_proto.graph, config.img_norm)
                _save(model_proto, provenance, metadata, path)
            del raw
        with stages.run("check"):
            findings = _check(graph, file, output, chip, waivers)
            operators = _count_operators(graph)
            del graph
        with stages.run("parity check"):
            # Whatever the graph samples, it has to give what sampling every cell in every camera gives.
            model.use_sampling(DenseSampling())
            parity = check_parity(model, file, config, on_progress=on_progress)
    return ExportResult(
        output=output,
        raw_output=raw_path(output),
        sha256=sha256_of_file(output),
        size_bytes=output.stat().st_size,
        operators=operators,
        passes=reports,
        parity=parity,
        spatial=choice,
        host_geometry=host_geometry,
        image_bytes=config.image_bytes(input_dtype),
        lint=findings,
        provenance=provenance,
        checkpoint=facts,
        seconds=stages.seconds,
    )


def _require_use_of_can_bus(config: ModelConfig) -> None:
    if not (config.use_can_bus or config.use_shift or config.rotate_prev_bev):
        raise ExportError(
            f"{config.name}: use_can_bus, use_shift and rotate_prev_bev are all off, so the graph would have no "
            "can_bus input and the history would not follow the car; turn one of them on"
        )


class _Stages:
    """Times the stages and reports each when it begins and when it is done."""

    def __init__(self, on_progress: ProgressCallback) -> None:
        self.seconds: dict[str, float] = {}
        self._on_progress = on_progress

    @contextmanager
    def run(self, name: str) -> Iterator[None]:
        label = f"export: {name}"
        self._on_progress(label, 0, 1)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started
        self._on_progress(label, 1, 1)


def _provenance(config: ModelConfig, facts: CheckpointFacts) -> Provenance:
    return Provenance(
        checkpoint_name=facts.file_name,
        checkpoint_sha256=facts.sha256,
        config_name=config.name,
        config_digest=config.digest(),
        image_hw=config.image_hw,
        opset=OPSET,
        exporter=EXPORTER,
        versions=package_versions(),
    )


def _save(graph: onnx.ModelProto, provenance: Provenance, more_metadata: Mapping[str, str], file: Path) -> None:
    write_provenance(graph, provenance)
    graph.metadata_props.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in more_metadata.items())
    onnx.save(graph, str(file))


def _check(graph: onnx.ModelProto, file: Path, output: Path, chip: Chip, waivers: Sequence[Waiver]) -> LintReport:
    try:
        onnx.checker.check_model(str(file), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"{output}: the graph is not valid ONNX: {error}") from error
    report = lint(graph, chip, waivers=waivers)
    require_no_errors(report, output)
    require_all_paths(graph.graph)
    return report


def _count_operators(graph: onnx.ModelProto) -> dict[str, int]:
    counts: dict[str, int] = {}
    for node in graph.graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
