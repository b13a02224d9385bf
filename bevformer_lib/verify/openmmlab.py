"""The original model, built from its own registry, by its own config loader, out of its own plugin.

This is the one place of the product that executes a config and code from elsewhere: mmcv's loader runs a Python config,
and importing the plugin runs the plugin. It happens only because the user names the plugin's folder.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

from torch import nn

from bevformer_lib.errors import RuntimeUnavailableError, VerifyError
from bevformer_lib.model.checkpoint import load_checkpoint

PACKAGES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "mmcv": "mmcv-full==1.7.2",
        "mmcv._ext": "mmcv-full==1.7.2",
        "mmdet": "mmdet==2.28.2",
        "mmseg": "mmsegmentation==0.30.0",
        "mmdet3d": "mmdet3d==1.0.0rc6",
    }
)
"""Module the original needs -> the version of the package that holds it, as the image of `infra/openmmlab` has it."""

IMAGE_COMMAND: Final = "docker build --file infra/openmmlab/Dockerfile --tag bevformer-openmmlab ."

_HOW_TO_INSTALL: Final = (
    f"build the image that has them all with '{IMAGE_COMMAND}', or follow docs/verify.md, 'Without the image' "
    "(pip install 'bevformer-axera[openmmlab]' first)"
)
_MMCV: Final = "mmcv"

PLUGIN_PACKAGE: Final = "mmdet3d_plugin"
PLUGIN_PARENT: Final = "projects"
"""The plugin imports itself as ``projects.mmdet3d_plugin``, so its folder has to have this name."""


@dataclass(frozen=True)
class Original:
    """The original model with its weights, in evaluation mode.

    Attributes:
        model: the detector that the registry built.
        versions: of the packages that it runs on.
    """

    model: nn.Module
    versions: Mapping[str, str]


def build_original(config: Path, plugin_dir: Path, checkpoint: Path) -> Original:
    """Build the original model and load a checkpoint into it, strictly.

    The checkpoint is read by our loader, which executes nothing of it.

    Args:
        config: config in the original's form; its loader EXECUTES it where it is Python.
        plugin_dir: folder ``projects`` of a checkout of the original; importing it EXECUTES it.
        checkpoint: the ``.pth`` file.

    Raises:
        RuntimeUnavailableError: a package of OpenMMLab is missing, or one of another generation is installed; the
            message says what to install.
        VerifyError: the folder is not the plugin's, or the original's code fails.
        CheckpointError: the checkpoint can't be read safely, or does not fit the model.
    """
    check_packages()
    _check_plugin_dir(plugin_dir)
    if not config.is_file():
        raise VerifyError(f"{config} does not exist; name the original's config file")
    # The original's packages print; stdout is for results.
    with contextlib.redirect_stdout(sys.stderr):
        model = _build(config, plugin_dir)
    if not isinstance(model, nn.Module):
        raise VerifyError(f"{config}: the registry built a {type(model).__name__}, not a PyTorch module")
    load_checkpoint(checkpoint, model)
    model.eval()
    return Original(model, installed_versions())


def check_packages() -> None:
    """Check that what the original needs is installed.

    Raises:
        RuntimeUnavailableError: something is missing, or can't be imported; names the packages, their versions and the
            image's command.
    """
    missing = [module for module in PACKAGES if not _is_installed(module)]
    if "mmcv" in missing:
        missing.remove("mmcv._ext")
    if missing:
        wanted = " ".join(dict.fromkeys(PACKAGES[module] for module in missing))
        raise RuntimeUnavailableError(
            f"the original model can't be built here: {', '.join(missing)} can't be imported. Install {wanted}: "
            f"{_HOW_TO_INSTALL}"
        )
    mmcv = _import(_MMCV)
    if not hasattr(mmcv, "Config"):
        raise RuntimeUnavailableError(
            f"mmcv {mmcv.__version__} is installed, but the original needs {PACKAGES['mmcv']}: mmcv 2 has no Config; "
            f"use an environment of its own, or the image ('{IMAGE_COMMAND}')"
        )


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that the original runs on, by import name."""
    names = [name for name in (*PACKAGES, "torch") if "." not in name]
    return {name: str(_import(name).__version__) for name in names}


def _is_installed(module: str) -> bool:
    package, _, inside = module.partition(".")
    if importlib.util.find_spec(package) is None:
        return False
    if not inside:
        return True
    # What lies inside a package is found by importing the package.
    _import(package)
    return importlib.util.find_spec(module) is not None


def _import(package: str) -> ModuleType:
    try:
        # What it prints must not get among the results.
        with contextlib.redirect_stdout(sys.stderr):
            return importlib.import_module(package)
    except Exception as error:
        raise RuntimeUnavailableError(
            f"{package} is installed, but importing it fails ({type(error).__name__}: {error}). The original needs "
            f"{PACKAGES.get(package, package)} and the packages that go with it: {_HOW_TO_INSTALL}"
        ) from error


def _check_plugin_dir(plugin_dir: Path) -> None:
    if not (plugin_dir / PLUGIN_PACKAGE / "__init__.py").is_file():
        raise VerifyError(
            f"{plugin_dir} holds no package {PLUGIN_PACKAGE}; name the folder '{PLUGIN_PARENT}' of a checkout of "
            "fundamentalvision/BEVFormer"
        )
    if plugin_dir.resolve().name != PLUGIN_PARENT:
        raise VerifyError(
            f"{plugin_dir}: the plugin imports itself as {PLUGIN_PARENT}.{PLUGIN_PACKAGE}, so its folder must be "
            f"named '{PLUGIN_PARENT}'; rename it, or point to the checkout's own"
        )


def _build(config: Path, plugin_dir: Path) -> Any:
    """Import the plugin and let the registry build the model, as the original's own `tools/test.py` does."""
    mmcv = _import(_MMCV)
    with _importable_from(plugin_dir.resolve().parent):
        try:
            plugin = importlib.import_module(f"{PLUGIN_PARENT}.{PLUGIN_PACKAGE}")
        except ModuleNotFoundError as error:
            raise RuntimeUnavailableError(
                f"{plugin_dir}: the plugin imports '{error.name}', which is not installed; pip install it (for "
                "detectron2 see docs/verify.md)"
            ) from error
        except Exception as error:
            raise VerifyError(_failed(f"{plugin_dir}: importing the plugin", error)) from error
        loaded_from = Path(str(plugin.__file__)).resolve()
        if not loaded_from.is_relative_to(plugin_dir.resolve()):
            raise VerifyError(f"{plugin_dir}: {loaded_from} was imported instead; remove it from the Python path")
        try:
            content = mmcv.Config.fromfile(str(config))
            content.model.pretrained = None
            content.model.train_cfg = None
            models = importlib.import_module("mmdet3d.models")
            return models.build_model(content.model, test_cfg=content.get("test_cfg"))
        except Exception as error:
            raise VerifyError(_failed(f"{config}: building the original model", error)) from error


@contextlib.contextmanager
def _importable_from(folder: Path) -> Iterator[None]:
    """Put ``folder`` first on the Python path while the block runs."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _failed(what: str, error: Exception) -> str:
    return f"{what} failed in the original's code: {type(error).__name__}: {error}"
