"""Which query answers for which object: the assignment of least cost (Carion et al., "DETR", arXiv:2005.12872)."""

from __future__ import annotations

from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from torch import Tensor

FOCAL_ALPHA: Final = 0.25
FOCAL_GAMMA: Final = 2.0
CLASS_COST: Final = 2.0
BOX_COST: Final = 0.25

_MATCHED_CODES: Final = 8
_UNUSED_COST: Final = 1e4


def match_queries(logits: Tensor, coords: Tensor, labels: Tensor, boxes: Tensor, there: NDArray[np.bool_]) -> Tensor:
    """Assign every object to a query of its own, in every set of outputs.

    The costs of all sets are computed where the outputs are and copied once; that is the step's only wait for a device.

    Args:
        logits: (sets, streams, queries, classes).
        coords: (sets, streams, queries, 10).
        labels: (streams, most boxes), -1 where there is none.
        boxes: (streams, most boxes, 10).
        there: (streams, most boxes), where there is an object; on the host.

    Returns:
        (sets, streams, most boxes) int64: the object's query; 0 where there is no object.
    """
    with torch.no_grad():
        costs = matching_costs(logits.float(), coords.float(), labels, boxes).cpu().numpy()
    matched = np.zeros(costs.shape[:3], dtype=np.int64)
    for number, stream in np.ndindex(*costs.shape[:2]):
        objects = np.flatnonzero(there[stream])
        rows, columns = linear_sum_assignment(costs[number, stream, objects])
        matched[number, stream, objects[rows]] = columns
    return torch.from_numpy(matched)


def matching_costs(logits: Tensor, coords: Tensor, labels: Tensor, boxes: Tensor) -> Tensor:
    """Return (sets, streams, most boxes, queries): what the focal loss would gain and L1 of the boxes but velocity.

    A cost that is not finite becomes a large one: a query that has diverged is taken last.
    """
    probability = logits.sigmoid()
    hit = FOCAL_ALPHA * (1 - probability).pow(FOCAL_GAMMA) * -(probability + 1e-12).log()
    miss = (1 - FOCAL_ALPHA) * probability.pow(FOCAL_GAMMA) * -(1 - probability + 1e-12).log()
    gain = (hit - miss).transpose(-1, -2)
    index = labels.clamp(min=0)[None, :, :, None].expand(len(gain), -1, -1, gain.shape[-1])
    class_cost = gain.gather(2, index)
    sets, streams, queries, _ = coords.shape
    predicted = coords[..., :_MATCHED_CODES].reshape(sets, streams, queries, _MATCHED_CODES)
    wanted = boxes[..., :_MATCHED_CODES].unsqueeze(0).expand(sets, -1, -1, -1)
    box_cost = torch.cdist(wanted.flatten(0, 1), predicted.flatten(0, 1), p=1).reshape(class_cost.shape)
    total = CLASS_COST * class_cost + BOX_COST * box_cost
    return torch.nan_to_num(total, nan=_UNUSED_COST, posinf=_UNUSED_COST, neginf=_UNUSED_COST)
