from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import helper

from bevformer_lib.errors import ExportError
from bevformer_lib.export.chip import load_chip
from bevformer_lib.export.lint.findings import Waiver, parse_waivers
from bevformer_lib.export.lint.rules import RULES
from bevformer_lib.export.lint.run import lint, read_graph, require_no_errors
from tests.export.graphs import model_of

AX650 = load_chip("AX650")


def _two_faults() -> onnx.ModelProto:
    nodes = [
        helper.make_node("LpNormalization", ["x"], ["minus"], "/layers.0/Norm"),
        helper.make_node("LpNormalization", ["minus"], ["y"], "/layers.1/Norm"),
    ]
    return model_of(nodes, {"x": (2, 3)}, {"y": (2, 3)}, domains=["com.microsoft"])


def test_errors_come_first() -> None:
    report = lint(_two_faults(), AX650)
    assert [(finding.rule, finding.node) for finding in report.findings] == [
        ("fails", "/layers.0/Norm"),
        ("fails", "/layers.1/Norm"),
        ("unused-domain", "hand_made"),
    ]
    assert (len(report.errors), len(report.warnings), report.waived) == (2, 1, ())


def test_a_rule_is_waived_everywhere_or_at_one_node() -> None:
    everywhere = lint(_two_faults(), AX650, waivers=[Waiver("fails")])
    assert (everywhere.errors, len(everywhere.waived)) == ((), 2)
    at_one = lint(_two_faults(), AX650, waivers=[Waiver("fails", "/layers.1/Norm")])
    assert [finding.node for finding in at_one.errors] == ["/layers.0/Norm"]
    assert [finding.node for finding in at_one.waived] == ["/layers.1/Norm"]


def test_a_waiver_that_nothing_needs_is_reported() -> None:
    waivers = [Waiver("rank"), Waiver("fails", "/gone"), Waiver("fails", "/layers.0/Norm")]
    assert lint(_two_faults(), AX650, waivers=waivers).unused_waivers == tuple(waivers[:2])


def test_waivers_are_written_rule_or_rule_and_node() -> None:
    assert parse_waivers(["rank", "fails:/a:0/Norm"], list(RULES)) == (
        Waiver("rank"),
        Waiver("fails", "/a:0/Norm"),
    )


@pytest.mark.parametrize("text", ["ranks", "fails:", ""])
def test_a_waiver_of_no_rule_is_an_error_that_lists_the_rules(text: str) -> None:
    with pytest.raises(ExportError, match=r"can't waive .*write RULE or RULE:NODE, with one of the rules opset, "):
        parse_waivers([text], list(RULES))


def test_errors_stop_and_say_how_to_go_on() -> None:
    with pytest.raises(ExportError, match="won't accept the graph") as caught:
        require_no_errors(lint(_two_faults(), AX650), Path("m.onnx"))
    lines = str(caught.value).splitlines()
    assert lines[0] == "m.onnx: the converter for AX650 won't accept the graph:"
    assert lines[1] == (
        "  - [fails] LpNormalization '/layers.0/Norm': whatever its attributes: an internal error ended the build "
        "(seen in the compiler, Pulsar2 6.0); run the passes (bevformer repair): Div by ReduceL2 or a sum"
    )
    assert "--waive RULE:NODE" in lines[-1]


def test_warnings_and_waived_errors_do_not_stop() -> None:
    require_no_errors(lint(_two_faults(), AX650, waivers=[Waiver("fails")]), Path("m.onnx"))


def test_a_long_list_is_cut() -> None:
    nodes = [helper.make_node("LpNormalization", [f"x{i}"], [f"x{i + 1}"], f"n{i}") for i in range(30)]
    model = model_of(nodes, {"x0": (2,)}, {"x30": (2,)})
    with pytest.raises(ExportError, match=r"and 10 more"):
        require_no_errors(lint(model, AX650), Path("m.onnx"))


def test_weights_in_other_files_are_not_needed(tmp_path: Path) -> None:
    import numpy as np

    node = helper.make_node("MatMul", ["x", "w"], ["y"], "it")
    model = model_of([node], {"x": (2, 8)}, {"y": (2, 8)}, constants={"w": np.zeros((8, 8), np.float32)})
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="weights", size_threshold=0)
    (tmp_path / "weights").unlink()
    assert lint(read_graph(path), AX650).findings == ()


@pytest.mark.parametrize("content", [b"", b"not a graph at all"])
def test_what_is_no_graph_is_an_error_that_names_the_file(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(ExportError, match=r"m\.onnx"):
        read_graph(path)
