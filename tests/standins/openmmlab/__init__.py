"""A STAND-IN for what the original BEVFormer runs on and for the original itself; neither is in here.

`site` holds modules `mmcv`, `mmdet`, `mmseg` and `mmdet3d` with the part of their documented interface that building a
detector needs, as strict as documented. `detector` is our own model in the original's clothes: its registry, its call
signatures, its tensor layouts, its ``None`` for a missing history. It shows that the adapter finds its way around the
original and names a planted divergence; that the numbers are the original's is shown by the golden cases.
"""
