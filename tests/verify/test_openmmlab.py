"""Building the original: what is missing is named, what fails is said, nothing else is executed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

from bevformer_lib.errors import CheckpointError, RuntimeUnavailableError, VerifyError
from bevformer_lib.verify.openmmlab import build_original, check_packages
from tests.verify.conftest import CONFIG, MakePlugin


@pytest.mark.skipif(importlib.util.find_spec("mmcv") is not None, reason="mmcv is installed here")
def test_without_the_packages_it_says_what_to_install() -> None:
    with pytest.raises(RuntimeUnavailableError) as caught:
        check_packages()
    message = str(caught.value)
    for part in ("mmcv-full==1.7.2", "mmdet==2.28.2", "mmsegmentation==0.30.0", "mmdet3d==1.0.0rc6"):
        assert message.count(part) == 1
    assert "bevformer-axera[openmmlab]" in message
    dockerfile = message.partition("--file ")[2].split()[0]
    assert (Path(__file__).parents[2] / dockerfile).is_file()


@pytest.mark.usefixtures("openmmlab_standin")
@pytest.mark.parametrize(("module", "package"), [("mmcv._ext", "mmcv-full==1.7.2"), ("mmdet3d", "mmdet3d==1.0.0rc6")])
def test_one_missing_package_is_named_alone(monkeypatch: pytest.MonkeyPatch, module: str, package: str) -> None:
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else find_spec(name))
    with pytest.raises(RuntimeUnavailableError) as caught:
        check_packages()
    assert f": {module} can't be imported. Install {package}: build" in str(caught.value)


@pytest.mark.usefixtures("openmmlab_standin")
@pytest.mark.parametrize("raised", ["AttributeError('np.bool')", "ModuleNotFoundError('No module named addict')"])
def test_an_mmcv_that_can_not_be_imported_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, raised: str
) -> None:
    (tmp_path / "mmcv").mkdir()
    (tmp_path / "mmcv" / "__init__.py").write_text(f"raise {raised}")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        RuntimeUnavailableError, match=r"mmcv is installed, but importing it fails \(\w+Error: .*mmcv-full"
    ):
        check_packages()


@pytest.mark.usefixtures("openmmlab_standin")
def test_mmcv_2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import mmcv

    monkeypatch.delattr(mmcv, "Config")
    monkeypatch.setattr(mmcv, "__version__", "2.2.0")
    with pytest.raises(RuntimeUnavailableError, match=r"mmcv 2\.2\.0 is installed, but the original needs mmcv-full"):
        check_packages()


@pytest.mark.usefixtures("openmmlab_standin")
def test_the_original_has_the_checkpoints_weights(make_plugin: MakePlugin, checkpoint: Path) -> None:
    path = list(sys.path)
    original = build_original(CONFIG, make_plugin(), checkpoint)
    stored = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert original.model.state_dict().keys() == stored.keys()
    assert all(torch.equal(value, stored[name]) for name, value in original.model.state_dict().items())
    assert not original.model.training
    assert sys.path == path


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_folder_without_the_plugin(tmp_path: Path, checkpoint: Path) -> None:
    with pytest.raises(VerifyError, match="holds no package mmdet3d_plugin"):
        build_original(CONFIG, tmp_path, checkpoint)


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_plugin_folder_of_another_name(make_plugin: MakePlugin, checkpoint: Path, tmp_path: Path) -> None:
    renamed = make_plugin().rename(tmp_path / "plugins")
    with pytest.raises(VerifyError, match="must be named 'projects'"):
        build_original(CONFIG, renamed, checkpoint)


@pytest.mark.usefixtures("openmmlab_standin")
def test_another_projects_package_is_not_taken_for_the_plugin(
    make_plugin: MakePlugin, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other" / "projects" / "mmdet3d_plugin"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(other.parents[1])
    importlib.import_module("projects.mmdet3d_plugin")
    with pytest.raises(VerifyError, match="was imported instead"):
        build_original(CONFIG, make_plugin(), checkpoint)


@pytest.mark.usefixtures("openmmlab_standin")
@pytest.mark.parametrize(
    ("code", "error", "message"),
    [
        ("import a_package_nobody_has", RuntimeUnavailableError, "imports 'a_package_nobody_has', which is not"),
        (
            "raise KeyError('twice')",
            VerifyError,
            "importing the plugin failed in .* code: KeyError: 'twice'",
        ),
        ("", VerifyError, "building the original model failed .*BEVFormer is not in the models registry"),
    ],
)
def test_a_plugin_that_fails(
    make_plugin: MakePlugin, checkpoint: Path, code: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        build_original(CONFIG, make_plugin(code=code), checkpoint)


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_config_that_is_not_there(make_plugin: MakePlugin, checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(VerifyError, match=r"nowhere\.py does not exist"):
        build_original(tmp_path / "nowhere.py", make_plugin(), checkpoint)


@pytest.mark.usefixtures("openmmlab_standin")
def test_a_checkpoint_that_runs_code_is_refused(make_plugin: MakePlugin, tmp_path: Path) -> None:
    witness = tmp_path / "executed"

    class Payload:
        def __reduce__(self):
            return Path.touch, (witness,)

    path = tmp_path / "evil.pth"
    torch.save({"state_dict": {"x": Payload()}}, path)
    with pytest.raises(CheckpointError, match="Nothing of it was executed"):
        build_original(CONFIG, make_plugin(), path)
    assert not witness.exists()


@pytest.mark.usefixtures("openmmlab_standin")
def test_what_the_original_prints_stays_out_of_stdout(
    make_plugin: MakePlugin, checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = """
print("chatter")
from tests.standins.openmmlab.detector import register
from tests.support.micro import micro_config
register(micro_config())
"""
    build_original(CONFIG, make_plugin(code=code), checkpoint)
    printed = capsys.readouterr()
    assert printed.out == "" and "chatter" in printed.err
