"""STAND-IN: the registry of detectors and the function that builds one."""

import warnings

from mmcv import Registry

DETECTORS = Registry("models")


def build_model(cfg, train_cfg=None, test_cfg=None):
    if train_cfg is not None or test_cfg is not None:
        warnings.warn("train_cfg and test_cfg is deprecated, please specify them in model", UserWarning, stacklevel=2)
    assert cfg.get("train_cfg") is None or train_cfg is None, "train_cfg specified in both outer field and model field"
    assert cfg.type, "a ConfigDict is expected"
    return DETECTORS.build(cfg, default_args={"train_cfg": train_cfg, "test_cfg": test_cfg})
