"""Layers that encoder and decoder share, under mmcv's parameter names."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them and a shortcut around them."""

    def __init__(self, embed_dims: int, feedforward_channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Sequential(nn.Linear(embed_dims, feedforward_channels), nn.ReLU(inplace=True)),
            nn.Linear(feedforward_channels, embed_dims),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map (1, tokens, C) to (1, tokens, C)."""
        out: Tensor = x + self.layers(x)
        return out


class _PackedProjections(nn.Module):
    """The parameters of torch's multi-head attention: query, key and value projections in one matrix."""

    def __init__(self, embed_dims: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * embed_dims, embed_dims))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * embed_dims))
        self.out_proj = nn.Linear(embed_dims, embed_dims)
        nn.init.xavier_uniform_(self.in_proj_weight)


class SelfAttention(nn.Module):
    """Multi-head self-attention with a shortcut; position is added to queries and keys, not to values."""

    def __init__(self, embed_dims: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attn = _PackedProjections(embed_dims)

    def forward(self, query: Tensor, query_pos: Tensor) -> Tensor:
        """Attend within ``query`` (1, tokens, C), with ``query_pos`` of the same shape."""
        positioned = query + query_pos
        weights, biases = self.attn.in_proj_weight.chunk(3), self.attn.in_proj_bias.chunk(3)
        q, k, v = (
            self._split_heads(F.linear(source, weight, bias))
            for source, weight, bias in zip((positioned, positioned, query), weights, biases, strict=True)
        )
        scores = torch.matmul(q * q.shape[-1] ** -0.5, k.transpose(-2, -1))
        attended = torch.matmul(scores.softmax(dim=-1), v)
        out: Tensor = query + self.attn.out_proj(attended.transpose(1, 2).reshape(query.shape))
        return out

    def _split_heads(self, x: Tensor) -> Tensor:
        """Reshape (1, tokens, C) to (1, heads, tokens, C / heads)."""
        return x.reshape(1, x.shape[1], self.num_heads, -1).transpose(1, 2)
