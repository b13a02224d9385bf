"""Files, bases and merging."""

from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.config.limits import MAX_BYTES
from bevformer_lib.config.python_config import read_python_config
from bevformer_lib.config.section import Section
from bevformer_lib.errors import ConfigError
from tests.config.support import FIXTURES


def _write(folder: Path, **texts: str) -> Path:
    """Write ``name.py`` files; return the path of the first."""
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder / f"{next(iter(texts))}.py"


def test_dicts_merge_and_everything_else_replaces(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        child="_base_ = 'parent.py'\nmodel = dict(depth=2, neck=dict(outs=4))\nsizes = [9]\nname = 'child'",
        parent="model = dict(depth=1, style='x', neck=dict(outs=1, relu=True))\nsizes = [1, 2]\nonly_here = 3",
    )
    assert read_python_config(path) == {
        "model": {"depth": 2, "style": "x", "neck": {"outs": 4, "relu": True}},
        "sizes": [9],
        "only_here": 3,
        "name": "child",
    }


def test_delete_replaces_a_dict(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        child="_base_ = ['parent.py']\nmodel = dict(a=dict(_delete_=True, new=1), b=dict(_delete_=False, y=2))",
        parent="model = dict(a=dict(old=1), b=dict(x=1))",
    )
    assert read_python_config(path) == {"model": {"a": {"new": 1}, "b": {"x": 1, "y": 2}}}


def test_a_base_is_not_changed_by_its_child(tmp_path: Path) -> None:
    path = _write(
        tmp_path,
        child="_base_ = 'parent.py'\nfirst = dict(shared=dict(a=2))",
        parent="shared = dict(a=1)\nfirst = dict(shared=shared)\nsecond = dict(shared=shared)",
    )
    assert read_python_config(path)["second"] == {"shared": {"a": 1}}


def test_bases_of_bases_in_other_folders(tmp_path: Path) -> None:
    (tmp_path / "mein Ordner ä").mkdir()
    (tmp_path / "mein Ordner ä" / "middle.py").write_text("_base_ = ['../root.py']\nmiddle = 2")
    path = _write(tmp_path, leaf="_base_ = ['mein Ordner ä/middle.py']\nleaf = 3", root="root = 1")
    assert read_python_config(path) == {"root": 1, "middle": 2, "leaf": 3}


def test_file_variables_and_private_names(tmp_path: Path) -> None:
    path = _write(tmp_path, some="__secret__ = 1\n_dim_ = 2\nplace = '{{fileBasenameNoExtname}}{{ fileExtname }}'")
    assert read_python_config(path) == {"_dim_": 2, "place": "some.py"}


def test_fixture_overrides_its_bases() -> None:
    content = read_python_config(FIXTURES / "bevformer" / "tiny.py")
    assert content["point_cloud_range"][0] == -51.2
    assert len(content["class_names"]) == 10
    assert content["data"]["test"]["type"] == "CameraDataset"
    assert content["data"]["test"]["test_mode"] is True
    assert content["workflow"] == [("train", 1)]
    assert content["lr_config"]["warmup_ratio"] == 1.0 / 3


def test_base_names_are_not_visible(tmp_path: Path) -> None:
    path = _write(tmp_path, child="_base_ = 'parent.py'\ny = x", parent="x = 1")
    with pytest.raises(ConfigError, match=r"child\.py:2: the name 'x' is not assigned"):
        Section(read_python_config(path), str(path)).value("y")


@pytest.mark.parametrize(
    "text", ["_base_ = 'gone.py'", "_base_ = ['../nowhere/gone.py']", f"_base_ = '{'x' * 5000}gone.py'"]
)
def test_missing_base_names_both_files(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"child\.py: its base .*gone\.py does not exist"):
        read_python_config(_write(tmp_path, child=text))


@pytest.mark.parametrize("text", ["_base_ = 3", "_base_ = [1]", "_base_ = 'base.yaml'", "_base_ = dict(a='b.py')"])
def test_base_of_another_kind(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"child\.py: _base_ must be the path of a \.py file"):
        read_python_config(_write(tmp_path, child=text))


def test_cycle_is_shown(tmp_path: Path) -> None:
    path = _write(tmp_path, one="_base_ = 'two.py'", two="_base_ = 'one.py'")
    with pytest.raises(ConfigError, match=r"includes itself.*one\.py -> .*two\.py -> .*one\.py"):
        read_python_config(path)
    with pytest.raises(ConfigError, match="includes itself"):
        read_python_config(_write(tmp_path, self="_base_ = 'self.py'"))


def test_exponential_inheritance(tmp_path: Path) -> None:
    texts = {f"f{i}": f"_base_ = ['f{i + 1}.py', 'f{i + 1}.py']" for i in range(40)}
    with pytest.raises(ConfigError, match="more than 64 files"):
        read_python_config(_write(tmp_path, **texts, f40=""))


def test_bases_that_contradict_each_other(tmp_path: Path) -> None:
    path = _write(tmp_path, child="_base_ = ['a.py', 'b.py']", a="x = 1\ny = 1", b="y = 2")
    with pytest.raises(ConfigError, match=r"child\.py: y set by more than one base.*b\.py"):
        read_python_config(path)


def test_dict_over_something_else(tmp_path: Path) -> None:
    path = _write(tmp_path, child="_base_ = 'a.py'\nmodel = dict(x=dict(y=1))", a="model = dict(x=1)")
    with pytest.raises(ConfigError, match=r"child\.py: model\.x is a dict here.*_delete_=True"):
        read_python_config(path)


def test_a_hostile_base_is_named(tmp_path: Path) -> None:
    flag = tmp_path / "executed"
    hostile = f"x = 1\n\ny = __import__('os').system('touch {flag}')"
    with pytest.raises(ConfigError, match=r"bad\.py:3: a call of \.system\(\) is not allowed"):
        read_python_config(_write(tmp_path, child="_base_ = 'bad.py'", bad=hostile))
    assert not flag.exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"x = (1,\ny = 2", r"bad\.py:\d+: not valid Python"),
        (b"x = 'open", r"bad\.py:1: not valid Python"),
        (b"x = 1\0", r"bad\.py.*not valid Python"),
        (b"x = '\xff\xfe'", r"bad\.py: is not UTF-8 text"),
        (b"x = " + b"[" * 50_000 + b"]" * 50_000, r"bad\.py"),
        (b"x = " + b"-" * 200_000 + b"1", r"bad\.py"),
        (b"#" * (MAX_BYTES + 1), r"bad\.py: is larger than"),
    ],
)
def test_files_that_are_no_configs(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.py"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_python_config(path)


def test_byte_order_mark_and_escapes(tmp_path: Path) -> None:
    path = tmp_path / "mark.py"
    path.write_bytes(b"\xef\xbb\xbfpattern = '\\d+'\n")
    assert read_python_config(path) == {"pattern": "\\d+"}


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.py: no such file"):
        read_python_config(tmp_path / "gone.py")
    with pytest.raises(ConfigError, match="is a folder, not a file"):
        read_python_config(tmp_path)
