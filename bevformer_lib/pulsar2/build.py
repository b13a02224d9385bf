"""One run of `pulsar2 build` in a folder of its own, and a second one where layers were fused away."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bevformer_lib.convert.float_model import external_files
from bevformer_lib.errors import ConversionError
from bevformer_lib.progress import ProgressCallback
from bevformer_lib.pulsar2.build_config import MOST_NAMED, BuildConfig
from bevformer_lib.pulsar2.errors import BuildConfigError, BuildFailedError, BuildMemoryError
from bevformer_lib.pulsar2.evidence import OUTPUT_NAME
from bevformer_lib.pulsar2.generate import with_host_paths
from bevformer_lib.pulsar2.log import (
    calibration_progress,
    last_meaningful_lines,
    ran_out_of_memory,
    refuses_config,
    remedy,
)
from bevformer_lib.pulsar2.missing_layers import (
    built_names,
    missing_layers,
    named_layers,
    read_graph_of_build,
    with_layers,
)
from bevformer_lib.pulsar2.process import Completed, Limits, LineCallback, run_child
from bevformer_lib.pulsar2.tool import Mount, Tool, named_link
from bevformer_lib.pulsar2.versions import Dialect

OUTPUT_FOLDER: Final = "output"
MODEL_FILE: Final = "model.onnx"
CONFIG_FILE: Final = "build_config.json"
DUMP_FRONTEND_GRAPH: Final = "--debug.dump_frontend_graph"
PROFILE: Final = "--compiler.npu_perf"
_KILLED: Final = frozenset({137, -9})
_BYTES_PER_GB: Final = 1_000_000_000

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Building:
    """What all runs for one conversion have in common.

    Attributes:
        model: the float graph.
        instead: absolute paths of files -> those that the tool is given in their place.
        work: a folder to write into.
        source: where the settings come from, to name in errors.
        profile: whether to ask for the cycles of every layer.
        on_line: called for every line of the log.
        on_progress: called with the progress of the calibration.
    """

    tool: Tool
    dialect: Dialect
    model: Path
    instead: Mapping[Path, Path]
    work: Path
    limits: Limits
    source: str
    profile: bool
    on_line: LineCallback | None
    on_progress: ProgressCallback

    def build_what_is_there(self, config: BuildConfig) -> tuple[Completed, BuildConfig, list[str]]:
        """Build; where layers are gone when the tool looks for them, build once more without all that are gone.

        Returns:
            The build, its config, and the findings about the layers.

        Raises:
            ConversionError: the build failed for another reason, or again.
        """
        try:
            return self.build(config), config, []
        except (BuildFailedError, BuildConfigError) as error:
            gone = missing_layers(config, str(error))
            if not gone:
                raise
        left = read_graph_of_build(self.work / OUTPUT_FOLDER, self.dialect.frontend_graphs[::-1])
        known = {} if left is None else built_names(left)
        names = {name: known.get(name) if known and name not in gone else None for name in named_layers(config)}
        if left is None:
            names |= {name: name for name in named_layers(config) if name not in gone}
        else:
            # Fused under a name of its own, it can be asked for by that.
            names |= {name: known[name] for name in gone if known.get(name, name) != name}
        config = with_layers(config, lambda name: names[name])
        findings = _layer_findings(names)
        _log.warning("%s: building again: %s", self.model, "; ".join(findings))
        self.tool.remove(self.work / OUTPUT_FOLDER)
        (self.work / MODEL_FILE).unlink(missing_ok=True)
        try:
            return self.build(config), config, findings
        except (BuildFailedError, BuildConfigError) as error:
            if still := missing_layers(config, str(error)):
                raise BuildFailedError(
                    f"{error}\nThe graph that the first build left did not tell that {', '.join(still)} would be gone; "
                    "use a recipe that names tensors (mixed), or layer_configs of your own"
                ) from error
            raise

    def build(self, config: BuildConfig) -> Completed:
        """Run `pulsar2 build` into the work folder.

        Raises:
            ConversionError: it failed; the error's type says how.
        """
        inputs = _InputMounts(self.tool, self.instead)
        graph = self.instead.get(self.model.absolute(), self.model)
        output_folder = self.work / OUTPUT_FOLDER
        output_folder.mkdir()
        content = with_host_paths(config.to_content(), inputs.place)
        config_file = self.work / CONFIG_FILE
        config_file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        written = self.tool.mount(output_folder, "output", writable=True)
        given = inputs.place(str(named_link(graph, self.work / MODEL_FILE)), name=MODEL_FILE)
        for name in external_files(graph):
            inputs.place(str(graph.parent / name), name=name)
        arguments = [
            "build",
            *("--target_hardware", str(config.target_hardware)),
            *("--npu_mode", str(config.npu_mode)),
            *("--input", given),
            *("--config", inputs.place(str(config_file), name=CONFIG_FILE)),
            *("--output_dir", written.inside),
            *("--output_name", OUTPUT_NAME),
        ]
        if self.dialect.dumps_frontend_graph:
            arguments.append(DUMP_FRONTEND_GRAPH)
        if self.profile:
            arguments.append(PROFILE)
        invocation = self.tool.invocation(arguments, [*inputs.mounts, written], self.limits.memory_bytes)
        _log.debug("running %s", " ".join(invocation.command))
        completed = run_child(invocation, limits=self.limits, on_line=self._watch)
        self.tool.own(output_folder)
        if completed.returncode != 0:
            raise self._failure(config, completed)
        return completed

    def _watch(self, line: str) -> None:
        if self.on_line is not None:
            self.on_line(line)
        if (progress := calibration_progress(line)) is not None:
            phase, done, total = progress
            self.on_progress(f"calibrate, phase {phase}", done, total)

    def _failure(self, config: BuildConfig, completed: Completed) -> ConversionError:
        """Return the error that says why a build failed."""
        said = "\n".join(f"  {line}" for line in last_meaningful_lines(completed.lines)) or "  (nothing)"
        if completed.returncode in _KILLED or ran_out_of_memory(completed.lines):
            memory = self.limits.memory_bytes
            limit = "" if memory is None else f" (limit: {memory / _BYTES_PER_GB:g} GB)"
            return BuildMemoryError(
                f"{self.model}: pulsar2 build was killed for memory{limit}; allow more, or use fewer than "
                f"{samples_used(config, 0)} calibration samples. It said last:\n{said}"
            )
        if refuses_config(completed.lines):
            return BuildConfigError(f"{self.source}: pulsar2 build refused its config. It said:\n{said}")
        behind = remedy(completed.lines)
        hint = "" if behind is None else f"\nOthers who were told so had {behind}"
        return BuildFailedError(
            f"{self.model}: pulsar2 build failed with exit status {completed.returncode}. It said:\n{said}{hint}"
        )


class _InputMounts:
    """The files that the tool reads, each mounted by itself under a name of its own."""

    def __init__(self, tool: Tool, instead: Mapping[Path, Path]) -> None:
        self._tool = tool
        self._instead = instead
        self.mounts: list[Mount] = []

    def place(self, host: str, name: str | None = None) -> str:
        """Return the path of a file or folder as the tool sees it.

        Raises:
            BuildConfigError: it does not exist.
        """
        path = Path(host)
        if not path.exists():
            raise BuildConfigError(f"{path}: no such file or folder, but the build config names it; correct the path")
        path = self._instead.get(path.absolute(), path.absolute())
        mount = self._tool.mount(path, f"input/{name or f'{len(self.mounts)}_{path.name}'}")
        self.mounts.append(mount)
        return mount.inside


def samples_used(config: BuildConfig, num_samples: int) -> int:
    """Return how many calibration samples the converter takes of a set."""
    inputs = (config.quant.input_configs if config.quant is not None else None) or []
    sizes = [entry.calibration_size for entry in inputs if entry.calibration_size not in (None, -1)]
    return min([size for size in sizes if size is not None], default=num_samples)


def _layer_findings(names: dict[str, str | None]) -> list[str]:
    """Say which layers were left out, and which are asked for under the name that fusion gave them."""
    gone = [name for name, built in names.items() if built is None]
    renamed = [f"'{name}' as '{built}'" for name, built in names.items() if built not in (None, name)]
    findings = [f"layer_configs: no operator '{name}' when it was looked for; left out" for name in gone]
    if renamed:
        more = f" and {len(renamed) - MOST_NAMED} more" if len(renamed) > MOST_NAMED else ""
        findings.append(
            f"layer_configs: asked for by the names of fused operators: {', '.join(renamed[:MOST_NAMED])}{more}"
        )
    return findings
