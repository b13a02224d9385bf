"""The code that a module runs with: the modules of this product that it imports, however far, and their data files.

Found by reading the sources, without importing them: also imports inside functions count, those for type checkers
alone do not. Modules that are named by strings are not found; a step that chooses one by name gives it as a root.

The sources are scanned rather than parsed: Python's parser takes several times as long, and what it tells of a source
differs with its version. Where the scan is unsure whether something is a docstring, it counts it.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.util import resolve_name
from pathlib import Path
from types import MappingProxyType
from typing import Final, NamedTuple

import bevformer_lib

FOLDER: Final = Path(bevformer_lib.__file__).parents[1]
"""Where this product's packages lie."""
_DATA: Final = frozenset({".css", ".html", ".json", ".yaml"})
_DIGEST_LETTERS: Final = 12
_PACKAGE_FILE: Final = "__init__.py"
_STRING_OR_COMMENT: Final = re.compile(
    rb'""".*?(?<!\\)(?:\\\\)*"""|"(?:\\.|[^"\\\n])*"|'
    rb"'''.*?(?<!\\)(?:\\\\)*'''|'(?:\\.|[^'\\\n])*'|#[^\n]*",
    re.DOTALL,
)
_LINE_ENDS: Final = re.compile(rb"[ \t]*(?:#|\n|\Z)")
_RAW_OR_PLAIN: Final = frozenset({b"", b"r"})
"""What may stand before a docstring on its line."""
_FOR_CHECKERS: Final = re.compile(
    rb"^([ \t]*)if[ \t]+(?:typing\.)?TYPE_CHECKING:[ \t]*\n(?:\1[ \t]+[^\n]*\n)*", re.MULTILINE
)
_BLANKS: Final = rb"(?:[ \t]|\\\n)*"
_IMPORT: Final = re.compile(
    rb"(?:\bfrom" + _BLANKS + rb"([\w.]+)" + _BLANKS + rb")?\bimport\b" + _BLANKS + rb"(\([^)]*\)|(?:\\\n|[^\n;])*)"
)
"""``import`` is a reserved word: outside of strings and comments it is nothing else."""


class Source(NamedTuple):
    """What a source says.

    Attributes:
        digest: of its code, without comments, docstrings and blank lines.
        imports: of the same product: modules, packages on the way to them, and other names in them.
    """

    digest: str
    imports: tuple[str, ...]


@cache
def code_of(*roots: str, folder: Path = FOLDER) -> Mapping[str, str]:
    """Return name -> digest of every module that the roots import, themselves included, and of the data beside them.

    The digests are the same with every version of Python: machines that share a build compare them.

    Args:
        roots: names of modules. A package stands for all modules that lie directly in it.
        folder: holds the package that the roots are in.

    Raises:
        ModuleNotFoundError: a root does not exist.
    """
    found: dict[str, str] = {}
    waiting = [name for root in roots for name in _modules_of(root, folder)]
    seen = set(waiting)
    while waiting:
        name = waiting.pop()
        path = _path(name, folder)
        if path is None:
            continue
        source = _read(path, name)
        found[name] = source.digest
        found |= _data_beside(path.parent, folder)
        waiting += [one for one in source.imports if one not in seen]
        seen.update(source.imports)
    return MappingProxyType(dict(sorted(found.items())))


def read_source(source: bytes, package: str) -> Source:
    """Return the digest of a source and what it imports."""
    code, strings = _scan(source)
    text = b"\n".join(line.rstrip() for line in code.split(b"\n") if not line.isspace() and line)
    imported = dict.fromkeys(_imported(_FOR_CHECKERS.sub(b"", text + b"\n"), package))
    return Source(_digest(b"\0".join([text, *strings])), tuple(imported))


def _scan(source: bytes) -> tuple[bytes, list[bytes]]:
    """Return the code with an empty string in place of every string, and the strings; docstrings are in neither."""
    code: list[bytes] = []
    strings: list[bytes] = []
    position, depth = 0, 0
    for match in _STRING_OR_COMMENT.finditer(source):
        between, found = source[position : match.start()], match.group()
        line_start = between.rfind(b"\n") + 1
        begins_line = line_start > 0 or position == 0
        position = match.end()
        depth += sum(map(between.count, b"([{")) - sum(map(between.count, b")]}"))
        if found.startswith(b"#"):
            code.append(between)
        elif (
            begins_line
            and depth == 0
            and between[line_start:].strip() in _RAW_OR_PLAIN
            and not between.endswith(b"\\\n", 0, line_start)
            and _LINE_ENDS.match(source, position)
        ):
            code.append(between[:line_start])
        else:
            code += between, b'""'
            strings.append(found)
    return b"".join([*code, source[position:]]), strings


def _imported(code: bytes, package: str) -> Iterator[str]:
    """Yield what imports of the same product may run: packages on the way, and names that may be modules."""
    for match in _IMPORT.finditer(code):
        module = (match[1] or b"").decode()
        for alias in match[2].decode().replace("\\", " ").strip("() \t\n").split(","):
            words = alias.split()
            if not words:
                continue
            separator = "" if not module or module.endswith(".") else "."
            parts = resolve_name(f"{module}{separator}{words[0]}", package).split(".")
            if parts[0] != package.partition(".")[0]:
                continue
            yield from (".".join(parts[: length + 1]) for length in range(len(parts)))


def _modules_of(root: str, folder: Path) -> list[str]:
    path = _path(root, folder)
    if path is None:
        raise ModuleNotFoundError(root)
    if path.name != _PACKAGE_FILE:
        return [root]
    return [root, *(f"{root}.{one.stem}" for one in sorted(path.parent.glob("*.py")) if one != path)]


@cache
def _path(name: str, folder: Path) -> Path | None:
    """Return the file of a module; ``None`` for what is not a module in the folder."""
    base = f"{folder}/{name.replace('.', '/')}"
    return next((Path(path) for path in (f"{base}/{_PACKAGE_FILE}", f"{base}.py") if os.path.isfile(path)), None)  # noqa: PTH113 (a third of the time)


@cache
def _read(path: Path, name: str) -> Source:
    package = name if path.name == _PACKAGE_FILE else name.rpartition(".")[0]
    return read_source(path.read_bytes().replace(b"\r\n", b"\n"), package)


@cache
def _data_beside(directory: Path, folder: Path) -> dict[str, str]:
    """Return the data files of a package: those in its folder and in folders below it that are no packages."""
    own = [directory, *(one for one in directory.iterdir() if one.is_dir() and not (one / _PACKAGE_FILE).exists())]
    files = sorted(file for one in own for file in one.iterdir() if file.suffix in _DATA)
    contents = {file.relative_to(folder).as_posix(): file.read_bytes().replace(b"\r\n", b"\n") for file in files}
    return {name: _digest(content) for name, content in contents.items()}


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:_DIGEST_LETTERS]
