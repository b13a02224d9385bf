"""Values of Python config statements, taken from their syntax tree without executing anything.

Only plain data can come out (numbers, strings, ``None``, lists, tuples, dicts), and only as much of it as a
config file can reasonably mean: :class:`Evaluator` keeps an account of the size of everything that is built, so
that a short hostile file can't become gigabytes.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from bevformer_lib.config.limits import MAX_DEPTH, MAX_INTEGER_BITS, MAX_NODES, measure
from bevformer_lib.config.unreadable import Unreadable, only_bound
from bevformer_lib.errors import ConfigError

_BINARY: Final[Mapping[type[ast.operator], Callable[[Any, Any], Any]]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_UNARY: Final[Mapping[type[ast.unaryop], Callable[[Any], Any]]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
}
_SCALAR_CALLS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": abs,
    "float": float,
    "int": int,
    "max": max,
    "min": min,
    "str": str,
}
_CONTAINER_CALLS: Final[Mapping[str, Callable[..., Any]]] = {"len": len, "list": list, "tuple": tuple}
_CALLS: Final = ("dict", *_CONTAINER_CALLS, *_SCALAR_CALLS)
_SCALARS: Final = (bool, int, float, str, type(None))
_ARITHMETIC_ERRORS: Final = (ArithmeticError, TypeError, ValueError, LookupError)

_CONSTRUCTS: Final[Mapping[type[ast.AST], str]] = {
    ast.Import: "an import",
    ast.ImportFrom: "an import",
    ast.FunctionDef: "a function definition",
    ast.AsyncFunctionDef: "a function definition",
    ast.ClassDef: "a class definition",
    ast.For: "a for loop",
    ast.While: "a while loop",
    ast.If: "an if statement",
    ast.With: "a with statement",
    ast.Try: "a try statement",
    ast.Delete: "a del statement",
    ast.Lambda: "a lambda",
    ast.ListComp: "a comprehension",
    ast.SetComp: "a comprehension",
    ast.DictComp: "a comprehension",
    ast.GeneratorExp: "a generator expression",
    ast.IfExp: "a conditional expression",
    ast.Compare: "a comparison",
    ast.BoolOp: "a boolean operation",
    ast.NamedExpr: "an assignment inside an expression",
    ast.Set: "a set (or a {{ }} variable outside of a string)",
    ast.Starred: "unpacking with *",
}


class _TooLargeError(ConfigError):
    """The file builds more than a config can mean; nothing of it is taken."""


def _as_dict(*arguments: Any) -> dict[Any, Any]:
    return dict(*arguments)


class Evaluator:
    """Runs the assignments of one config file over a table of names."""

    def __init__(self, source: str, variables: Mapping[str, str]) -> None:
        """Start with no names.

        Args:
            source: the file, for messages.
            variables: predefined variable -> text that replaces ``{{ variable }}`` in strings.
        """
        self._names: dict[str, Any] = {}
        self._code: set[str] = set()
        self._source = source
        self._variables = variables
        self._nodes_left = MAX_NODES
        self._depth = 0

    def execute(self, statement: ast.stmt) -> None:
        """Carry out one module-level statement.

        Raises:
            ConfigError: it is anything else than an assignment of plain data to names.
        """
        match statement:
            case ast.Assign(targets=targets, value=value):
                result = self.value(value)
                for target in targets:
                    self._assign(target, result)
            case ast.AnnAssign(target=ast.Name() as target, value=ast.expr() as value):
                self._assign(target, self.value(value))
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                left = self._name(target, name)
                result = self._binary(statement, op, left, self.value(value))
                if isinstance(left, list):
                    # Python extends the list itself, and every other place that holds it sees that.
                    left[:] = result
                    result = left
                    self._charge(statement, result)
                self._assign(target, result)
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=value):
                self.value(value)
                raise self._error(statement, "a bare expression has no effect; remove it")
            case _:
                raise self._refusal(statement)

    def read(self, statement: ast.stmt) -> None:
        """Carry out one module-level statement; names that it binds to other things than plain data become unreadable.

        What a trainer adds to a config (``gpu_ids = range(0, 8)``, an import, a helper function) is no fault of the
        model: it is one where the name is used.

        Raises:
            ConfigError: it may change values that were assigned above, or builds too much.
        """
        try:
            self.execute(statement)
        except _TooLargeError:
            raise
        except ConfigError as error:
            names = only_bound(statement, self._names, self._code)
            if names is None:
                raise
            if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
                self._code |= set(names)
            self._names |= {name: Unreadable(str(error)) for name in names}

    def content(self) -> dict[str, Any]:
        """Return what the file has assigned, by name.

        Raises:
            ConfigError: it is too large (a list that is extended grows wherever it is held).
        """
        nodes, depth = measure(
            {name: value for name, value in self._names.items() if not isinstance(value, Unreadable)}
        )
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            raise ConfigError(f"{self._source}: holds more than {MAX_NODES} values or {MAX_DEPTH} levels; simplify it")
        return dict(self._names)

    def value(self, node: ast.expr) -> Any:
        """Return the plain data that an expression stands for.

        Raises:
            ConfigError: it holds a construct that is not plain data, or builds too much.
        """
        self._depth += 1
        try:
            if self._depth > MAX_DEPTH:
                raise self._error(node, f"nested deeper than {MAX_DEPTH} levels; simplify it")
            return self._value(node)
        finally:
            self._depth -= 1

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=constant):
                return self._constant(node, constant)
            case ast.Name(id=name):
                return self._name(node, name)
            case ast.List(elts=elements):
                return [self.value(element) for element in elements]
            case ast.Tuple(elts=elements):
                return tuple(self.value(element) for element in elements)
            case ast.Dict(keys=keys, values=values):
                return self._dict(zip(keys, values, strict=True))
            case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
                return self._guarded(node, _UNARY[type(op)], self.value(operand))
            case ast.BinOp(left=left, op=op, right=right):
                return self._binary(node, op, self.value(left), self.value(right))
            case ast.Subscript(value=container, slice=index):
                return self._guarded(node, operator.getitem, self.value(container), self._index(index))
            case ast.JoinedStr(values=parts):
                text = "".join(self._formatted(part) for part in parts)
                return self._charge(node, text)
            case ast.Call():
                return self._call(node)
            case _:
                raise self._refusal(node)

    def _constant(self, node: ast.expr, constant: object) -> Any:
        if not isinstance(constant, _SCALARS):
            raise self._error(node, f"a constant of type {type(constant).__name__} is not allowed")
        if isinstance(constant, str):
            return self._substituted(node, constant)
        return self._charge(node, constant)

    def _substituted(self, node: ast.expr, text: str) -> str:
        def replacement(match: re.Match[str]) -> str:
            if match[1] in self._variables:
                return self._variables[match[1]]
            known = ", ".join(self._variables)
            raise self._error(node, f"{match[0]} is not supported (only {known} are); write the value out")

        return re.sub(r"\{\{\s*([\w.]+)\s*\}\}", replacement, text)

    def _name(self, node: ast.AST, name: str) -> Any:
        if name not in self._names:
            raise self._error(
                node,
                f"the name {name!r} is not assigned above in this file (a base's names don't count)",
            )
        if isinstance(self._names[name], Unreadable):
            raise ConfigError(self._names[name].reason)
        return self._charge(node, self._names[name])

    def _dict(self, items: Any) -> dict[Any, Any]:
        result: dict[Any, Any] = {}
        for key_node, value_node in items:
            value = self.value(value_node)
            if key_node is None:
                result.update(self._mapping(value_node, value))
                continue
            key = self.value(key_node)
            if not isinstance(key, _SCALARS):
                raise self._error(key_node, "the key of a dict must be a string or a number")
            result[key] = value
        return result

    def _mapping(self, node: ast.AST, value: Any) -> dict[Any, Any]:
        if not isinstance(value, dict):
            raise self._error(node, f"** needs a dict, not a {type(value).__name__}")
        return value

    def _index(self, node: ast.expr) -> Any:
        if not isinstance(node, ast.Slice):
            return self.value(node)
        bounds = (node.lower, node.upper, node.step)
        return slice(*(None if bound is None else self.value(bound) for bound in bounds))

    def _formatted(self, part: ast.expr) -> str:
        if isinstance(part, ast.Constant):
            return str(part.value)
        if not isinstance(part, ast.FormattedValue) or part.format_spec is not None or part.conversion != -1:
            raise self._error(part, "a format in an f-string is not supported; write the text out")
        value = self.value(part.value)
        if not isinstance(value, _SCALARS):
            raise self._error(part, f"an f-string of a {type(value).__name__} is not supported")
        return str(value)

    def _binary(self, node: ast.AST, op: ast.operator, left: Any, right: Any) -> Any:
        function = _BINARY.get(type(op))
        if function is None:
            raise self._error(node, f"the operator {type(op).__name__} is not allowed in a config")
        if isinstance(op, ast.Mod) and isinstance(left, str):
            raise self._error(node, "formatting with % is not supported; write the text out")
        if isinstance(op, ast.Pow):
            self._check_power(node, left, right)
        if isinstance(op, ast.Mult):
            self._check_repetition(node, left, right)
            self._check_repetition(node, right, left)
        return self._guarded(node, function, left, right)

    def _check_power(self, node: ast.AST, left: Any, right: Any) -> None:
        if not (isinstance(left, int) and isinstance(right, int)):
            return
        if (abs(left).bit_length() - 1) * right > MAX_INTEGER_BITS:
            raise self._error(node, f"the power is larger than {MAX_INTEGER_BITS} bits")

    def _check_repetition(self, node: ast.AST, repeated: Any, times: Any) -> None:
        if not (isinstance(repeated, (str, list, tuple)) and isinstance(times, int)):
            return
        if max(len(repeated), measure(repeated)[0]) * times > self._nodes_left:
            raise self._too_large(node)

    def _call(self, node: ast.Call) -> Any:
        if not isinstance(node.func, ast.Name):
            raise self._refusal(node)
        name = node.func.id
        if name not in _CALLS or name in self._names:
            raise self._refusal(node)
        arguments = [self.value(argument) for argument in node.args]
        if name == "dict":
            return self._keywords(node, self._guarded(node, _as_dict, *arguments))
        if node.keywords:
            raise self._error(node, f"keywords in a call of {name}() are not supported")
        if name in _CONTAINER_CALLS:
            return self._guarded(node, _CONTAINER_CALLS[name], *arguments)
        if not all(isinstance(argument, _SCALARS) for argument in arguments):
            raise self._error(node, f"{name}() is supported for numbers and text only")
        return self._guarded(node, _SCALAR_CALLS[name], *arguments)

    def _keywords(self, node: ast.Call, positional: dict[Any, Any]) -> dict[Any, Any]:
        """Return ``dict(positional, **keywords)``, with Python's refusal of a keyword that is given twice."""
        given: dict[str, Any] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value)
            items = self._mapping(keyword.value, value) if keyword.arg is None else {keyword.arg: value}
            for key, item in items.items():
                if not isinstance(key, str) or key in given:
                    raise self._error(node, f"keyword {key!r} of dict() is given twice or is no text")
                given[key] = item
        return {**positional, **given}

    def _guarded(self, node: ast.AST, function: Callable[..., Any], *arguments: Any) -> Any:
        try:
            result = function(*arguments)
        except _ARITHMETIC_ERRORS as error:
            raise self._error(node, f"{type(error).__name__}: {error}") from None
        return self._charge(node, result)

    def _charge(self, node: ast.AST, value: Any) -> Any:
        """Return ``value`` after writing its size to the file's account."""
        if not isinstance(value, (*_SCALARS, list, tuple, dict)):
            raise self._error(node, f"a value of type {type(value).__name__} is not plain data")
        if isinstance(value, int) and value.bit_length() > MAX_INTEGER_BITS:
            raise self._error(node, f"an integer of more than {MAX_INTEGER_BITS} bits")
        nodes, depth = measure(value)
        if depth > MAX_DEPTH:
            raise self._error(node, f"a value nested deeper than {MAX_DEPTH} levels; simplify it")
        self._nodes_left -= nodes
        if self._nodes_left < 0:
            raise self._too_large(node)
        return value

    def _assign(self, target: ast.expr, value: Any) -> None:
        match target:
            case ast.Name(id=name):
                self._names[name] = value
            case ast.Tuple(elts=targets) | ast.List(elts=targets) if isinstance(value, (list, tuple)):
                if len(targets) != len(value):
                    raise self._error(target, f"{len(value)} values for {len(targets)} names")
                for name_node, item in zip(targets, value, strict=True):
                    self._assign(name_node, item)
            case _:
                raise self._error(target, "only names can be assigned to; write the whole value at once")

    def _too_large(self, node: ast.AST) -> _TooLargeError:
        return _TooLargeError(str(self._error(node, f"the file builds more than {MAX_NODES} values; simplify it")))

    def _refusal(self, node: ast.AST) -> ConfigError:
        match node:
            case ast.Call(func=ast.Name(id=name)):
                what = f"a call of {name}()"
            case ast.Call(func=ast.Attribute(attr=name)):
                what = f"a call of .{name}()"
            case ast.Call():
                what = "a call of an expression"
            case ast.Attribute(attr=name):
                what = f"attribute access (.{name})"
            case _:
                what = _CONSTRUCTS.get(type(node), f"the construct {type(node).__name__}")
        return self._error(node, f"{what} is not allowed: a config is read, never run; write the value out")

    def _error(self, node: ast.AST, what: str) -> ConfigError:
        return ConfigError(f"{self._source}:{getattr(node, 'lineno', '?')}: {what}")
