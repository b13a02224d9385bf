"""STAND-IN for mmcv-full 1.x: Config and Registry, as far as a detector is built from them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

__version__ = "1.7.2"


class ConfigDict(dict):
    """A dict whose keys are attributes; a missing one is an AttributeError, as in mmcv."""

    def __init__(self, content):
        super().__init__({key: _wrapped(value) for key, value in content.items()})

    def __getattr__(self, name):
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"'ConfigDict' object has no attribute '{name}'") from None

    def __setattr__(self, name, value):
        self[name] = _wrapped(value)


def _wrapped(value):
    if isinstance(value, dict):
        return ConfigDict(value)
    return type(value)(map(_wrapped, value)) if isinstance(value, list | tuple) else value


class Config:
    @staticmethod
    def fromfile(filename):
        path = Path(filename)
        if path.suffix not in (".py", ".yaml", ".yml", ".json"):
            raise OSError("Only py/yml/yaml/json type are supported now!")
        if not path.is_file():
            raise FileNotFoundError(f'file "{path}" does not exist')
        if path.suffix == ".json":
            return ConfigDict(json.loads(path.read_text()))
        # The real one executes a Python config too.
        spec = importlib.util.spec_from_file_location("standin_config", path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        names = vars(module).items()
        return ConfigDict({name: value for name, value in names if not name.startswith("__")})


class Registry:
    def __init__(self, name):
        self.name = name
        self._module_dict = {}

    def register_module(self):
        def register(cls):
            if cls.__name__ in self._module_dict:
                raise KeyError(f"{cls.__name__} is already registered in {self.name}")
            self._module_dict[cls.__name__] = cls
            return cls

        return register

    def build(self, cfg, default_args=None):
        if "type" not in cfg:
            raise KeyError(f'`cfg` or `default_args` must contain the key "type", but got {cfg}')
        arguments = {**(default_args or {}), **cfg}
        kind = arguments.pop("type")
        if kind not in self._module_dict:
            raise KeyError(f"{kind} is not in the {self.name} registry")
        return self._module_dict[kind](**arguments)
