"""The code that a module runs with: nothing that it imports is missing, and nothing else is in it."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.util import resolve_name
from pathlib import Path

import pytest

from bevformer_lib.pipeline.closure import FOLDER, code_of, read_source
from tests.test_python_310 import python_310

STEP = "toy.step"
REPORT = "bevformer_lib.pipeline.report"
SOURCES = {
    "__init__.py": "",
    "step.py": '''
"""A step."""
from __future__ import annotations
import numpy
from typing import TYPE_CHECKING
from toy import direct
from toy.parts.one import ONE
if TYPE_CHECKING:
    from toy.checkers import Hint

def produce() -> int:
    """Do it."""
    import toy.lazy as late  # only now
    return late.LATE + ONE
''',
    "direct.py": 'import toy.behind\nDIRECT = "a # b"\n',
    "behind.py": "def work():\n    try:\n        pass\n    finally:\n        from .relative import (  # two\n"
    "            RELATIVE,\n            OTHER as other,\n        )\n",
    "relative.py": 'RELATIVE = 1\n"""Why."""\nOTHER = """\n\n# kept\n"""\n',
    "lazy.py": "LATE = 1\nif LATE: from toy import oneline\n",
    "oneline.py": "LINE = (\n    'a'\n    'b'\n)\n",
    "checkers.py": "class Hint: ...\n",
    "outside.py": "OUTSIDE = 1\n",
    "parts/__init__.py": "",
    "parts/one.py": "ONE = 1\n",
    "parts/two.py": "TWO = 2\n",
    "parts/table.json": "{}",
    "parts/data/page.html": "<p>",
    "elsewhere/__init__.py": "",
    "elsewhere/table.json": "{}",
}
INSIDE = (
    "toy",
    "toy.behind",
    "toy.direct",
    "toy.lazy",
    "toy.oneline",
    "toy.parts",
    "toy.parts.one",
    "toy.relative",
    "toy.step",
    "toy/parts/data/page.html",
    "toy/parts/table.json",
)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    for name, source in SOURCES.items():
        path = tmp_path / "toy" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source)
    return tmp_path


@pytest.fixture
def changed(package: Path) -> Callable[[str, str, str], set[str]]:
    """Replace text in a file; return the names whose digests have changed."""

    def change(name: str, old: str, new: str) -> set[str]:
        before = code_of(STEP, folder=package)
        path = package / "toy" / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new, 1))
        return {name for name, _ in before.items() ^ fresh(package).items()}

    return change


def fresh(folder: Path) -> dict[str, str]:
    """What another process finds."""
    program = "from pathlib import Path\nfrom bevformer_lib.pipeline.closure import code_of\n"
    program += f"print(dict(code_of({STEP!r}, folder=Path({str(folder)!r}))))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=FOLDER)
    found: dict[str, str] = ast.literal_eval(done.stdout)
    return found


def test_all_that_a_module_imports_is_found_and_nothing_else(package: Path) -> None:
    assert tuple(code_of(STEP, folder=package)) == INSIDE


@pytest.mark.parametrize(
    ("file", "old", "new", "module"),
    [
        ("step.py", "+ ONE", "- ONE", "toy.step"),
        ("direct.py", "a # b", "a # c", "toy.direct"),
        ("lazy.py", "LATE = 1", "LATE = 2", "toy.lazy"),
        ("oneline.py", "    'b'", "    'c'", "toy.oneline"),
        ("relative.py", "RELATIVE = 1", "RELATIVE = 2", "toy.relative"),
        ("relative.py", "# kept", "# other", "toy.relative"),
        ("relative.py", '"""\n\n#', '"""\n#', "toy.relative"),
        ("parts/one.py", "ONE = 1", "ONE = 1.0", "toy.parts.one"),
        ("parts/__init__.py", "", "PART = 1\n", "toy.parts"),
        ("parts/table.json", "{}", "[]", "toy/parts/table.json"),
        ("parts/data/page.html", "<p>", "<b>", "toy/parts/data/page.html"),
    ],
)
def test_a_change_shows_under_the_name_of_its_file(
    changed: Callable[[str, str, str], set[str]], file: str, old: str, new: str, module: str
) -> None:
    assert changed(file, old, new) == {module}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("step.py", '"""A step."""', '"""Another\n\n    text, 1 (of 2."""'),
        ("step.py", '    """Do it."""\n', ""),
        ("step.py", "  # only now", ""),
        ("step.py", "import numpy\n", "\n\n# for speed's sake\nimport numpy   # why\n"),
        ("step.py", "\n", "\r\n"),
        ("relative.py", '"""Why."""', 'r"""Wh\\y."""'),
        ("behind.py", "  # two", ""),
        ("checkers.py", "...", "x = 1"),
        ("outside.py", "1", "2"),
        ("parts/two.py", "2", "3"),
        ("elsewhere/table.json", "{}", "[]"),
    ],
)
def test_comments_docstrings_and_what_is_outside_change_nothing(
    changed: Callable[[str, str, str], set[str]], file: str, old: str, new: str
) -> None:
    assert not changed(file, old, new)


def test_a_package_as_root_stands_for_its_modules(package: Path) -> None:
    assert {"toy.parts.one", "toy.parts.two"} <= set(code_of("toy.parts", folder=package))
    with pytest.raises(ModuleNotFoundError, match=r"toy\.nowhere"):
        code_of("toy.nowhere", folder=package)


@pytest.mark.parametrize(
    "source",
    [
        'x = \\\n"""kept"""\n',
        'f(\n    """kept"""\n)\n',
        '"""kept""".strip()\n',
        'x = [1,\n"kept"\n]\n',
        "y = 'it\\'s # kept'\n",
        'y = r"\\" + "kept"\n',
        'y = "" + "kept"  # "\n',
        'y = """a\\"""kept"""\n',
        "y = f\"{a['kept']}#\"\n",
    ],
)
def test_a_string_that_is_not_a_docstring_counts(source: str) -> None:
    other = source.replace("kept", "lost")
    assert read_source(source.encode(), "toy").digest != read_source(other.encode(), "toy").digest


def sources() -> list[Path]:
    return sorted((FOLDER / "bevformer_lib").rglob("*.py"))


def parsed_imports(tree: ast.AST, package: str) -> Iterator[str]:
    """What Python's own parser sees."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for other in node.orelse:
                yield from parsed_imports(other, package)
            continue
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom):
            module = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{module}.{name}" for name in names]
        for name in names:
            parts = name.split(".")
            yield from (".".join(parts[: length + 1]) for length in range(len(parts)))
        yield from parsed_imports(node, package)


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(FOLDER)))
def test_the_scan_sees_what_the_parser_sees(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    names = path.relative_to(FOLDER).with_suffix("").parts
    package = ".".join(names[:-1])
    scanned = read_source(source.encode(), package)
    ours = {name for name in parsed_imports(ast.parse(source), package) if name.split(".")[0] == names[0]}
    assert set(scanned.imports) == ours
    documented = read_source(with_other_docstrings(source).encode(), package)
    assert documented == scanned


def with_other_docstrings(source: str) -> str:
    """The source with every docstring that the parser sees replaced by another one, and a comment at the end."""
    lines = source.encode().splitlines(keepends=True)
    found = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.stmt) and _is_docstring(node)]
    for node in sorted(found, key=lambda one: -one.lineno):
        assert node.end_lineno is not None
        first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
        replaced = first[: node.col_offset] + b'"""Another [one\n\n# {."""' + last[node.end_col_offset :]
        lines[node.lineno - 1 : node.end_lineno] = [replaced]
    return b"".join(lines).decode() + "# the end\n"


def test_a_boards_python_finds_the_same(package: Path) -> None:
    python = python_310()
    if python is None:
        pytest.skip("no Python 3.10 on this machine")
    program = f"""
import sys, types
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
sys.modules["bevformer_lib"] = library = types.ModuleType("bevformer_lib")
library.__file__ = {str(FOLDER / "bevformer_lib" / "__init__.py")!r}
spec = spec_from_file_location("closure", {str(FOLDER / "bevformer_lib" / "pipeline" / "closure.py")!r})
closure = module_from_spec(spec)
spec.loader.exec_module(closure)
print(dict(closure.code_of({STEP!r}, folder=Path({str(package)!r}))))
print(dict(closure.code_of({REPORT!r})))
"""
    done = subprocess.run([python, "-I", "-c", program], capture_output=True, text=True, check=True)
    toy, ours = map(ast.literal_eval, done.stdout.splitlines())
    assert toy == dict(code_of(STEP, folder=package))
    assert ours == dict(code_of(REPORT))
