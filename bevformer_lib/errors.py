"""The errors this product raises on purpose.

Every message names the file (or the value) at fault and says what to do. The command line prints the message of a
:class:`BevformerError` alone, without a traceback, and exits with 1; any other exception is a defect of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

MAX_PRINTED_DEFECTS: Final = 1000
"""A wrong config makes every file of a large folder defective; the message stays readable, the exception holds all."""


class BevformerError(Exception):
    """Base of all errors that a user can act on."""


class ConfigError(BevformerError):
    """A model or inference configuration is missing something, or asks for what is not supported."""


class CheckpointError(BevformerError):
    """A checkpoint can't be read safely, or its tensors don't fit the model."""


class SceneError(BevformerError):
    """A folder of scenes has defects.

    Attributes:
        defects: one sentence per defect, each naming its file.
    """

    def __init__(self, message: str, defects: Sequence[str] = ()) -> None:
        self.defects = tuple(defects)
        lines = [f"  - {defect}" for defect in self.defects[:MAX_PRINTED_DEFECTS]]
        if len(self.defects) > MAX_PRINTED_DEFECTS:
            lines.append(f"  and {len(self.defects) - MAX_PRINTED_DEFECTS} more")
        super().__init__("\n".join([message, *lines]))


class RecordingError(BevformerError):
    """A recording can't be read, or lacks what is needed of it."""


class ExportError(BevformerError):
    """The ONNX graph could not be made, or did not pass its checks."""


class ParityError(ExportError):
    """The ONNX graph does not compute what the PyTorch model computes."""


class CalibrationError(BevformerError):
    """A calibration set can't be made or read."""


class ConversionError(BevformerError):
    """A converter could not turn the ONNX graph and the calibration set into a quantised model."""


class RuntimeUnavailableError(BevformerError):
    """A model can't be run here: the runtime is not installed, or the device is missing."""


class MissingPackageError(BevformerError):
    """A command needs an optional package that is not installed; the message says how to install it."""


class CameraCalibrationError(BevformerError):
    """A frame's cameras are not such as the model was exported for."""


class FrameError(BevformerError):
    """A frame given to a detector is incomplete or malformed; the detector is as it was before."""


class LateFrameError(FrameError):
    """A frame given to a detector is not newer than the last one."""


class StoreError(BevformerError):
    """An artifact can't be written to the store, read from it, or is not what its digest says."""


class StoreUnreachableError(StoreError):
    """The store does not answer now, or says that it can't; the same may go well later."""


class DamagedRecordError(StoreError):
    """A record of the store is not what was written under its name."""


class OutputError(BevformerError):
    """Results can't be written: others are in the way, or the encoder of videos or images failed."""


class VerifyError(BevformerError):
    """The original model can't be built or run here, or what is compared with it diverges from it."""


class DoctorError(BevformerError):
    """A machine lacks something that its role needs."""


class SourceError(BevformerError):
    """An input can't be found or fetched, or is not what its place says it is."""


class SourceUnreachableError(SourceError):
    """The hub does not answer now, or says that it can't; the same may go well later."""


class GateError(BevformerError):
    """A build is worse than its policy allows; its evidence is kept and nothing is published.

    Attributes:
        build: id of the build.
    """

    def __init__(self, message: str, build: str = "") -> None:
        self.build = build
        super().__init__(message)


class TrainingError(BevformerError):
    """A training can't begin, be resumed or go on."""
