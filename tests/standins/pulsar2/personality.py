"""Which version the stand-in plays, told by ``STANDIN_PULSAR2_VERSION`` (``4.2-standin``, ``7.0-standin``).

4.2 does what its documentation says, since nobody published more. From 6 on it does what third parties saw as well.
"""

from __future__ import annotations

import os

VERSION = os.environ.get("STANDIN_PULSAR2_VERSION", "4.2-standin")
COMMIT = "0f1e2d3c"
MAJOR = int(VERSION.split(".")[0])
AS_SEEN = MAJOR >= 6
"""Whether fusions, names and settings without effect are those that were seen."""
