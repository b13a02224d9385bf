"""Channels between the layers of a transformer are scaled so that each uses as much as it can of their 255 steps.

before::

    h = Relu(MatMul(x, w) + b),  y = MatMul(h, v)               # feed-forward
    v = MatMul(x, w) + b,  y = MatMul(sum_k(a_k * GridSample(v, p_k)), u)           # values and output projection
    n = LayerNormalization(x, g, b),  y = MatMul(n, v)

after::

    h' = Relu(MatMul(x, w / s) + b / s),  y = MatMul(h', s * v)         # s: (C,)
    v' = MatMul(x, w / s) + b / s,  y = MatMul(sum_k(a_k * GridSample(v', p_k)), s * u)
    n' = LayerNormalization(x, g / s, b / s),  y = MatMul(n', s * v)

A normalisation that a residual connection reads too, as every one between BEVFormer's layers, can't be scaled: the next
normalisation would see it. See :mod:`bevformer_lib.ptq.channel_scales` for the scales, and
:mod:`bevformer_lib.ptq.channel_groups` for what is scaled together.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.ptq.channel_scales import equalize
from bevformer_lib.ptq.equalize_convolutions import between_convolutions


def apply(model: onnx.ModelProto, runs: SampleRuns) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Scale the channels between layers with weights of a transformer; see :func:`.channel_scales.equalize`."""
    return equalize(model, lambda group: not between_convolutions(group), runs)
