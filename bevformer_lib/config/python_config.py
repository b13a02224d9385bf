"""Python config files with ``_base_`` inheritance, as mmcv 1.x merges them, read without executing them."""

from __future__ import annotations

import ast
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bevformer_lib.config.expressions import Evaluator
from bevformer_lib.config.limits import MAX_BYTES, MAX_DEPTH, MAX_FILES
from bevformer_lib.errors import ConfigError
from bevformer_lib.text_file import read_text

_BASE_KEY: Final = "_base_"
_DELETE_KEY: Final = "_delete_"


def read_python_config(path: Path) -> dict[str, Any]:
    """Return what a config file says, bases merged in: plain data by name.

    Accepted are assignments of numbers, strings, lists, tuples, dicts and ``dict(...)``, with arithmetic, f-strings
    and subscripts over names assigned above. Other values, imports and definitions are
    :class:`~bevformer_lib.config.unreadable.Unreadable`: an error where they are used. A dict of the file is merged
    into the base's dict of the same name, unless it says ``_delete_=True``; anything else replaces it.

    Raises:
        ConfigError: unreadable, not such a file, or a base that is missing, includes itself or contradicts another
            base. The message names the file, the line and the construct.
    """
    return _read(path, including=(), files_read=[])


def read_config_text(path: Path) -> str:
    """Return the text of a config file.

    Raises:
        ConfigError: not a readable file, too large, or not UTF-8.
    """
    try:
        return read_text(path, MAX_BYTES)
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def _read(path: Path, including: tuple[Path, ...], files_read: list[Path]) -> dict[str, Any]:
    resolved = path.resolve()
    if resolved in including:
        chain = " -> ".join(str(file) for file in (*including[including.index(resolved) :], resolved))
        raise ConfigError(f"{path}: includes itself through {_BASE_KEY}: {chain}; remove one of these bases")
    files_read.append(resolved)
    if len(files_read) > MAX_FILES:
        raise ConfigError(f"{including[0]}: made of more than {MAX_FILES} files; remove bases")
    own = _own_content(path)
    inherited: dict[str, Any] = {}
    for base in _bases(path, own.pop(_BASE_KEY, [])):
        if not os.path.isfile(base):  # noqa: PTH113 (a name that is too long is no file either)
            raise ConfigError(f"{path}: its base {base} does not exist; correct {_BASE_KEY} or add the file")
        content = _read(base, (*including, resolved), files_read)
        if duplicates := sorted(inherited.keys() & content.keys()):
            raise ConfigError(f"{path}: {', '.join(duplicates)} set by more than one base, again by {base}; keep one")
        inherited.update(content)
    return _merged(own, inherited, str(path), "")


def _own_content(path: Path) -> dict[str, Any]:
    variables = {
        "fileDirname": str(path.resolve().parent),
        "fileBasename": path.name,
        "fileBasenameNoExtname": path.stem,
        "fileExtname": path.suffix,
    }
    evaluator = Evaluator(str(path), variables)
    for statement in _parsed(path).body:
        evaluator.read(statement)
    return {name: value for name, value in evaluator.content().items() if not name.startswith("__")}


def _parsed(path: Path) -> ast.Module:
    text = read_config_text(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return ast.parse(text, filename=str(path))
    except SyntaxError as error:
        raise ConfigError(f"{path}:{error.lineno}: not valid Python: {error.msg}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: not valid Python: {error}") from error
    except (RecursionError, MemoryError) as error:
        raise ConfigError(f"{path}: nested deeper than {MAX_DEPTH} levels; simplify it") from error


def _bases(path: Path, declared: Any) -> Sequence[Path]:
    names = [declared] if isinstance(declared, str) else declared
    if not isinstance(names, list) or not all(isinstance(name, str) and name.endswith(".py") for name in names):
        raise ConfigError(f"{path}: {_BASE_KEY} must be the path of a .py file, or a list of such paths")
    return [path.parent / name for name in names]


def _merged(own: Mapping[str, Any], base: Mapping[str, Any], source: str, prefix: str) -> dict[str, Any]:
    """Return ``base`` with ``own`` over it, neither of them changed."""
    result = dict(base)
    for key, value in own.items():
        if not isinstance(value, dict):
            result[key] = value
            continue
        replaces = value.get(_DELETE_KEY, False)
        content = {name: item for name, item in value.items() if name != _DELETE_KEY}
        inherited = {} if replaces else base.get(key, {})
        if not isinstance(inherited, dict):
            raise ConfigError(
                f"{source}: {prefix}{key} is a dict here, but not in the base; add {_DELETE_KEY}=True to replace it"
            )
        result[key] = _merged(content, inherited, source, f"{prefix}{key}.")
    return result
