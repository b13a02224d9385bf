"""Deformable convolution from sampling and a product, against the operator that ONNX defines for it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from onnx.reference import ReferenceEvaluator

from bevformer_lib.model.deform_conv import KERNEL_POINTS, ModulatedDeformConv2d


@pytest.mark.parametrize(("groups", "stride"), [(1, 1), (1, 2), (2, 1), (4, 2)])
def test_it_is_the_standards_deformable_convolution(groups: int, stride: int) -> None:
    torch.manual_seed(groups)
    layer = ModulatedDeformConv2d(8, 6, stride=stride, deform_groups=groups)
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.5)
    x = torch.randn(2, 8, 7, 9)
    with torch.no_grad():
        given = layer(x).numpy()
        offset, mask = layer.conv_offset(x).split([groups * 2 * KERNEL_POINTS, groups * KERNEL_POINTS], dim=1)
    feed = {
        "x": x.numpy(),
        "weight": layer.weight.detach().numpy(),
        "offset": offset.numpy(),
        "bias": np.zeros(6, np.float32),
        "mask": mask.sigmoid().numpy(),
    }
    node = helper.make_node(
        "DeformConv", list(feed), ["y"], offset_group=groups, kernel_shape=[3, 3], pads=[1] * 4, strides=[stride] * 2
    )
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in feed]
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    graph = helper.make_graph([node], "reference", inputs, [output])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    (expected,) = ReferenceEvaluator(model).run(None, feed)
    np.testing.assert_allclose(given, expected, rtol=1e-4, atol=1e-4)
