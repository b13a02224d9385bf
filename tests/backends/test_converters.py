"""A converter is its module and its lines in the registry."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import pytest

from bevformer_lib.backends import converters
from bevformer_lib.backends.converters import CONVERTERS, EXECUTED_BY, open_converter
from bevformer_lib.backends.runtimes import RUNTIMES
from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.converter import Pulsar2Options
from tests.pipeline.test_closure import FOLDER


def test_every_converter_has_runtimes() -> None:
    assert EXECUTED_BY.keys() == CONVERTERS.keys()
    assert {runtime for listed in EXECUTED_BY.values() for runtime in listed} <= RUNTIMES.keys()


def test_another_converter_is_opened_by_its_module(monkeypatch: pytest.MonkeyPatch) -> None:
    module = SimpleNamespace(open_converter=lambda **options: options)
    monkeypatch.setattr(converters, "CONVERTERS", {**CONVERTERS, "other": "other_npu.converter"})
    monkeypatch.setitem(sys.modules, "other_npu", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "other_npu.converter", module)
    assert open_converter("other", device="cuda:1", threads=2) == {"device": "cuda:1", "threads": 2}
    with pytest.raises(ConversionError, match="converter other: has no keep_float"):
        open_converter("other", pulsar2=Pulsar2Options())


def test_another_converter_and_its_runtime_are_choices_of_the_request() -> None:
    program = """
from types import MappingProxyType
from bevformer_lib.backends import converters, runtimes
runtimes.RUNTIMES = MappingProxyType({**runtimes.RUNTIMES, "board": "other_npu.board"})
converters.CONVERTERS = MappingProxyType({**converters.CONVERTERS, "other": "other_npu.converter"})
converters.EXECUTED_BY = MappingProxyType({**converters.EXECUTED_BY, "other": ("board",)})
from flows.request import BuildRequest
given = {name: name for name in ("model", "checkpoint", "scenes", "store")}
BuildRequest(**given, converter="other", runtime="board")
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=FOLDER)
