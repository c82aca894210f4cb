"""Puts all stand-ins in place, also where a module took the real function by name before."""

import _posixsubprocess
import builtins
import io
import os
import socket
import sys
from types import ModuleType
from typing import Any

from sandbox.stubs import filesystem, network, process

# These keep the real functions: the import system uses them, and so do we.
_UNTOUCHED = ("posix", "_io", "_socket", "sandbox", "_frozen_importlib", "importlib")
_REPLACED = (builtins, io, os, socket, _posixsubprocess)


def install_all() -> None:
    """Install every stand-in. Called once, in the zygote, when it has imported what it preloads."""
    before = {id(value): (module, name) for module in _REPLACED for name, value in _functions(module).items()}
    filesystem.install()
    network.install()
    process.install()
    changed = {key: new for key, (module, name) in before.items() if id(new := getattr(module, name)) != key}
    for module in list(sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__.split(".")[0] not in _UNTOUCHED:
            for name, value in _functions(module).items():
                if id(value) in changed:
                    setattr(module, name, changed[id(value)])


def _functions(module: ModuleType) -> dict[str, Any]:
    return {name: value for name, value in vars(module).items() if callable(value)}
