"""Stand-ins for functions that raise without a frame of their own in the traceback.

A Python function that raises always leaves its frame there. A class can do better: `type.__call__` runs its
`__new__`, which decides and returns, and then, from C, its `__init__`, which is a property whose getter throws
into a finished generator: C all the way, so that the error stands right under the user's line.
"""

import errno
import functools
import operator
import os
import sys
from collections.abc import Callable, Generator
from typing import Any


def _nothing() -> Generator[None, None, None]:
    return
    yield


_finished = _nothing()
next(_finished, None)
_throw = _finished.throw  # of a finished generator: raises what it is given, and adds no frame


class _Function(type):
    """Makes a stand-in class look like the built-in function that it replaces."""

    def __repr__(cls) -> str:
        return f"<built-in function {cls.__name__}>"

    def __get__(cls, instance: object, owner: object = None) -> Any:
        return cls  # a built-in function does not bind to the instance it is looked up on


def guarded(name: str, real: Callable[..., Any], verdict: Callable[..., BaseException | None]) -> Any:
    """A stand-in for `real`: `verdict(*args)` returns the error to raise, or None to let the call through.

    Errors of `real` itself are raised without a frame of ours as well.
    """

    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:
        try:
            # Once: an object that names one path when asked first and another one then gets no second chance.
            args = tuple(os.fspath(arg) if isinstance(arg, os.PathLike) else arg for arg in args)
            kwargs = {key: os.fspath(arg) if isinstance(arg, os.PathLike) else arg for key, arg in kwargs.items()}
            try:
                error = verdict(*args, **kwargs)
            except TypeError as wrong:
                if wrong.__traceback__ is None or wrong.__traceback__.tb_next is not None:
                    raise
                error = None  # a call that lacks arguments: the real function says so in its own words
            if error is None:
                return real(*args, **kwargs)
        except BaseException as raised:
            error = raised.with_traceback(None)
        error.__context__ = sys.exception()
        call: Any = object.__new__(cls)
        call.__dict__["settle"] = functools.partial(_throw, error)
        return call

    body = {
        "__new__": __new__,
        "__init__": property(operator.methodcaller("settle")),
        "__doc__": real.__doc__,
        "__module__": getattr(real, "__module__", None),
        "__wrapped__": staticmethod(real),
    }
    return _Function(name, (), body)


def denied(path: object = None) -> PermissionError:
    """The error of a refused call, with the path in it as the caller wrote it."""
    message = os.strerror(errno.EACCES)
    if path is None:
        return PermissionError(errno.EACCES, message)
    return PermissionError(errno.EACCES, message, path)


def refuse(module: Any, names: str, path_argument: str | None = None) -> None:
    """Put a stand-in that always refuses in place of each of `names` (separated by spaces) in `module`.

    `path_argument`: the keyword under which the path may come; else it is the first argument. Names that
    this platform lacks are passed over.
    """

    def verdict(*args: Any, **kwargs: Any) -> BaseException:
        if path_argument is None:
            return denied()
        return denied(args[0] if args else kwargs.get(path_argument))

    for name in names.split():
        if hasattr(module, name):
            setattr(module, name, guarded(name, getattr(module, name), verdict))
