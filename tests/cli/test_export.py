from __future__ import annotations

from pathlib import Path

import pytest

from bevformer_lib.config.load import load_model_config
from bevformer_lib.model.checkpoint import make_checkpoint
from tests.support.commands import bevformer
from tests.support.data import requires_shared_data, shared_data
from tests.support.scenes import write_scenes

IMAGE_HW = (96, 160)


@pytest.fixture(scope="module")
def micro(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A config file and a checkpoint of random weights that fits it."""
    config = shared_data() / "golden" / "micro_tiny.json"
    checkpoint = tmp_path_factory.mktemp("checkpoint") / "micro.pth"
    make_checkpoint(load_model_config(str(config), image_hw=IMAGE_HW), checkpoint)
    return config, checkpoint


@requires_shared_data
def test_a_config_file_and_a_checkpoint_become_two_graphs(
    micro: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = micro
    output = tmp_path / "x.onnx"
    arguments = ("export", "--config", config, "--checkpoint", checkpoint, "--output", output)
    assert bevformer(*arguments, "--image-size", "96x160") == 0
    assert {path.name for path in tmp_path.iterdir()} == {"x.onnx", "x_raw.onnx"}
    out, err = capsys.readouterr()
    for text in ("sha256", "check for AX650", "parity bev_embed", "without ego motion", "pass simplify"):
        assert text in out
    assert [line for line in err.splitlines() if line.startswith("export: ")] == [
        f"export: {stage}: {done}/1"
        for stage in ("load", "trace", "passes", "check", "parity check")
        for done in (0, 1)
    ]
    assert bevformer("lint", output, "--target", "AX650") == 0


@requires_shared_data
def test_operators_that_a_chip_does_not_list_are_warnings_until_they_are_waived(
    micro: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = micro
    arguments = ("export", "--config", config, "--checkpoint", checkpoint, "--output", tmp_path / "x.onnx")
    arguments = (*arguments, "--image-size", "96x160", "--target", "AX615")
    assert bevformer(*arguments) == 0
    assert "warning: [operator] GridSample '" in capsys.readouterr().out
    assert bevformer(*arguments, "--waive", "operator") == 0
    assert "waived: [operator] GridSample '" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("--config", "tiny", "--output", "x.onnx", "--image-size", "480by800"),
            "is not HEIGHTxWIDTH in pixels, such as 480x800",
        ),
        (("--config", "tiny", "--output", "x.onnx", "--waive", "everything"), "can't waive 'everything'"),
        (("--config", "tiny", "--output", "x.onnx", "--target", "AX1"), "unknown target 'AX1'"),
        (("--config", "tiny", "--output", "x.bin"), "with the suffix .onnx"),
        (("--config", "tiny", "--output", "x.onnx"), "none.pth does not exist"),
    ],
)
def test_wrong_arguments_are_errors_that_say_what_is_right(
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert bevformer("export", "--checkpoint", "none.pth", *arguments) == 1
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@requires_shared_data
def test_the_rigs_of_scenes_decide_how_many_cameras_a_cell_has_room_for(
    micro: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, checkpoint = micro
    scenes = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=2, image_hw=IMAGE_HW)
    arguments = ("export", "--config", config, "--checkpoint", checkpoint, "--output", tmp_path / "x.onnx")
    arguments = (*arguments, "--image-size", "96x160", "--cameras-from", scenes)
    assert bevformer(*arguments) == 0
    out = capsys.readouterr().out.replace("│", " ")
    assert "at most 2 (visible)" in " ".join(out.split())
    assert bevformer(*arguments, "--cameras-per-query", "3") == 1
    assert "give --cameras-per-query or --cameras-from, not both" in capsys.readouterr().err


def test_the_rigs_of_scenes_must_be_for_the_models_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenes = write_scenes(tmp_path / "scenes", num_scenes=1, frames_per_scene=1, image_hw=IMAGE_HW)
    given = ("--config", "tiny", "--checkpoint", "none.pth", "--output", tmp_path / "x.onnx", "--cameras-from", scenes)
    assert bevformer("export", *given, "--image-size", "128x160") == 1
    said = capsys.readouterr().err
    assert f"{scenes / 'scene-0000' / 'meta_000000.json'}: img_shape of camera 0 is [96, 160, 3]" in said
    assert "asks for [128, 160, 3]" in said
    fewer = write_scenes(tmp_path / "fewer", num_scenes=1, frames_per_scene=1, image_hw=IMAGE_HW, num_cams=4)
    assert bevformer("export", *given[:-1], fewer, "--image-size", "96x160") == 1
    assert "meta_000000.json: lidar2img has shape (4, 4, 4); expected (6, 4, 4)" in capsys.readouterr().err


def test_the_dense_form_takes_no_rig(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--config", "tiny", "--checkpoint", "none.pth", "--output", tmp_path / "x.onnx", "--spatial", "dense")
    assert bevformer("export", *given, "--cameras-from", tmp_path) == 1
    said = capsys.readouterr().err
    assert "leave out --cameras-from" in said
    assert "--cameras-per-query" not in said
