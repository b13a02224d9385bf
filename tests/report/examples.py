"""A synthetic report, whole enough to look at: ``python -m tests.report.examples report.html``."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import cv2
import numpy as np

from bevformer_lib.detections.types import SceneEvaluation
from bevformer_lib.evaluate.summary import summarize
from bevformer_lib.report.content import (
    CalibrationFacts,
    Fact,
    ReportArtifact,
    ReportContent,
    ReportImage,
    ReportPanel,
    ReportStep,
)
from bevformer_lib.report.write import write_report
from tests.evaluate.examples import make_scene
from tests.report.example_sections import digest, example_sections


def image(text: str, *, suffix: str = ".jpg", size_hw: tuple[int, int] = (360, 960)) -> bytes:
    canvas = np.full((*size_hw, 3), 70, np.uint8)
    cv2.putText(canvas, text, (40, size_hw[0] // 2), cv2.FONT_HERSHEY_SIMPLEX, 1.4, (240, 240, 240), 2)
    return bytes(cv2.imencode(suffix, canvas)[1].tobytes())


def example_scenes() -> list[SceneEvaluation]:
    return [make_scene("scene-0000", 12), make_scene("fcbccedd61424f1b85dcbf8f897f9754", 9)]


def example_content(evaluations: list[SceneEvaluation] | None = None) -> ReportContent:
    evaluations = example_scenes() if evaluations is None else evaluations
    return ReportContent(
        title="BEVFormer-Tiny, quantised to INT8",
        subtitle="Build of 22 November 2026",
        reference_name="float model",
        candidate_name="INT8 model",
        built_from=[
            Fact("Model", "tiny: ResNet-50, 6 × 480 × 800 pixels, BEV 50 × 50, 900 queries", f"config {digest('c')}"),  # noqa: RUF001
            Fact("Checkpoint", "bevformer_tiny.pth, 136 MB", digest("checkpoint")),
            Fact("Scenes", "2 scenes, 21 frames", "/data/scènes d'essai"),
            Fact("Converter", "ONNX Runtime static quantisation (QDQ)"),
        ],
        summary=summarize(evaluations),
        evaluations=evaluations,
        random_weights=True,
        made_up_scenes=True,
        notes=["Timings were taken on 2 busy cores."],
        calibration=CalibrationFacts(
            num_samples=32, first_frames=3, seed=0, samples_by_scene={"scene-0000": 18, "scene-0001": 14}
        ),
        steps=[
            ReportStep(
                "export", digest("export"), ("checkpoint.pth", "config"), 42.3, False, "unchanged since 2026-11-21"
            ),
            ReportStep(
                "sample scene-0000", digest("s0"), ("tiny.onnx", "scene-0000"), 61.0, True, "num_samples was 16, is 32"
            ),
            ReportStep(
                "quantize", digest("q"), ("tiny.onnx", "calibration"), 127.0, True, "its input calibration changed"
            ),
        ],
        artifacts=[
            ReportArtifact("tiny.onnx", "export", digest("onnx"), 136_400_000, "artifacts/tiny.onnx"),
            ReportArtifact("tiny_int8.onnx", "quantize", digest("int8"), 36_210_000),
        ],
        provenance=[Fact("Python", "3.11.7"), Fact("torch", "2.13.0+cpu"), Fact("onnxruntime", "1.23.2")],
        images=[
            ReportImage(
                "scene-0000, frame 10",
                [ReportPanel("float model", image("float")), ReportPanel("INT8 model", image("int8"))],
                reason="worst cosine of bev_embed: 0.999762",
            ),
            ReportImage(
                "scene-0000, frame 21",
                [
                    ReportPanel("float model", image("float", suffix=".png")),
                    ReportPanel("INT8 model", image("int8", suffix=".webp")),
                ],
            ),
        ],
    )


if __name__ == "__main__":
    write_report(dataclasses.replace(example_content(), sections=example_sections()), Path(sys.argv[1]))
