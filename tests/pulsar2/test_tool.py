from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.errors import ConversionError
from bevformer_lib.pulsar2.errors import ImageMissingError, ToolMissingError
from bevformer_lib.pulsar2.process import Limits, run_child
from bevformer_lib.pulsar2.tool import DockerTool, NativeTool, find_tool, image_version


def test_a_native_command_on_the_path(native: Path) -> None:
    version = find_tool().identify()
    assert (version.kind, version.location, version.image_id) == ("native", str(native), None)
    assert (version.version, version.commit) == ("4.2-standin", "0f1e2d3c")


def test_docker_where_there_is_no_native_command(docker: Path) -> None:
    version = find_tool().identify()
    assert (version.kind, version.location, version.version) == ("docker", "pulsar2:4.2", "4.2-standin")
    assert version.image_id == "sha256:" + "5" * 64
    assert list(docker.iterdir()) == []


def test_what_is_named_counts_before_the_environment(
    native: Path, docker: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{native.parent}:{docker.parent / 'docker bin'}:/usr/bin:/bin")
    assert isinstance(find_tool(), NativeTool)
    assert isinstance(find_tool(image="pulsar2:5.0"), DockerTool)
    monkeypatch.setenv("BEVFORMER_PULSAR2_IMAGE", "pulsar2:4.2")
    assert isinstance(find_tool(), DockerTool)
    assert isinstance(find_tool(executable=native), NativeTool)
    monkeypatch.delenv("BEVFORMER_PULSAR2_IMAGE")
    monkeypatch.setenv("BEVFORMER_PULSAR2", "/no/such/pulsar2")
    with pytest.raises(ToolMissingError, match="/no/such/pulsar2: no such command"):
        find_tool()
    with pytest.raises(ToolMissingError, match="both"):
        find_tool(executable=native, image="pulsar2:4.2")


def test_neither_docker_nor_a_native_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolMissingError, match=r"neither pulsar2 nor docker .*\(docker load -i ax_pulsar2_4\.2\.tar\.gz"
    ):
        find_tool()


def test_an_image_that_is_not_loaded(docker: Path) -> None:
    message = r"'pulsar2:5\.1' is not loaded; .* docker load -i ax_pulsar2_5\.1\.tar\.gz"
    with pytest.raises(ImageMissingError, match=message):
        find_tool(image="pulsar2:5.1").identify()


def test_docker_without_its_daemon(docker: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STANDIN_DOCKER_DOWN", "1")
    with pytest.raises(ToolMissingError, match=r"does not work .*Cannot connect to the Docker daemon"):
        find_tool().identify()


def test_a_command_that_is_not_pulsar2() -> None:
    with pytest.raises(ToolMissingError, match=r"'pulsar2 version' ended with 1 .* is this Pulsar2"):
        find_tool(executable=Path("/bin/false")).identify()


def test_the_documented_docker_run_with_only_the_needed_files(docker: Path, tmp_path: Path) -> None:
    tool = find_tool()
    (tmp_path / "in put").touch()
    mounts = [tool.mount(tmp_path / "in put", "input/a"), tool.mount(tmp_path, "output", writable=True)]
    invocation = tool.invocation(["build", "--x"], mounts, 5_000)
    command = invocation.command
    name = command[command.index("--name") + 1]
    assert command[1:6] == ("run", "--rm", "--net", "host", "--name")
    assert command[7:] == (
        *("--memory", "5000", "--memory-swap", "5000"),
        *("-v", f"{tmp_path / 'in put'}:/data/input/a:ro", "-v", f"{tmp_path}:/data/output"),
        *("pulsar2:4.2", "pulsar2", "build", "--x"),
    )
    assert invocation.stop == (command[0], "kill", name)
    assert tool.invocation([], [], None).stop != invocation.stop


def test_a_path_that_docker_cannot_mount(docker: Path, tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="docker can't mount a path with ':'"):
        find_tool().mount(tmp_path / "10:30", "input/a")


def test_an_input_cannot_be_written_to(docker: Path, tmp_path: Path) -> None:
    tool = find_tool()
    mounts = [tool.mount(tmp_path, "input")]
    arguments = ["run", "--model", "/data/input/m", "--input_dir", "/data/input", "--output_dir", "/data/input/out"]
    completed = run_child(tool.invocation(arguments, mounts, None), limits=Limits())
    assert completed.returncode == 1


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("pulsar2:4.2", "4.2"),
        ("host:5000/pulsar2:5.1-patch1", "5.1-patch1"),
        ("host:5000/pulsar2", None),
        ("pulsar2:latest", None),
        ("pulsar2@sha256:1234", None),
    ],
)
def test_the_version_in_the_name_of_an_image(image: str, version: str | None) -> None:
    assert image_version(image) == version
