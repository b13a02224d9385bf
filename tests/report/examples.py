"""A synthetic report, whole enough to look at: ``python -m tests.report.examples report.html``."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from bevformer_lib.calibration.coverage import CalibrationCoverage, QuantityCoverage
from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.emulator.emulation import Emulation, emulation_of
from bevformer_lib.evaluate.tensors import TensorSummary
from bevformer_lib.gates.judge import GateResult, Verdict
from bevformer_lib.metrics.lost_camera import LostCamera
from bevformer_lib.metrics.metric_types import (
    ANNOTATIONS,
    ClassMetrics,
    DetectionMetrics,
    DistanceBand,
    PrecisionRecall,
    SubsetMetrics,
    TruePositiveErrors,
)
from bevformer_lib.names import CAMERA_ORDER
from bevformer_lib.report.content import ReportContent, ReportImage, ReportStep
from bevformer_lib.report.page import write_report
from bevformer_lib.store.step import Artifact, Step, StepRecord
from tests.evaluate.examples import make_scene
from tests.support.micro import CLASS_NAMES, micro_config

LONG_SCENE = "fcbccedd61424f1b85dcbf8f897f9754"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def outside(name: str, source: str) -> Artifact:
    return Artifact(name, digest(name), 136_400_000, source=source)


def recorded(step: Step, *outputs: str, seconds: float = 42.3, **facts: Any) -> StepRecord:
    made_by = f"{step.kind}/{step.key}"
    made = {name: Artifact(name, digest(name), 36_210_000, made_by=made_by) for name in outputs}
    return StepRecord(step, made, facts, seconds, "2026-11-21T00:00:00+00:00", "0")


def example_steps(*, converter: str = "pulsar2", runtime: str = "pulsar2") -> list[ReportStep]:
    scenes = [outside(name, "/data/scènes d'essai") for name in ("scene-0000", LONG_SCENE)]
    inputs = {"checkpoint": outside("bevformer_tiny.pth", "/data/bevformer_tiny.pth")}
    export = recorded(Step("export", 1, inputs, packages={"torch": "2.13.0+cpu"}), "tiny.onnx", random_weights_seed=0)
    graph = export.outputs["tiny.onnx"]
    check = recorded(Step("check-scenes", 1, {f"scene {one.name}": one for one in scenes}), made_up=True)
    step = Step("calibration", 1, {"graph": graph}, {"plan": {"num_samples": 32, "seed": 0}})
    by_scene = {"scene-0000": 18, LONG_SCENE: 14}
    calibration = recorded(step, "calibration.tar.gz", samples_by_scene=by_scene, first_frames=3)
    made = calibration.outputs["calibration.tar.gz"]
    convert = recorded(
        Step("convert", 1, {"graph": graph, "calibration": made}, {"converter": converter}),
        "compiled.axmodel",
        settings={"percentile": 99.9},
    )
    evaluations = [
        recorded(
            Step(
                "evaluate",
                1,
                {"reference": graph, "candidate": convert.outputs["compiled.axmodel"], "scene": scene},
                {"runtime": runtime},
                part=scene.name,
            ),
            "evaluation.json",
        )
        for scene in scenes
    ]
    steps = [ReportStep(one, False, "unchanged since 2026-11-21") for one in (export, check)]
    steps.append(ReportStep(calibration, True, "num_samples was 16, is 32"))
    return steps + [ReportStep(one, True, "its input changed") for one in (convert, *evaluations)]


def example_verdict(*, failing: bool = True) -> Verdict:
    cause = "Calibration samples that miss night scenes do this, and so does a wrong normalisation."
    value = 0.214 if failing else 0.251
    results = (
        GateResult("fidelity.bev_embed.cosine", ">= 0.99", 0.999762, 0.99, None, True, "scene-0000"),
        GateResult("metrics.mAP", ">= baseline - 0.01", value, 0.24, 0.25, not failing, LONG_SCENE, cause=cause),
        GateResult("latency.p95_ms", "<= 100", 87.3, 100.0, None, True),
    )
    return Verdict("default", "2026-11-19 (4f1c9a2b)", results)


def subset(mean_ap: float | None) -> SubsetMetrics:
    return SubsetMetrics(40, 100, 120, mean_ap, mean_ap, {})


def example_metrics(nds: float, mean_ap: float, *, scenes: int = 20, scale: float = 1.0) -> DetectionMetrics:
    random = np.random.default_rng(7)
    grid = np.linspace(0.0, 1.0, 101)
    classes = {}
    for name in CLASS_NAMES:
        ap = scale * float(random.uniform(0.02, 0.6))
        precision = np.maximum(0.0, 1 - (grid / (ap + 0.05)) ** 3)
        curve = PrecisionRecall(2.0, tuple(precision.tolist()), tuple((precision > 0).astype(float).tolist()))
        errors = TruePositiveErrors(0.5, 0.5, 0.5, 0.5, 0.5)
        classes[name] = ClassMetrics(100, 120, ap, {2.0: ap}, errors, (curve,))
    return DetectionMetrics(
        nds=nds,
        mean_ap=mean_ap,
        errors=TruePositiveErrors(0.9 / scale, 0.3, 0.5, 0.657 * scale, None),
        truth=ANNOTATIONS,
        frames=6019,
        ground_truth=1000,
        predictions=1200,
        classes_without_truth=(),
        recall_grid=tuple(grid.tolist()),
        classes=classes,
        bands=(DistanceBand(0, 20, subset(0.41 * scale)), DistanceBand(20, 40, subset(None))),
        scenes={f"scene-{number:04d}": subset(0.25 * scale) for number in range(scenes)},
    )


def example_lost_cameras() -> tuple[LostCamera, ...]:
    return tuple(
        LostCamera(
            name,
            objects,
            objects * 3 // 4,
            example_metrics(0.354 - 0.04 * place, 0.252 - 0.03 * place, scale=1 - 0.1 * place),
            example_metrics(0.341 - 0.04 * place, 0.239 - 0.03 * place, scale=0.95 - 0.1 * place),
        )
        for place, (name, objects) in enumerate(zip(CAMERA_ORDER, (320, 210, 190, 410, 220, 240), strict=True))
    )


def example_coverage(frames: int = 800) -> CalibrationCoverage:
    random = np.random.default_rng(5)
    speed = np.abs(random.normal(5, 4, frames))
    yaw_rate = random.normal(0, 6, frames)
    brightness = np.concatenate([random.normal(110, 18, frames * 3 // 4), random.normal(35, 8, frames // 4)])
    quantities = tuple(
        QuantityCoverage(name, unit, tuple(values[:32].tolist()), tuple(values.tolist()))
        for name, unit, values in (
            ("Ego speed", "m/s", speed),
            ("Yaw rate", "deg/s", yaw_rate),
            ("Brightness", "gray level", brightness),
        )
    )
    return CalibrationCoverage(32, frames, 2, 20, quantities)


def example_tensors() -> tuple[TensorSummary, ...]:
    return (
        TensorSummary("/backbone/layer4/Relu_output_0", 8, 0, 0.99991, 0.9999, 0.0134, 0.81, 37.4, "a"),
        TensorSummary("/encoder/layers.2/norms.2/Add_output_0", 8, 0, 0.99812, 0.99, 0.0613, 1.92, 24.2, "a"),
        TensorSummary("/decoder/layers.5/broken", 8, 8, None, None, None, None, None, "a"),
    )


def example_conversion() -> dict[str, Any]:
    softmax = {"operator": "/encoder/Softmax", "kind": "AxSoftmax", "tensor": "/encoder/Softmax_output_0"}
    conv = {"operator": "/neck/Conv", "kind": "AxQuantizedConv", "tensor": "/neck/Conv_output_0"}
    return {
        "tool": {"version": "4.2", "kind": "docker", "location": "pulsar2:4.2"},
        "max_cycle": [450_154],
        "macs": [98_000_000],
        "estimated_ms": [0.4727, 0.5267],
        "layer_cycles": [{"layer": "/neck/Conv", "kind": "AxQuantizedConv", "cycles": 301_000.0}],
        "precision_table": [
            {**conv, "quantized_dtype": "U8", "cosine": None, "mse": None},
            {**softmax, "quantized_dtype": "FP32", "cosine": 0.9712, "mse": 0.013},
        ],
        "findings": ["layer_configs.0 (Relu: U16): no operator of type Relu was built; the request had no effect"],
    }


def image(text: str, *, suffix: str = ".jpg", size_hw: tuple[int, int] = (360, 960)) -> bytes:
    canvas = np.full((*size_hw, 3), 70, np.uint8)
    cv2.putText(canvas, text, (40, size_hw[0] // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (240, 240, 240), 2)
    return bytes(cv2.imencode(suffix, canvas)[1].tobytes())


def example_scenes() -> list[SceneEvaluation]:
    return [make_scene("scene-0000", 12), make_scene(LONG_SCENE, 9)]


def bare_content(evaluations: list[SceneEvaluation] | None = None) -> ReportContent:
    """What every report has."""
    found = example_scenes() if evaluations is None else evaluations
    return ReportContent(micro_config(), ("float model", "INT8 model"), steps=(), evaluations=found)


def example_emulation() -> Emulation:
    tensor = {"name": "projected", "layer": "projection/Mul", "op_type": "Mul", "format": "U8", "scale": 609.4}
    facts = {
        "recipe": "int8",
        "ptq_passes": "learn-rounding",
        "tensors": [{**tensor, "lowest": 0.0, "highest": 155_392.0, "rounded": True}],
        "findings": ["layer_configs.0 (Softmax: FP32): FP32 changed no bit of Softmax in 6.0: softmax"],
        "uncertain": ["GridSample: whether its grid is unquantised"],
        "bounds": {"all tensors rounded": "int8.onnx", "movement operators not rounded": "int8_optimistic.onnx"},
    }
    return emulation_of(facts, (0.412, 0.455))


def example_content(evaluations: list[SceneEvaluation] | None = None) -> ReportContent:
    """Every section."""
    bare = bare_content(evaluations)
    return ReportContent(
        model=bare.model,
        names=bare.names,
        steps=example_steps(),
        evaluations=bare.evaluations,
        found=(
            example_verdict(),
            example_metrics(0.354, 0.252),
            example_metrics(0.341, 0.239, scale=0.95),
            example_coverage(),
            example_emulation(),
            *example_tensors(),
            *example_lost_cameras(),
        ),
        conversion=example_conversion(),
        images=[
            ReportImage("scene-0000, frame 10: worst cosine", "float model and INT8 model", image("one")),
            ReportImage("scene-0000, frame 21", "float model and INT8 model", image("two", suffix=".png")),
            ReportImage("scene-0000, frame 22", "float model and INT8 model", image("three", suffix=".webp")),
        ],
    )


if __name__ == "__main__":
    write_report(example_content(), Path(sys.argv[1]))
