"""Which constructs of a config file stand for plain data, and which are refused."""

from __future__ import annotations

import ast
import time
from typing import Any

import pytest

from bevformer_lib.config.expressions import Evaluator
from bevformer_lib.config.limits import MAX_DEPTH, MAX_NODES
from bevformer_lib.config.section import Section
from bevformer_lib.errors import ConfigError


def _names(text: str) -> dict[str, Any]:
    evaluator = Evaluator("some.py", {"fileDirname": "/configs"})
    for statement in ast.parse(text).body:
        evaluator.execute(statement)
    return evaluator.content()


@pytest.mark.parametrize(
    "expression",
    [
        "1",
        "-2.5e-3",
        "+3",
        "True",
        "None",
        "'text'",
        "'one ' 'text'",
        "'a' + 'b' * 3",
        "256 // 2 + 7 % 4 - 2 ** 3 * 1.5 / 4",
        "2 ** -1",
        "not False",
        "[1, 2.0, 'x', None]",
        "(3,)",
        "()",
        "[0.2, 0.2] + [8]",
        "(False,) * 2 + (True,) * 2",
        "{'a': 1, 2: [3]}",
        "{**{'a': 1}, 'b': 2}",
        "dict()",
        "dict(a=1, b=dict(c=(1, 2)))",
        "dict({'a': 1}, a=2)",
        "dict([('a', 1)])",
        "dict(a=0, **{'b': 1})",
        "list((1, 2))",
        "tuple([1, 2])",
        "len([1, 2, 3])",
        "int('7') + float('0.5') + abs(-1)",
        "min(3, 1, 2) + max(1, 2)",
        "str(12) + 'px'",
        "[1, 2, 3][0]",
        "[1, 2, 3][-1]",
        "[1, 2, 3, 4][1:3]",
        "[1, 2, 3, 4][::-2]",
        "{'a': {'b': 5}}['a']['b']",
        "f'{800 // 2}x{1.5}-{None}'",
    ],
)
def test_plain_data_is_what_python_makes_of_it(expression: str) -> None:
    expected = eval(expression, {})  # noqa: S307 (the expressions above are the reference)
    value = _names(f"x = {expression}")["x"]
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\nx += 2", 3),
        ("x = 3\nx **= 2", 9),
        ("a = b = 2\nx = a + b", 4),
        ("a, (b, c) = 1, [2, 3]\nx = [c, b, a]", [3, 2, 1]),
        ("x: int = 5", 5),
        ('"""What this is."""\npass\nx = 1', 1),
        ("base = dict(a=1)\nx = dict(**base, b=2)", {"a": 1, "b": 2}),
        ("x = '{{ fileDirname }}/data'", "/configs/data"),
        ("custom_imports = dict(imports=['os'])\nx = 1", 1),
    ],
)
def test_statements(text: str, expected: object) -> None:
    assert _names(text)["x"] == expected


def test_extending_a_list_is_seen_wherever_it_is_held() -> None:
    names = _names("a = [1]\nb = dict(a=a)\na += [2]\nc = [1]\nd = c\nc = c + [2]")
    assert names["b"] == {"a": [1, 2]}
    assert names["d"] == [1]


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("import os", "an import"),
        ("from os import system", "an import"),
        ("x = os.system('true')", r"a call of \.system\(\)"),
        ("x = __import__('os')", r"a call of __import__\(\)"),
        ("x = eval('1')", r"a call of eval\(\)"),
        ("x = open('/etc/passwd')", r"a call of open\(\)"),
        ("x = getattr(1, 'real')", r"a call of getattr\(\)"),
        ("x = (lambda: 1)()", "a call of an expression"),
        ("x = ().__class__", r"attribute access \(\.__class__\)"),
        ("x = ''.join(['a'])", r"a call of \.join\(\)"),
        ("x = [].append(1)", r"a call of \.append\(\)"),
        ("x = lambda: 1", "a lambda"),
        ("x = [i for i in (1, 2)]", "a comprehension"),
        ("x = {i: i for i in (1, 2)}", "a comprehension"),
        ("x = list(i for i in (1, 2))", "a generator expression"),
        ("x = 1 if True else 2", "a conditional expression"),
        ("x = 1 < 2", "a comparison"),
        ("x = 1 or 2", "a boolean operation"),
        ("x = (y := 1)", "an assignment inside an expression"),
        ("x = {1, 2}", "a set"),
        ("x = {{ fileDirname }}", "a set"),
        ("x = [*(1, 2)]", r"unpacking with \*"),
        ("def f():\n    pass", "a function definition"),
        ("class A:\n    pass", "a class definition"),
        ("while True:\n    pass", "a while loop"),
        ("for x in (1,):\n    pass", "a for loop"),
        ("if True:\n    x = 1", "an if statement"),
        ("with 1:\n    pass", "a with statement"),
        ("try:\n    pass\nfinally:\n    pass", "a try statement"),
        ("assert True", "the construct Assert"),
        ("global x", "the construct Global"),
        ("x = ~1", "the construct UnaryOp"),
        ("x = 1 << 2", "the operator LShift"),
        ("x = 1 | 2", "the operator BitOr"),
        ("x = '%1000000000d' % 1", "formatting with %"),
        ("x = f'{1:>1000000000}'", "a format in an f-string"),
        ("x = f'{[1]}'", "an f-string of a list"),
        ("x = str([1])", r"str\(\) is supported for numbers and text only"),
        ("x = b'bytes'", "a constant of type bytes"),
        ("x = ...", "a constant of type ellipsis"),
        ("x = 2j", "a constant of type complex"),
        ("x = (-1) ** 0.5", "a value of type complex"),
        ("x['a'] = 2", "only names can be assigned to"),
        ("a, b = 1", "only names can be assigned to"),
        ("a, b = 1, 2, 3", "3 values for 2 names"),
        ("x = y", "the name 'y' is not assigned"),
        ("x = list", "the name 'list' is not assigned"),
        ("x = dict(a=1, **dict(a=2))", "keyword 'a' of dict"),
        ("x = dict(**{1: 2})", "keyword 1 of dict"),
        ("x = dict(**[1])", r"\*\* needs a dict"),
        ("x = {(1, 2): 3}", "the key of a dict"),
        ("x = 1 / 0", "ZeroDivisionError"),
        ("x = [1][5]", "IndexError"),
        ("x = {'a': 1}['b']", "KeyError"),
        ("x = 'a' + 1", "TypeError"),
        ("x = int('seven')", "ValueError"),
        ("x = 10.0 ** 1000", "OverflowError"),
        ("x = tuple(key=1)", r"keywords in a call of tuple\(\)"),
        ("x = '{{ _base_.model }}'", r"\{\{ _base_.model \}\} is not supported"),
        ("1 + 1", "a bare expression"),
    ],
)
def test_everything_else_is_refused_with_line_and_construct(text: str, what: str) -> None:
    with pytest.raises(ConfigError, match=rf"^some\.py:1: .*{what}"):
        _names(text)


def test_a_name_that_hides_a_call() -> None:
    with pytest.raises(ConfigError, match=r"^some\.py:2: a call of len\(\)"):
        _names("len = 1\nx = len([1])")


@pytest.mark.parametrize(
    "text",
    [
        "x = 9 ** 9 ** 9",
        "x = -2 ** 5000000000",
        "x = (2 ** 1000) * (2 ** 1000)",
        "x = 'a' * 10 ** 12",
        "x = 10 ** 12 * [0]",
        "x = ((0,) * 10 ** 5) * 10 ** 5",
        "x = 'a' * 10000000\ny = x + x + x",
        "x = [0]\n" + "x = x * 10\n" * 12,
        "x = [0] * 10\n" + "x = [x, x, x, x, x, x, x, x, x, x]\n" * 12,
        "x = dict(a=1)\n" + "x = dict(a=x, b=x)\n" * 60,
        "x = [0]\n" + "x += x\n" * 40,
        "x = [0]\nx += [x]\ny = x",
        "x = [0]\n" + "x = [x]\n" * (2 * MAX_DEPTH),
        "x = " + "1 + " * (2 * MAX_DEPTH) + "1",
        "x = 'ab'\n" + "x = f'{x}{x}'\n" * 60,
    ],
)
def test_bombs_are_refused_at_once(text: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError, match=r"^some\.py:\d+: .*(bits|more than|deeper)"):
        _names(text)
    assert time.process_time() - start < 2.0


def test_a_held_list_that_grows_later_is_counted_where_it_is_held() -> None:
    with pytest.raises(ConfigError, match=r"^some\.py: holds more than"):
        _names("a = [0]\nb = [a] * 1000\na += [0] * 1000")
    with pytest.raises(ConfigError, match=r"^some\.py:3: .*deeper"):
        _names("a = [0]\nb = [a]\na += [b]")


def test_the_limit_leaves_room() -> None:
    assert len(_names(f"x = [0] * {MAX_NODES // 4}")["x"]) == MAX_NODES // 4


def _read(text: str) -> dict[str, Any]:
    evaluator = Evaluator("some.py", {})
    for statement in ast.parse(text).body:
        evaluator.read(statement)
    return evaluator.content()


@pytest.mark.parametrize(
    ("text", "name", "what"),
    [
        ("gpu_ids = range(0, 8)", "gpu_ids", r"a call of range\(\)"),
        ("import os", "os", "an import"),
        ("import os.path as p", "p", "an import"),
        ("def f():\n    return model", "f", "a function definition"),
        ("a, (b, c) = os.sep, (1, 2)", "c", "attribute access"),
        ("x: list = [i for i in (1, 2)]", "x", "a comprehension"),
    ],
)
def test_what_is_no_plain_data_is_an_error_where_it_is_used(text: str, name: str, what: str) -> None:
    read = _read(f"{text}\nmodel = dict(a=1)")
    assert read["model"] == {"a": 1}
    with pytest.raises(ConfigError, match=rf"^some\.py:1: {what}"):
        Section(read, "some.py").value(name)
    with pytest.raises(ConfigError, match=rf"^some\.py:1: {what}"):
        _read(f"{text}\nmodel = dict(a={name})\nb = model['a']\nb += 1")


@pytest.mark.parametrize(
    "text",
    [
        "model = dict(a=1)\nx = model.update(a=2)",
        "model = dict(a=1)\nx = change(model)",
        "model = dict(a=1)\nmodel.update(a=2)",
        "model = dict(a=1)\nmodel['a'] = 2",
        "def change():\n    model['a'] = 2\nmodel = dict(a=1)\nx = change()",
        "x = globals()\nmodel = dict(a=1)",
        "model = dict(a=1)\nif True:\n    model = 2",
        "x = [0] * 10 ** 9",
    ],
)
def test_what_may_change_other_values_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^some\.py:\d+: "):
        _read(text)
