"""What `bevformer build` shows at its end: how well the models detect."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from bevformer_lib.pipeline.convert import EMULATION_FACTS
from bevformer_lib.pipeline.measure import METRICS, read_metrics
from bevformer_lib.pipeline.report import OTHER_BOUND

if TYPE_CHECKING:
    from bevformer_lib.pipeline.builds import Build
    from bevformer_lib.store.base import Store


def detection_table(store: Store, build: Build) -> Table | str:
    """Return mAP and NDS of the float model and of what was made from it; or why there are none.

    An emulation comes with both of its bounds: every edge rounded, which the gates judge, and movement not rounded.
    """
    measured = read_metrics(store, build.outputs[METRICS])
    if isinstance(measured, str):
        return f"mAP and NDS: {measured}"
    reference, candidate = measured
    emulated = EMULATION_FACTS in build.outputs
    columns = {"float": reference, "emulated NPU" if emulated else "quantised": candidate}
    if emulated:
        other = read_metrics(store, build.outputs[f"{OTHER_BOUND}/{METRICS}"])
        columns |= {} if isinstance(other, str) else {"emulated, movement not rounded": other[1]}
    table = Table("", title=f"Detection, compared with {candidate.truth}", title_justify="left")
    for name in columns:
        table.add_column(name, justify="right")
    table.add_row("mAP", *(f"{metrics.mean_ap:.3f}" for metrics in columns.values()))
    table.add_row("NDS", *(f"{metrics.nds:.3f}" for metrics in columns.values()))
    return table
