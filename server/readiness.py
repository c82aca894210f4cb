"""Whether this server can do what its role is for."""

from cluster.backend import Backend
from cluster.node import Node
from cluster.remote import Cluster
from cluster.service import Service


def node_of(backend: Backend) -> Node | None:
    """What does the work on this machine, if it is done here."""
    return backend.node if isinstance(backend, Service) else backend if isinstance(backend, Node) else None


def trouble(backend: Backend) -> str | None:
    """Why it can not, in a sentence; None when it can."""
    if backend.draining:
        return "The server is shutting down"
    if isinstance(backend, Cluster | Service) and not backend.connection.is_up:
        return "NATS cannot be reached"
    node = node_of(backend)
    if node is not None and node.zygotes.ready("plain") is None:
        return "No worker can be had yet"
    return None
