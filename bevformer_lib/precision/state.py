"""What a search has learnt, on disk: every finished trial, so that none is ever run twice."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from bevformer_lib.errors import OutputError
from bevformer_lib.files import write_json
from bevformer_lib.precision.candidate import TrialResult
from bevformer_lib.strict_json import read_json

STATE_FILE: Final = "trials.json"


class TrialState:
    """The trials of one search, by the groups that were kept; written after every trial."""

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        """Begin, or carry on with what an earlier run of the same search left.

        Args:
            folder: holds the state.
            identity: everything that decides the results, as plain data.

        Raises:
            OutputError: the folder holds the state of another search, or a damaged one.
        """
        self._path = folder / STATE_FILE
        self._identity = json.loads(json.dumps(identity))
        self._trials: dict[str, list[dict[str, Any]]] = {"scenes": [], "probes": []}
        if self._path.exists():
            self._read()
        else:
            self._write()

    def find(self, kind: str, kept: Iterable[str]) -> TrialResult | None:
        """Return a finished trial of a kind ("scenes" or "probes"), or ``None``."""
        wanted = sorted(kept)
        for entry in self._trials[kind]:
            if entry["kept"] == wanted:
                return TrialResult(**entry["result"])
        return None

    def add(self, kind: str, kept: Iterable[str], result: TrialResult) -> None:
        """Keep a finished trial."""
        self._trials[kind].append({"kept": sorted(kept), "result": dataclasses.asdict(result)})
        self._write()

    def scene_trials(self) -> list[tuple[tuple[str, ...], TrialResult]]:
        """Return the finished trials over scenes, in the order in which they were run."""
        return [(tuple(entry["kept"]), TrialResult(**entry["result"])) for entry in self._trials["scenes"]]

    def _write(self) -> None:
        write_json(self._path, {"identity": self._identity, **self._trials})

    def _read(self) -> None:
        try:
            content = read_json(self._path)
            earlier = content["identity"]
            for kind in self._trials:
                self._trials[kind] = content[kind]
                for entry in content[kind]:
                    TrialResult(**entry["result"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise OutputError(f"{self._path}: is damaged ({error}); remove it to begin again") from error
        differing = [name for name in self._identity if earlier.get(name) != self._identity[name]]
        if differing:
            raise OutputError(
                f"{self._path} belongs to another search (different {', '.join(differing)}); "
                "remove it, or choose another output folder"
            )
