"""Channels between convolutions are scaled so that each uses as much as it can of the 255 steps that they share.

before::

    a = Relu(Conv(x, w, b))                                     # largest values by channel: 8, 0.5, ...
    y = Conv(a, v)

after::

    a' = Relu(Conv(x, w / s, b / s))                            # s: (C,); a' = a / s: 4, 4, ...
    y = Conv(a', v * s)

Through Relu, pooling, resizing and the additions of residual connections; see :mod:`bevformer_lib.ptq.channel_scales`
for the scales, and :mod:`bevformer_lib.ptq.channel_groups` for what is scaled together.
"""

from __future__ import annotations

from typing import Any

import onnx

from bevformer_lib.convert.ranges import SampleRuns
from bevformer_lib.ptq.channel_groups import ChannelGroup
from bevformer_lib.ptq.channel_scales import equalize


def apply(model: onnx.ModelProto, runs: SampleRuns) -> tuple[onnx.ModelProto, dict[str, Any]]:
    """Scale the channels between convolutions; see :func:`bevformer_lib.ptq.channel_scales.equalize`."""
    return equalize(model, between_convolutions, runs)


def between_convolutions(group: ChannelGroup) -> bool:
    """Tell whether only convolutions make and read a group."""
    return all(
        node.op_type == "Conv"
        for node in (*(maker for maker, _ in group.makers), *(consumer.node for consumer in group.consumers))
    )
