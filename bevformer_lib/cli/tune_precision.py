"""`bevformer tune-precision`: the smallest set of layers that must not be in 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import Count, Device, FirstScene, Fraction, LastScene, Minutes
from bevformer_lib.pulsar2.settings import RecipeName

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.convert.base import Converter
    from bevformer_lib.precision.builders import CandidateBuilder
    from bevformer_lib.precision.groups import LayerGroup
    from bevformer_lib.precision.tune import TuneResult
    from bevformer_lib.progress import ProgressCallback

_MIN_COSINE = 0.99
_EXPLANATION = {
    "precision.json": "everything that was found",
    "layer_configs.yaml": "for bevformer convert --overrides",
    "keep_float.json": "for bevformer quantize --keep-float",
    "trade_off.svg": "the candidates, plotted",
}


def command(
    onnx: Path,
    config_json: Path,
    calibration_dir: Path,
    scenes: Path,
    /,
    *,
    output_dir: Path,
    converter: str = "onnxruntime",
    min_cosine: Fraction | None = None,
    min_matched: Fraction | None = None,
    most_map_lost: Fraction | None = None,
    most_nds_lost: Fraction | None = None,
    time_limit_minutes: Minutes = 60.0,
    probe_frames: Count = 4,
    by_layer: bool = True,
    score_thr: Fraction | None = None,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    device: Device = "cpu",
    recipe: RecipeName = "int8",
    target: str | None = None,
    npu_mode: str | None = None,
    image: str | None = None,
    pulsar2: Path | None = None,
) -> None:
    """Search the layers that must stay in higher precision so that thresholds hold over whole scenes.

    Every candidate runs the scenes with its own bev_embed fed back, until a threshold is missed. When the time is up
    the same command carries on from what was learnt: no candidate is evaluated twice.

    Args:
        onnx: the float model.
        config_json: its inference_config.json.
        calibration_dir: folder with the archives of prepare-calibration.
        scenes: folder of scenes; all frames of each count.
        output_dir: gets the results, and holds what was learnt.
        converter: onnxruntime (kept layers are in float), emulator or pulsar2 (kept layers are in 16 bits; all tensors
            rounded, or run by its simulator).
        min_cosine: threshold: smallest cosine of every output in every frame; 0.99 where no threshold is given.
        min_matched: threshold: smallest share of the float model's boxes that are found.
        most_map_lost: threshold: by how much mAP, against the scenes' annotations, may be below the float model's.
        most_nds_lost: threshold: the same of NDS.
        time_limit_minutes: time budget of this run.
        probe_frames: frames over which every group alone is measured.
        by_layer: in groups that have to be kept, search the single layers that have to.
        score_thr: boxes at or below this score are dropped; without it the config's own threshold holds, if any.
        start_scene: first scene, counted from 0.
        end_scene: scene to stop before.
        device: where ONNX Runtime runs models: cpu, cuda or cuda:N.
        recipe: emulator, pulsar2: settings of everything that is not kept.
        target: emulator, pulsar2: chip.
        npu_mode: pulsar2: cores.
        image: pulsar2: docker image.
        pulsar2: pulsar2: native command instead of docker.
    """
    from rich.console import Console

    from bevformer_lib.backends.converters import EMULATOR, PULSAR2
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.convert.float_model import load_float_model
    from bevformer_lib.convert.selection import select_nodes
    from bevformer_lib.errors import ConversionError
    from bevformer_lib.export.pixel_input import without_normalization
    from bevformer_lib.files import sha256_of_file
    from bevformer_lib.precision.builders import EmulatorBuilder
    from bevformer_lib.precision.candidate import Thresholds
    from bevformer_lib.precision.groups import layer_groups, operators_after_fusion
    from bevformer_lib.precision.outputs import write_outputs
    from bevformer_lib.precision.tune import TuneTask, layers_of, tune_precision
    from bevformer_lib.pulsar2.generate import DEFAULT_HARDWARE
    from bevformer_lib.runtime.contract import check_model
    from bevformer_lib.runtime.onnxruntime import OnnxRuntime
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    for option, value in (("time-limit-minutes", time_limit_minutes), ("probe-frames", probe_frames)):
        if not value > 0:
            raise ConversionError(f"--{option} is {value:g}; give more than 0")
    thresholds = Thresholds(min_cosine, min_matched, most_map_lost, most_nds_lost)
    if thresholds == Thresholds():
        thresholds = Thresholds(_MIN_COSINE)
    config = read_inference_config(config_json)
    reference = OnnxRuntime(onnx, device=device)
    geometry = check_model(reference, config, onnx)
    requirements = SceneRequirements(geometry.num_cams, geometry.image_hw, config.img_norm)
    float_model = load_float_model(onnx)
    identity = {
        "model_sha256": sha256_of_file(onnx),
        "config_sha256": sha256_of_file(config_json),
        "calibration": " ".join(sha256_of_file(path) for path in sorted(calibration_dir.glob("*.tar.gz"))),
        "converter": converter,
    }
    options = {"recipe": recipe, "target": target, "npu_mode": npu_mode, "image": image, "executable": pulsar2}
    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        findings_of: Callable[[Sequence[str]], Sequence[str]] = lambda kept: ()  # noqa: E731
        builder: CandidateBuilder
        # The embedded quantiser has learnt layers in 8 bits, an NPU every operator.
        if converter == PULSAR2:
            identity |= {name: str(value) for name, value in options.items()}
            layers = operators_after_fusion(without_normalization(float_model).graph)
            builder = _pulsar2_builder(onnx, calibration_dir, output_dir, options)
        elif converter == EMULATOR:
            identity |= {"recipe": recipe, "target": str(target)}
            builder = EmulatorBuilder(
                onnx,
                calibration_dir,
                recipe=recipe,
                target=target or DEFAULT_HARDWARE,
                device=device,
                on_progress=on_progress,
            )
            layers, findings_of = builder.layers, builder.findings
        else:
            layers = select_nodes(float_model.graph).layers
            builder = _embedded_builder(converter, onnx, calibration_dir, output_dir, device, identity, on_progress)
        groups = layer_groups(float_model, layers)
        task = TuneTask(
            model=onnx,
            reference=reference,
            config=config,
            preprocessor=Preprocessor(geometry.image_hw, config.img_norm),
            scenes=found,
            groups=groups,
            builder=builder,
            thresholds=thresholds,
            score_threshold=config.box_coder.score_threshold if score_thr is None else score_thr,
            probe_frames=probe_frames,
            seconds=time_limit_minutes * 60,
            identity=identity,
            by_layer=by_layer,
        )
        result = tune_precision(task, output_dir, on_progress=on_progress)
    findings = findings_of(layers_of(result.groups, result.kept or ()))
    write_outputs(result, groups, thresholds, identity, output_dir, findings=findings)
    console = Console()
    console.print(_table(groups, result))
    for line in summary_lines(groups, result, output_dir):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"finding: {finding}", markup=False, highlight=False, soft_wrap=True)


def _embedded_builder(
    converter: str,
    onnx: Path,
    calibration: Path,
    state: Path,
    device: str,
    identity: dict[str, str],
    on_progress: ProgressCallback,
) -> CandidateBuilder:
    import hashlib

    from bevformer_lib.backends.converters import ONNXRUNTIME
    from bevformer_lib.errors import ConversionError
    from bevformer_lib.precision.builders import EmbeddedBuilder

    if converter != ONNXRUNTIME:
        raise ConversionError(f"converter '{converter}' is not known; use onnxruntime, emulator or pulsar2")
    # Ranges belong to one model and one set; another search in the same folder must not find them.
    made_of = hashlib.sha256(f"{identity['model_sha256']} {identity['calibration']}".encode()).hexdigest()
    folder = state / "ranges" / made_of[:16]
    return EmbeddedBuilder(onnx, calibration, folder, device=device, on_progress=on_progress)


def _pulsar2_builder(onnx: Path, calibration: Path, state: Path, options: Mapping[str, object]) -> CandidateBuilder:
    from bevformer_lib.backends.converters import PULSAR2, open_converter
    from bevformer_lib.precision.builders import ConverterBuilder
    from bevformer_lib.precision.requests import write_overrides
    from bevformer_lib.pulsar2.converter import Pulsar2Options
    from bevformer_lib.pulsar2.simulator import Pulsar2Run
    from bevformer_lib.pulsar2.tool import find_tool

    chosen = {name: value for name, value in options.items() if value is not None}
    tool = find_tool(executable=chosen.get("executable"), image=chosen.get("image"))  # type: ignore[arg-type]

    def converter_for(layers: Sequence[str]) -> Converter:
        overrides = state / "overrides.yaml"
        write_overrides(layers, overrides)
        options = Pulsar2Options(**chosen, overrides=overrides, leave_out_missing=True)  # type: ignore[arg-type]
        return open_converter(PULSAR2, pulsar2=options)

    return ConverterBuilder(
        onnx,
        calibration,
        converter_for=converter_for,
        open_model=lambda path: Pulsar2Run(path, tool=tool),
        suffix=".axmodel",
    )


def summary_lines(groups: Sequence[LayerGroup], result: TuneResult, output_dir: Path) -> list[str]:
    """Return the result in words."""
    from bevformer_lib.precision.outputs import macs_share
    from bevformer_lib.precision.tune import layers_of

    candidates = f"{result.new_candidates} candidates in this run, {len(result.candidates)} over whole scenes in all"
    if result.kept is None:
        return [f"no set is known yet that holds the thresholds ({candidates}); the same command carries on"]
    if result.kept:
        layers = layers_of(result.groups, result.kept)
        touched = [group for group in groups if any(layer in layers for layer in group.layers)]
        share = macs_share(groups, layers)
        found = f"keep {len(touched)} of {len(groups)} groups"
        if (among := sum(len(group.layers) for group in touched)) != len(layers):
            found += f", {len(layers)} of their {among} layers"
        found += f" ({share:.1%} of the multiply-accumulates)"
        found += f": {', '.join(result.kept)}"
    else:
        found = "nothing need be kept: the thresholds hold with everything in 8 bits"
    if result.reference_metrics is not None:
        best = next(one for names, one in result.candidates if set(names) == set(result.kept))
        for name, before, after in zip(("mAP", "NDS"), result.reference_metrics, (best.mean_ap, best.nds), strict=True):
            found += f"; {name} {before:.4f} -> {after or 0.0:.4f}"
    state = "minimal" if result.minimal else "the time was up, the same command carries on to a smaller set"
    return [
        f"{found} ({state}; {candidates})",
        *(f"{output_dir / name}: {what}" for name, what in _EXPLANATION.items()),
    ]


def _table(groups: Sequence[LayerGroup], result: TuneResult) -> Table:
    from rich.table import Table

    from bevformer_lib.precision.tune import layers_of
    from bevformer_lib.report import numbers

    total = sum(group.macs for group in groups)
    layers = layers_of(result.groups, result.kept or ())
    table = Table("group", "layers", "multiply-accumulates", "error alone", "kept", title_justify="left")
    for group in groups:
        kept = sum(layer in layers for layer in group.layers)
        table.add_row(
            group.name,
            str(len(group.layers)),
            numbers.percent(group.macs / total if total else None),
            numbers.error(result.sensitivity.get(group.name)),
            str(kept) if kept else "",
        )
    return table
