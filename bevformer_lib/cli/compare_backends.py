"""`bevformer compare-backends`: PyTorch, ONNX, quantised, simulator and board on the same frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from bevformer_lib.cli.options import CellsXY, Device, FirstScene, Fraction, LastScene, Npu

if TYPE_CHECKING:
    from rich.table import Table

    from bevformer_lib.config.inference_config import InferenceConfig
    from bevformer_lib.evaluate.backend_comparison import Backend, BackendComparison

PYTORCH, RECORDED, ONNX, QUANTIZED, EMULATED_OPTIMISTIC, EMULATED, SIMULATOR, BOARD = (
    "PyTorch",
    "recorded",
    "ONNX",
    "quantised",
    "emulation, optimistic",
    "emulation",
    "simulator",
    "board",
)


def command(
    config_json: Path,
    scenes: Path,
    /,
    *,
    output: Path,
    checkpoint: Path | None = None,
    model: str | None = None,
    image_size: str | None = None,
    recorded: Path | None = None,
    onnx: Path | None = None,
    quantized: Path | None = None,
    emulated: Path | None = None,
    simulator: Path | None = None,
    board: Path | None = None,
    min_cosine: Fraction = 0.99,
    score_thr: Fraction | None = None,
    start_scene: FirstScene = 0,
    end_scene: LastScene = None,
    device: Device = "cpu",
    npu: Npu | None = None,
    host_rotate_center: CellsXY | None = None,
) -> None:
    """Run a model's backends over the same frames, and name the first that falls below the threshold.

    Give two or more. Each is fed its own prev_bev states. Intermediate outputs are compared where a backend gives
    them.

    Args:
        config_json: inference config of all.
        scenes: folder of scenes.
        output: JSON file to write; the report stands beside it, with the end .html.
        checkpoint: PyTorch: the weights; give --model too.
        model: PyTorch: preset name (tiny, small, base), or an original config file.
        image_size: PyTorch: padded image size HxW in pixels, instead of the config's own.
        recorded: folder that bevformer record wrote, as first backend on machines that can't run it.
        onnx: the float graph.
        quantized: a quantised ONNX graph.
        emulated: what convert --converter emulator wrote; its other bound, which lies beside it, is run too.
        simulator: an .axmodel, run by pulsar2 run.
        board: an .axmodel, run by AXEngine on this machine; or the folder of its outputs, recorded on a board.
        min_cosine: threshold: smallest cosine of a tensor with the first backend's, in any frame.
        score_thr: boxes at or below this score are dropped; without it the config's own threshold holds, if any.
        start_scene: first scene, counted from 0.
        end_scene: scene to stop before.
        device: where ONNX Runtime runs graphs: cpu, cuda or cuda:N.
        npu: which NPU AXEngine uses: board, card or card:N; the board's, or else the first card, if left out.
        host_rotate_center: rotate prev_bev of simulator and board here, about this x and y in cells, for models that
            don't do it themselves (the vendor's exported ones: 100 100).
    """
    from rich.console import Console

    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.config.inference_config import read_inference_config
    from bevformer_lib.emulator.emulation import optimistic_path
    from bevformer_lib.errors import ConfigError
    from bevformer_lib.evaluate.backend_comparison import Backend, compare_backends
    from bevformer_lib.files import require_new_file, write_json
    from bevformer_lib.report.backend_comparison import comparison_verdict, write_backend_comparison
    from bevformer_lib.runtime.contract import check_model
    from bevformer_lib.scenes.preprocess import Preprocessor
    from bevformer_lib.scenes.reader import read_scenes
    from bevformer_lib.scenes.requirements import SceneRequirements

    page = output.with_suffix(".html")
    for new_file in (output, page):
        require_new_file(new_file)
    if (checkpoint is None) != (model is None):
        raise ConfigError("the PyTorch form takes both --checkpoint and --model")
    config = read_inference_config(config_json)
    backends: list[Backend] = []
    if checkpoint is not None and model is not None:
        backends.append(_pytorch(checkpoint, model, image_size))
    if recorded is not None:
        from bevformer_lib.runtime.recorded import RecordedRuntime

        backends.append(Backend(RECORDED, recorded.name, RecordedRuntime(recorded)))
    optimistic = None if emulated is None else optimistic_path(emulated)
    for name, path in (
        (ONNX, onnx),
        (QUANTIZED, quantized),
        (EMULATED_OPTIMISTIC, optimistic),
        (EMULATED, emulated),
    ):
        if path is not None:
            from bevformer_lib.export.intermediates_runtime import open_onnx_with_intermediates

            backends.append(Backend(name, path.name, open_onnx_with_intermediates(path, device=device)))
    backends += _compiled(simulator, board, npu, config, host_rotate_center)
    if len(backends) < 2:
        raise ConfigError(
            "give two forms or more: --checkpoint, --recorded, --onnx, --quantized, --emulated, --simulator, --board"
        )
    geometries = [check_model(backend.runtime, config, Path(backend.source)) for backend in backends]
    requirements = SceneRequirements(geometries[0].num_cams, geometries[0].image_hw, config.img_norm)
    preprocessor = Preprocessor(geometries[0].image_hw, config.img_norm)
    with progress_bar() as on_progress:
        found = read_scenes(scenes, requirements, start_scene=start_scene, end_scene=end_scene, on_progress=on_progress)
        result = compare_backends(
            found,
            backends,
            config,
            preprocessor,
            min_cosine=min_cosine,
            score_threshold=score_thr,
            on_progress=on_progress,
        )
    write_json(output, result.to_dict())
    write_backend_comparison(result, page)
    console = Console(markup=False, highlight=False)
    console.print(comparison_table(result))
    console.print(comparison_verdict(result), soft_wrap=True)
    console.print(f"{result.frames} frames on {len(backends)} backends: {output}, {page}", soft_wrap=True)


def _pytorch(checkpoint: Path, model: str, image_size: str | None) -> Backend:
    from bevformer_lib.config.image_size import parse_image_size
    from bevformer_lib.config.load import load_model_config
    from bevformer_lib.errors import RuntimeUnavailableError
    from bevformer_lib.evaluate.backend_comparison import Backend

    config = load_model_config(model, image_hw=parse_image_size(image_size))
    try:
        from bevformer_lib.export.pytorch_runtime import PyTorchRuntime

        return Backend(PYTORCH, checkpoint.name, PyTorchRuntime(config, checkpoint))
    except ImportError as error:
        raise RuntimeUnavailableError(
            f"PyTorch is not installed ({error}); install it with 'pip install bevformer-axera[cpu]', or give "
            "--recorded in place of --checkpoint"
        ) from error


def _compiled(
    simulator: Path | None,
    board: Path | None,
    npu: str | None,
    config: InferenceConfig,
    center: tuple[float, float] | None,
) -> list[Backend]:
    from bevformer_lib.backends.runtimes import AXENGINE, PULSAR2, open_runtime
    from bevformer_lib.evaluate.backend_comparison import Backend
    from bevformer_lib.runtime.host import HostPreparation, HostRotation
    from bevformer_lib.runtime.recorded import RecordedRuntime

    rotation = HostRotation((config.bev_h, config.bev_w), center) if center else None
    preparation = HostPreparation(config.img_norm, rotation)
    forms = ((SIMULATOR, PULSAR2, simulator, None), (BOARD, AXENGINE, board, npu))
    return [
        Backend(
            name, path.name, RecordedRuntime(path) if path.is_dir() else open_runtime(kind, path, npu=npu), preparation
        )
        for name, kind, path, npu in forms
        if path is not None
    ]


def comparison_table(result: BackendComparison) -> Table:
    """Return a row per tensor, a column per backend: the worst cosine with the first backend."""
    from rich.table import Table

    from bevformer_lib.export.intermediates_runtime import computing_order
    from bevformer_lib.report import numbers

    first, *others = result.backends
    table = Table("tensor", title=f"Worst cosine with {first.name}", title_justify="left")
    for backend in others:
        table.add_column(backend.name, justify="right")
    names = sorted({name for backend in others for name in backend.from_first}, key=computing_order)
    for name in names:
        table.add_row(
            name,
            *(
                numbers.cosine(backend.from_first[name].worst_cosine) if name in backend.from_first else ""
                for backend in others
            ),
        )
    table.add_section()
    table.add_row(
        "boxes found again", *(numbers.percent(backend.agreement.reference_matched_share) for backend in others)
    )
    medians = (numbers.seconds(backend.latency.median_s if backend.latency else None) for backend in others)
    table.add_row("inference, median", *medians)
    return table
