"""Temporal self-attention: BEV queries look at the history and at themselves."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bevformer_lib.config.model_config import ModelConfig
from bevformer_lib.model.sampling import sample_and_weigh


@dataclass(frozen=True)
class History:
    """The previous frame's BEV, aligned with the current one.

    Attributes:
        exists: boolean (1, 1, 1); false on a scene's first frame.
        bev: (1, cells, C) rotated ``prev_bev``.
        initial_query: (1, cells, C) BEV queries before the first layer.
        grid: (2, 1, 1, cells, 2) where the current cells' centres lie in the history and in the current map, in
            GridSample's units.
    """

    exists: Tensor
    bev: Tensor
    initial_query: Tensor
    grid: Tensor


class TemporalSelfAttention(nn.Module):
    """Deformable attention into two maps (history, current), averaged, with a shortcut.

    With a history both maps are fixed for all layers: the rotated ``prev_bev`` and the INITIAL queries. Without one,
    both are the queries of the current layer. The graph chooses by ``History.exists``.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        encoder = config.encoder
        self.bev_h, self.bev_w = config.bev_h, config.bev_w
        self.heads, self.queues, self.points = (
            encoder.num_heads,
            encoder.temporal_queues,
            encoder.temporal_points,
        )
        samples = self.heads * self.queues * self.points
        self.sampling_offsets = nn.Linear(config.embed_dims * self.queues, samples * 2)
        self.attention_weights = nn.Linear(config.embed_dims * self.queues, samples)
        self.value_proj = nn.Linear(config.embed_dims, config.embed_dims)
        self.output_proj = nn.Linear(config.embed_dims, config.embed_dims)
        cells_to_grid = torch.tensor([2 / config.bev_w, 2 / config.bev_h])
        self.register_buffer("cells_to_grid", cells_to_grid, persistent=False)

    cells_to_grid: Tensor

    def forward(self, query: Tensor, bev_pos: Tensor, history: History) -> Tensor:
        """Map the queries (1, cells, C), positioned by ``bev_pos`` of the same shape, to (1, cells, C)."""
        cells, channels = query.shape[1:]
        past = torch.where(history.exists, history.bev, query)
        present = torch.where(history.exists, history.initial_query, query)
        value = self.value_proj(torch.cat([past, present], dim=0))
        value_map = value.transpose(1, 2).reshape(self.queues, channels, self.bev_h, self.bev_w)

        context = torch.cat([past, query + bev_pos], dim=-1)
        offsets = self.sampling_offsets(context).reshape(cells, self.heads, self.queues, self.points, 2)
        weights = self.attention_weights(context).reshape(cells, self.heads, self.queues, self.points)
        weights = weights.softmax(dim=-1).permute(2, 1, 3, 0)
        grid = history.grid + offsets.permute(2, 1, 3, 0, 4) * self.cells_to_grid

        attended = sample_and_weigh(value_map, grid, weights).mean(dim=0, keepdim=True).transpose(1, 2)
        out: Tensor = self.output_proj(attended) + query
        return out
