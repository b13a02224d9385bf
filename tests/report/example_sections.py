"""Every optional section of a report, filled with synthetic numbers."""

from __future__ import annotations

import hashlib

import numpy as np

from bevformer_lib.report.sections import (
    Breakdown,
    ConversionSection,
    CoverageQuantity,
    CoverageSection,
    GateOutcome,
    GateSection,
    LatencySamples,
    LineageNode,
    MetricSection,
    OperatorPrecision,
    PrecisionRecall,
    ReportSections,
    Score,
    ScoreShift,
    TensorFidelity,
)
from tests.support.micro import CLASS_NAMES


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def example_gates(*, failing: bool = True) -> GateSection:
    return GateSection(
        policy="default",
        baseline="build 2026-11-19 (4f1c9a2b)",
        outcomes=[
            GateOutcome("fidelity.bev_embed.cosine", ">= 0.99", "0.999762", passed=True, worst_scene="scene-0000"),
            GateOutcome(
                "metrics.mAP",
                ">= baseline - 0.01",
                "0.214" if failing else "0.251",
                passed=not failing,
                worst_scene="fcbccedd61424f1b85dcbf8f897f9754",
                cause="Calibration samples that miss night scenes do this, and so does a wrong normalisation.",
            ),
            GateOutcome("latency.p95_ms", "<= 100", "87.3", passed=True),
        ],
    )


def example_metrics(num_scenes: int = 20) -> MetricSection:
    random = np.random.default_rng(7)
    by_class = [
        Score(name, value := float(random.uniform(0.02, 0.6)), max(0.0, value - float(random.uniform(-0.01, 0.06))))
        for name in CLASS_NAMES
    ]
    recalls = np.linspace(0.0, 1.0, 101)
    return MetricSection(
        measured_against="Scored against the annotations of 6\u202f019 keyframes, as nuscenes-devkit does.",
        headline=[
            Score("NDS", 0.354, 0.341),
            Score("mAP", 0.252, 0.239),
            Score("mATE", 0.900, 0.914, higher_is_better=False, unit="m"),
            Score("mAVE", 0.657, 0.640, higher_is_better=False, unit="m/s"),
            Score("mAAE", None, None, higher_is_better=False),
        ],
        by_class=Breakdown("Average precision by class", by_class),
        breakdowns=[
            Breakdown("mAP by distance", [Score("0 to 20 m", 0.412, 0.401), Score("20 to 40 m", 0.201, 0.177)]),
            Breakdown("mAP by scene", [Score(f"scene-{i:04d}", 0.25, 0.24) for i in range(num_scenes)]),
        ],
        curves=[
            PrecisionRecall(
                score.name,
                *(
                    [(float(r), max(0.0, float(1 - (r / (top + 0.05)) ** 3))) for r in recalls if r <= top + 0.05]
                    for top in (score.reference or 0.0, score.candidate or 0.0)
                ),
            )
            for score in by_class
        ],
        curves_distance_m=2.0,
    )


def example_coverage(frames: int = 800) -> CoverageSection:
    random = np.random.default_rng(5)
    speed = np.abs(random.normal(5, 4, frames))
    yaw_rate = random.normal(0, 6, frames)
    brightness = np.concatenate([random.normal(110, 18, frames * 3 // 4), random.normal(35, 8, frames // 4)])
    return CoverageSection(
        scenes_sampled=2,
        scenes_total=20,
        quantities=[
            CoverageQuantity("Ego speed", "m/s", speed[:32].tolist(), speed.tolist()),
            CoverageQuantity("Yaw rate", "°/s", yaw_rate[:32].tolist(), yaw_rate.tolist()),
            CoverageQuantity("Brightness", "", brightness[:32].tolist(), brightness.tolist()),
        ],
    )


def example_lineage() -> list[LineageNode]:
    return [
        LineageNode("checkpoint", "bevformer_tiny.pth", f"sha256 {digest('checkpoint')}", is_input=True),
        LineageNode("config", "tiny", f"config {digest('c')}", is_input=True),
        LineageNode("scenes", "20 scenes, 800 frames", "/data/scenes", is_input=True),
        LineageNode("export", "export: tiny.onnx", "opset 17", ("checkpoint", "config")),
        LineageNode("check", "check scenes", "", ("scenes", "config")),
        LineageNode("sample", "sample 20 scenes", "32 samples, seed 0", ("export", "check"), changed=True),
        LineageNode("calibration", "calibration: four archives", "", ("sample",), changed=True),
        LineageNode("convert", "convert: tiny_int8.onnx", "onnxruntime", ("export", "calibration"), changed=True),
        LineageNode("evaluate", "evaluate 20 scenes", "", ("convert", "export", "check"), changed=True),
        LineageNode("report", "report.html", "", ("evaluate", "calibration"), changed=True),
    ]


def example_sections() -> ReportSections:
    random = np.random.default_rng(3)
    return ReportSections(
        gates=example_gates(),
        metrics=example_metrics(),
        tensors=[
            TensorFidelity("/backbone/layer4/Relu_output_0", 0.99991, 0.0134, 0.81, 37.4),
            TensorFidelity("/encoder/layers.2/norms.2/Add_output_0", 0.99812, 0.0613, 1.92, 24.2),
            TensorFidelity("/decoder/layers.5/broken", None, None, None, None),
        ],
        score_shifts=[ScoreShift("car", 3120, -0.013, 0.31), ScoreShift("trailer", 0, None, None)],
        coverage=example_coverage(),
        conversion=ConversionSection(
            tool="Pulsar2 4.2 (docker: pulsar2:4.2)",
            max_cycle=(450_154,),
            macs=(98_000_000,),
            types={"FP32": 1, "U8": 2},
            operators=[
                OperatorPrecision("/encoder/Softmax", "AxSoftmax", "/encoder/Softmax_output_0", "FP32", 0.9712, 0.013),
                OperatorPrecision("/neck/Conv", "AxQuantizedConv", "/neck/Conv_output_0", "U8", None, None),
            ],
            findings=["layer_configs.0 (Relu: U16): no operator of type Relu was built; the request had no effect"],
        ),
        lineage=example_lineage(),
        latencies=[LatencySamples("INT8 model on the board", (0.087 + random.gamma(2, 0.004, 400)).tolist())],
    )
