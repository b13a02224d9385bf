"""Where Prefect is told its server: anywhere that Prefect itself reads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bevformer_lib.doctor.prefect_settings import API_URL, prefect_settings
from bevformer_lib.errors import ConfigError

URL = "http://127.0.0.1:4299/api"


def asked(tmp_path: Path, **variables: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    (tmp_path / "work").mkdir(exist_ok=True)
    return prefect_settings({**kept, **variables}, folder=tmp_path / "work", user_home=tmp_path / "home")


def test_where_nothing_can_have_been_told_nothing_is_asked(tmp_path: Path) -> None:
    assert asked(tmp_path) == {}
    assert asked(tmp_path, PREFECT_API_URL=URL) == {API_URL: URL}


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("home/.prefect/profiles.toml", f'active = "team"\n[profiles.team]\nPREFECT_API_URL = "{URL}"\n'),
        ("work/prefect.toml", f'[api]\nurl = "{URL}"\n'),
        ("work/.env", f"PREFECT_API_URL={URL}\n"),
        ("work/pyproject.toml", f'[tool.prefect.api]\nurl = "{URL}"\n'),
    ],
)
def test_every_place_that_prefect_reads(tmp_path: Path, file: str, content: str) -> None:
    path = tmp_path / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    home = {} if file.startswith("work") else {"HOME": str(tmp_path / "home")}
    assert asked(tmp_path, **home)[API_URL] == URL
    assert (tmp_path / "home").exists() == file.startswith("home"), "asking makes no home"


def test_settings_that_can_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "prefect.toml").write_text("[api\n")
    with pytest.raises(ConfigError, match="Prefect can't read its settings"):
        asked(tmp_path)
