"""The network: every socket is refused, but the pair inside one process that event loops wake themselves with."""

import functools
import operator
import socket
import sys
from typing import Any

from sandbox.stubs.refusal import _throw, denied, refuse

_RESOLVERS = (
    "getaddrinfo gethostbyname gethostbyname_ex gethostbyaddr getnameinfo getfqdn "
    "create_connection create_server if_nameindex sethostname send_fds recv_fds"
)


def install() -> None:
    """Put the stand-ins in place in `socket`. A socket made of a descriptor (socketpair) still works."""
    real = socket.socket

    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:
        self: Any = real.__new__(cls)
        if (args[3] if len(args) > 3 else kwargs.get("fileno")) is None:
            error = denied()
            error.__context__ = sys.exception()
            self.__dict__["settle"] = functools.partial(_throw, error)
        else:
            self.__dict__["settle"] = functools.partial(functools.partial, real.__init__, self)
        return self

    body = {
        "__new__": __new__,
        "__init__": property(operator.methodcaller("settle")),
        "__doc__": real.__doc__,
        "__module__": "socket",
        "__qualname__": "socket",
    }
    stand_in: Any = type("socket", (real,), body)
    socket.socket = socket.SocketType = stand_in  # type: ignore[misc]
    refuse(socket, _RESOLVERS)
