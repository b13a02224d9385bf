"""`bevformer learn-rounding`: a float graph whose weights the converter rounds to themselves."""

from __future__ import annotations

from pathlib import Path

from bevformer_lib.cli.options import Device


def command(onnx: Path, calibration_dir: Path, /, *, output: Path, device: Device = "cpu") -> None:
    """Round the weights of MatMul and Conv so that what they compute changes least; the converter keeps the result.

    Args:
        onnx: the float model.
        calibration_dir: folder with the archives of prepare-calibration.
        output: the float model to write; convert it with the same archives.
        device: where to run the float model: cpu, cuda or cuda:N.
    """
    from rich.console import Console

    from bevformer_lib.calibration.archive import read_calibration
    from bevformer_lib.cli.progress import progress_bar
    from bevformer_lib.convert.float_model import check_inputs, load_float_model
    from bevformer_lib.emulator.learnt_rounding import learn_rounding
    from bevformer_lib.files import atomic_path, require_writable_file

    model = load_float_model(onnx)
    samples = read_calibration(calibration_dir)
    check_inputs(model, onnx, samples)
    require_writable_file(output)
    with progress_bar() as on_progress:
        learnt, layers = learn_rounding(
            model, samples, num_samples=samples.num_samples, device=device, on_progress=on_progress
        )
    with atomic_path(output) as temporary:
        temporary.write_bytes(learnt.SerializeToString(deterministic=True))
    console = Console(highlight=False)
    if layers:
        nearest, rounded = (sum(getattr(one, name) for one in layers) / len(layers) for name in ("nearest", "learnt"))
        console.print(f"{len(layers)} layers: mean error of what they compute {nearest:.2%} -> {rounded:.2%}")
    else:
        console.print("no layer whose weights could be learnt")
    console.print(f"float model with learnt weights: {output}", soft_wrap=True, markup=False)
