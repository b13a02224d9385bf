"""The evaluation of a training says what the product's metrics say of the same boxes."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from bevformer_lib.detections.decode import decode_detections
from bevformer_lib.metrics.detection_metrics import score_scenes
from bevformer_lib.model.random_weights import randomize
from bevformer_lib.names import OUTPUT_CLASSES, OUTPUT_COORDS
from bevformer_lib.scenes.types import Frame, Scene
from bevformer_lib.synthetic_scenes.layout import make_world
from bevformer_lib.synthetic_scenes.make import scene_cameras, scene_name, visible_boxes
from bevformer_lib.synthetic_scenes.render import Renderer
from bevformer_lib.training import evaluation
from bevformer_lib.training.evaluation import evaluate
from bevformer_lib.training.rendering import render_scene
from bevformer_lib.training.scene_pool import PoolRecipe, ScenePool, frame_boxes
from bevformer_lib.training.settings import TrainingSettings
from bevformer_lib.training.training_model import StreamOutputs, TrainingModel
from tests.training.toy import noise_pool, toy_config

CPU = torch.device("cpu")


class _Annotations(TrainingModel):
    """Puts out what the pool's scene holds, some of it displaced and slowed."""

    def answer_with(self, frames: list[tuple[np.ndarray, np.ndarray]]) -> None:
        rng = np.random.default_rng(0)
        self.answers = [
            (codes + rng.normal(0, 0.4, codes.shape).astype(np.float32), labels) for codes, labels in frames
        ]
        self.frame = 0

    def forward(self, img: torch.Tensor, *rest: torch.Tensor, all_groups: bool) -> StreamOutputs:
        codes, labels = self.answers[self.frame]
        self.frame += 1
        logits = torch.full((2, 1, 1, len(codes), self.config.num_classes), -20.0)
        logits[..., torch.arange(len(codes)), torch.from_numpy(labels)] = torch.linspace(2.0, 1.0, len(codes))
        coords = torch.from_numpy(codes).expand(2, 1, 1, -1, -1)
        bev = torch.ones(1, self.config.num_bev_cells, self.config.embed_dims)
        return StreamOutputs(bev, logits, coords, bev)


def test_same_figures_as_the_product(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    recipe = PoolRecipe.of(config, 2)
    pool = ScenePool(tmp_path)
    pool.write(7, render_scene(7, recipe))
    model = _Annotations(config, TrainingSettings())
    model.answer_with([pool.read(7).boxes_of(frame) for frame in range(2)])

    found = evaluate(model, pool, [7], device=CPU)

    world = make_world(scene_name(7), scene_number=7, duration_s=0.5, seed=7)
    renderer = Renderer(world, scene_cameras(recipe.num_cams, recipe.image_scale, number=7, seed=7))
    frames, detections = [], []
    for number, (codes, labels) in enumerate(model.answers):
        truth = visible_boxes(renderer.render(0.5 * number, number), world, config.class_names)
        assert len(frame_boxes(truth, recipe)[1]) == len(truth)
        frames.append(Frame(number, (), np.zeros((6, 4, 4)), np.zeros(18), truth, Path("meta.json")))
        logits = np.full((1, 1, len(codes), config.num_classes), -20.0)
        logits[0, 0, np.arange(len(codes)), labels] = np.linspace(2.0, 1.0, len(codes))
        outputs = {OUTPUT_CLASSES: logits, OUTPUT_COORDS: codes[None, None]}
        detections.append(decode_detections(outputs, config.box_coder))
    wanted = score_scenes([Scene("street", tuple(frames))], {"street": detections}, config.class_names)
    assert 0.1 < wanted.mean_ap < 0.9
    assert found["map"] == pytest.approx(wanted.mean_ap, abs=1e-6)
    for name in ("translation", "scale", "orientation", "velocity"):
        assert found["errors"][name] == pytest.approx(getattr(wanted.errors, name), abs=1e-5)
    assert found["moving_velocity_error_mps"] > 0.1


def test_without_history_every_frame_is_a_first_one(tmp_path: Path) -> None:
    config = toy_config(tmp_path)
    pool = noise_pool(tmp_path, config, scenes=1, frames=3)
    torch.manual_seed(0)
    model = TrainingModel(config, TrainingSettings()).train()
    randomize(model.detector, seed=1)
    fed: list[float] = []
    model.register_forward_pre_hook(lambda _, inputs: fed.append(float(inputs[3].abs().max())))

    evaluate(model, pool, [0], device=CPU, with_history=False)
    assert fed == [0.0, 0.0, 0.0]
    evaluate(model, pool, [0], device=CPU)
    assert fed[3] == 0.0 and min(fed[4:]) > 0.0
    assert model.training


def test_classes_of_another_data_set_have_no_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = dataclasses.replace(toy_config(tmp_path), class_names=("tram", *toy_config(tmp_path).class_names[1:]))
    model = TrainingModel(config, TrainingSettings())
    monkeypatch.setattr(evaluation, "_run", None)

    found = evaluate(model, noise_pool(tmp_path, config, scenes=1), [0], device=CPU)

    assert set(found.values()) == {None}
