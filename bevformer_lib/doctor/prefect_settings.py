"""What Prefect is told, wherever it reads it: environment, .env, prefect.toml, pyproject.toml, the active profile."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from bevformer_lib.errors import ConfigError
from bevformer_lib.scratch import temporary_folder

API_URL: Final = "PREFECT_API_URL"
_HOME: Final = "PREFECT_HOME"
_DEFAULT_HOME: Final = Path(".prefect")
_FILES: Final = (".env", "prefect.toml", "pyproject.toml")
"""What Prefect reads of the working directory."""
_SECONDS: Final = 120.0
_ASK: Final = """
import json
from prefect.settings import get_current_settings
settings = get_current_settings()
found = {
    "PREFECT_API_URL": settings.api.url,
    "PREFECT_API_KEY": settings.api.key,
    "PREFECT_API_AUTH_STRING": settings.api.auth_string,
    "PREFECT_SERVER_DATABASE_CONNECTION_URL": settings.server.database.connection_url,
    "PREFECT_SERVER_DATABASE_DRIVER": settings.server.database.driver,
}
plain = {name: getattr(value, "get_secret_value", lambda: value)() for name, value in found.items()}
print(json.dumps({name: str(value) for name, value in plain.items() if value is not None}))
"""


def prefect_settings(environment: Mapping[str, str], *, folder: Path, user_home: Path) -> dict[str, str]:
    """Return Prefect's server, its credentials and its database, by the names of the environment variables.

    Prefect itself is asked, in a process of its own: this one must not be shaped by the user's settings before it is
    known whose server it will use. Nothing is asked where there is nothing that Prefect could have read.

    Raises:
        ConfigError: Prefect can't read its settings.
    """
    home = Path(environment.get(_HOME) or user_home / _DEFAULT_HOME)
    if not home.exists() and not any((folder / name).exists() for name in _FILES):
        return {name: value for name, value in environment.items() if name.startswith("PREFECT_")}
    with temporary_folder() as empty:
        # Prefect makes its home where there is none; a question must leave nothing behind.
        child = {**environment, _HOME: str(home if home.exists() else empty)}
        try:
            answer = subprocess.run(
                (sys.executable, "-c", _ASK),
                env=child,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_SECONDS,
                check=True,
            )
            found: dict[str, str] = json.loads(answer.stdout.splitlines()[-1])
        except subprocess.CalledProcessError as error:
            said = (error.stderr.strip().splitlines() or ["it says nothing"])[-1]
            raise ConfigError(
                f"Prefect can't read its settings ({said}); look at them with `prefect config view`"
            ) from error
        except subprocess.TimeoutExpired as error:
            raise ConfigError(f"Prefect did not read its settings within {_SECONDS:.0f} s; try it again") from error
    return found
