"""The training loop of one process: one device, its own streams; several processes average their gradients."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed

from bevformer_lib import __version__
from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.errors import TrainingError
from bevformer_lib.model.checkpoint import load_checkpoint
from bevformer_lib.training.box_code import CENTER
from bevformer_lib.training.curves import Curves
from bevformer_lib.training.evaluation import evaluate
from bevformer_lib.training.images import normalized
from bevformer_lib.training.initial_weights import initialize
from bevformer_lib.training.losses import detection_losses
from bevformer_lib.training.matching import match_queries
from bevformer_lib.training.scene_pool import ScenePool
from bevformer_lib.training.schedule import learning_rate, progress
from bevformer_lib.training.settings import TrainingSettings
from bevformer_lib.training.state import load_state, restore_optimizer, save_state, write_checkpoint
from bevformer_lib.training.streams import Batch, StreamSampler, batches_ahead
from bevformer_lib.training.training_model import TrainingModel

_LOG_STEPS = 50
_AGREE_STEPS = 10
_SCENES_FOR_CENTERS = 20
_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """What the processes of a run are told; see :class:`~bevformer_lib.training.run.TrainingRun`.

    Attributes:
        deadline: ``time.monotonic()`` at which the state is saved and the run ends.
        provenance: kept in the checkpoint's ``meta``.
    """

    config: ModelConfig
    settings: TrainingSettings
    training_pool: Path
    held_out_pool: Path
    output: Path
    checkpoint: Path
    device: str
    world_size: int
    deadline: float | None
    initial_checkpoint: Path | None
    compact_state: bool
    provenance: dict[str, Any]


def train_on(rank: int, job: TrainingJob) -> None:
    """Train in this process; with several, ``rank`` is the GPU's number too."""
    device = torch.device(job.device)
    if job.world_size > 1 and device.type == "cuda":
        device = torch.device("cuda", rank)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        torch.set_float32_matmul_precision("high")
        torch.backends.cudnn.benchmark = True
    if job.world_size > 1:
        logging.basicConfig(level=logging.INFO, format="%(message)s")
        distributed.init_process_group(
            "nccl" if device.type == "cuda" else "gloo", rank=rank, world_size=job.world_size
        )
    try:
        _Training(rank, device, job).run()
    finally:
        if job.world_size > 1:
            distributed.destroy_process_group()


class _Training:
    def __init__(self, rank: int, device: torch.device, job: TrainingJob) -> None:
        self.rank, self.device, self.job, self.settings = rank, device, job, job.settings
        self.pool, self.held_out = ScenePool(job.training_pool), ScenePool(job.held_out_pool)
        torch.manual_seed(job.settings.seed)
        self.model = TrainingModel(job.config, job.settings)
        self.step, self.seconds = 0, 0.0
        self.curves = Curves(job.output)
        state = load_state(job.output / "state")
        if state is None:
            initialize(self.model, self._centers())
            if job.initial_checkpoint is not None:
                load_checkpoint(job.initial_checkpoint, self.model.detector)
        else:
            self.model.load_state_dict(state["model"])
        self.model.to(device).train()
        if job.world_size > 1:
            # Processes may have seen different scenes when they chose the first reference points.
            for value in self.model.state_dict().values():
                distributed.broadcast(value, src=0)
        self.mean = TrainingModel(job.config, job.settings).to(device)
        self.mean.load_state_dict(self.model.state_dict() if state is None else state["mean"])
        self.optimizer = _optimizer(self.model, job.settings)
        if state is not None:
            restore_optimizer(self.optimizer, state["optimizer"])
            self.step, self.seconds = state["step"], state["seconds"]
            self.curves = Curves(job.output, rows=state["rows"])
            _LOGGER.info("carrying on from step %d, %.0f s", self.step, self.seconds)
        self.generator = torch.Generator(device)
        self.done, self.stop = progress(self.settings, step=self.step, seconds=self.seconds), False

    def run(self) -> None:
        """Train until the schedule or the time is over."""
        if self.done >= 1.0:
            _LOGGER.info("nothing to do: the schedule was over at step %d", self.step)
            return
        settings = self.settings
        sampler = StreamSampler(
            self.pool,
            streams=settings.streams,
            seed=settings.seed,
            dropped_history=settings.dropped_history,
            rank=self.rank,
        )
        batches = batches_ahead(self.pool, sampler, first_step=self.step, restart_steps=settings.checkpoint_steps)
        config = self.job.config
        history = torch.zeros(settings.streams, config.num_bev_cells, config.embed_dims, device=self.device)
        logged: list[Tensor] = []
        for batch in batches:
            began = time.monotonic()
            history, losses = self._step(batch, history)
            logged.append(losses)
            self.step += 1
            self.seconds += time.monotonic() - began
            if self.step % _AGREE_STEPS == 0 or settings.total_seconds is None:
                self._agree()
            if self.step % _LOG_STEPS == 0 or self.stop:
                self._log(logged)
                logged = []
            if self.step % settings.evaluation_steps == 0 or self.stop:
                self._evaluate()
            if self.step % settings.checkpoint_steps == 0 or self.stop:
                self._save()
            if self.stop:
                break
        batches.close()

    def _step(self, batch: Batch, history: Tensor) -> tuple[Tensor, Tensor]:
        """Take one step; return the BEV of every stream and the losses (total, class, box, auxiliary ones)."""
        settings = self.settings
        rate = learning_rate(settings, step=self.step, done=self.done)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        there = batch.labels.numpy() >= 0
        batch = batch.to(self.device)
        self.generator.manual_seed((settings.seed * 1_000_003 + self.step) * 64 + self.rank)
        images = normalized(batch.images, self.job.config, augment=settings, generator=self.generator)
        bf16 = settings.bf16 and self.device.type == "cuda"
        with torch.autocast(self.device.type, torch.bfloat16, enabled=bf16):
            outputs = self.model(images, batch.can_bus, batch.lidar2img, history * batch.has_history, all_groups=True)
            auxiliary = self.model.auxiliary(
                outputs.bev, outputs.features, batch.boxes, batch.labels, batch.class_map, batch.log_distance
            )
        sets = outputs.logits.shape[:2]
        matched = match_queries(
            outputs.logits.flatten(0, 1), outputs.coords.flatten(0, 1), batch.labels, batch.boxes, there
        )
        class_loss, box_loss = detection_losses(
            outputs.logits,
            outputs.coords,
            batch.labels,
            batch.boxes,
            matched.to(self.device, non_blocking=True).reshape(*sets, *matched.shape[1:]),
            velocity_weight=settings.velocity_weight,
        )
        loss = (
            class_loss
            + box_loss
            + settings.heat_map_weight * auxiliary.heat_map
            + settings.bev_box_weight * auxiliary.bev_box
            + settings.segmentation_weight * auxiliary.segmentation
            + settings.distance_weight * auxiliary.distance
        )
        loss.backward()
        parameters = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if self.job.world_size > 1:
            _average_gradients(parameters, self.job.world_size)
        norm = torch.nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self._average_weights()
        parts = vars(auxiliary).values()
        losses = torch.stack([loss, class_loss, box_loss, *parts, norm]).detach()
        return outputs.bev.detach().float(), losses

    @torch.no_grad()
    def _average_weights(self) -> None:
        decay = min(self.settings.ema_decay, (1 + self.step) / (10 + self.step))
        for own, mean in ((self.model.parameters, self.mean.parameters), (self.model.buffers, self.mean.buffers)):
            pairs = [(m, o) for m, o in zip(mean(), own(), strict=True) if m.is_floating_point()]
            torch._foreach_lerp_([m for m, _ in pairs], [o for _, o in pairs], 1 - decay)

    def _agree(self) -> None:
        """Let all processes use the first one's clock, for the schedule and for the end."""
        self.done = progress(self.settings, step=self.step, seconds=self.seconds)
        late = self.job.deadline is not None and time.monotonic() >= self.job.deadline
        self.stop = self.done >= 1.0 or late
        if self.job.world_size > 1:
            both = torch.tensor([self.done, float(self.stop)], dtype=torch.float64, device=self.device)
            distributed.broadcast(both, src=0)
            self.done, self.stop = float(both[0]), bool(both[1])

    def _log(self, logged: list[Tensor]) -> None:
        if self.rank:
            return
        values = torch.stack(logged).mean(dim=0).tolist()
        names = ("loss", "class", "box", "heat_map", "bev_box", "segmentation", "distance", "gradient_norm")
        row = dict(zip(names, (round(value, 5) for value in values), strict=True))
        if not all(value == value and abs(value) != float("inf") for value in values[:-1]):
            raise TrainingError(
                f"{self.job.output}: a loss is not finite at step {self.step} ({row}); resume from the last state "
                "with a lower learning rate"
            )
        scenes = len(self.pool.numbers())
        self.curves.add({"step": self.step, "seconds": round(self.seconds, 1), "scenes": scenes, **row})
        _LOGGER.info(
            "step %d, %.0f s, %.1f %% done, %d scenes: %s", self.step, self.seconds, 100 * self.done, scenes, row
        )

    def _evaluate(self) -> None:
        if self.rank:
            return
        for own, mean in zip(self.model.buffers(), self.mean.buffers(), strict=True):
            if not mean.is_floating_point():
                mean.copy_(own)
        bf16 = self.settings.bf16 and self.device.type == "cuda"
        run = partial(evaluate, self.mean, self.held_out, self.held_out.numbers(), device=self.device, bf16=bf16)
        found = run()
        if self.stop:
            without = run(with_history=False)
            found |= {f"{name}_without_history": without[name] for name in ("map", "nds", "moving_velocity_error_mps")}
        self.curves.add({"step": self.step, "seconds": round(self.seconds, 1), "held_out": found})
        _LOGGER.info("step %d, held out: %s", self.step, found)
        meta = {
            "config_name": self.job.config.name,
            "config_digest": self.job.config.digest(),
            "bevformer_axera": __version__,
            "training": {
                "step": self.step,
                "seconds": round(self.seconds, 1),
                "settings": self.settings.to_dict(),
                "scenes": len(self.pool.numbers()),
                "held_out": found,
                **self.job.provenance,
            },
        }
        write_checkpoint(self.job.checkpoint, self.mean, self.mean.state_dict(), meta)

    def _save(self) -> None:
        if self.rank:
            return
        content = {
            "step": self.step,
            "seconds": self.seconds,
            "rows": self.curves.rows,
            "model": self.model.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        save_state(self.job.output / "state", self.step, content, compact=self.job.compact_state)

    def _centers(self) -> Tensor:
        boxes = [self.pool.read(number).boxes for number in self.pool.numbers()[:_SCENES_FOR_CENTERS]]
        centers = torch.cat([torch.from_numpy(codes) for codes in boxes])[:, list(CENTER)]
        if not len(centers):
            raise TrainingError(f"{self.pool.folder}: no scene has a box within the model's range; choose other scenes")
        return centers


def _optimizer(model: TrainingModel, settings: TrainingSettings) -> torch.optim.AdamW:
    groups: dict[tuple[float, float], list[torch.nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = settings.offset_rate if "sampling_offsets" in name or "conv_offset" in name else 1.0
            decay = settings.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        [
            {"params": parameters, "factor": factor, "weight_decay": decay}
            for (factor, decay), parameters in groups.items()
        ],
        lr=settings.learning_rate,
        fused=next(model.parameters()).is_cuda or None,
    )


def _average_gradients(parameters: list[torch.nn.Parameter], world_size: int) -> None:
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= world_size
    pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
    torch._foreach_copy_(gradients, [piece.view_as(g) for piece, g in zip(pieces, gradients, strict=True)])
