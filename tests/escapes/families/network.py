"""Something is reached through a socket, or one is there that could reach something."""

from tests.escapes.row import Row


def _row(name: str, code: str, effect: str = "reached", **more: object) -> Row:
    return Row(name, "network", effect, code, **more)  # type: ignore[arg-type]


_ADDRESS = "struct.pack('=H', 2) + struct.pack('>H', TCP) + bytes([127, 0, 0, 1]) + bytes(8)"

ROWS = (
    _row("TCP by _socket", "_socket.socket().connect(('127.0.0.1', TCP))"),
    _row(
        "TCP by the C library",
        f"fd = libc.socket(2, 1, 0)\nprint(libc.connect(fd, {_ADDRESS}, 16), fd)",
    ),
    _row("TCP by system calls", f"call('connect', call('socket', 2, 1, 0), {_ADDRESS}, 16)"),
    _row("data with the connection (TCP fast open)", "_socket.socket().sendto(b'x', 0x20000000, ('127.0.0.1', TCP))"),
    _row(
        "a name is looked up, and reached",
        """
for family, kind, protocol, _, address in _socket.getaddrinfo("localhost", TCP, 2, 1):
    _socket.socket(family, kind, protocol).connect(address)
""",
    ),
    _row("UDP, sent without connecting", "_socket.socket(2, 2).sendto(b'x', ('127.0.0.1', UDP))"),
    _row("UDP by sendmsg", "_socket.socket(2, 2).sendmsg([b'x'], [], 0, ('127.0.0.1', UDP))"),
    _row("a unix socket by its path", "_socket.socket(1, 1).connect(FOLDER + '/stream')"),
    _row("a unix datagram by its path", "_socket.socket(1, 2).sendto(b'x', FOLDER + '/datagram')"),
    _row("an abstract unix socket", "_socket.socket(1, 1).connect('\\0' + MARK)"),
    _row(
        "a pair of datagram sockets, pointed elsewhere",
        "_socket.socketpair(1, 2)[0].sendto(b'x', FOLDER + '/datagram')",
    ),
    _row(
        "a pair of stream sockets, pointed elsewhere",
        "_socket.socketpair(1, 1)[0].connect(FOLDER + '/stream')",
        open_without_wall=False,
        stopped_by="it is connected already",
    ),
    _row(
        "a port is listened on",
        "s = _socket.socket()\ns.setsockopt(1, 2, 1)\ns.bind(('127.0.0.1', FREE))\ns.listen()",
        effect="listens",
    ),
    _row("a unix socket is made", "_socket.socket(1, 1).bind(FOLDER + '/made')", effect="changed"),
    _row("netlink", "s = _socket.socket(16, 3, 0)", effect="holds"),
    _row("vsock", "s = _socket.socket(40, 1)", effect="holds", open_without_wall=None, stopped_by="kernels without it"),
    _row("packets", "s = _socket.socket(17, 3)", effect="holds", ordinary_stopped_by="the kernel wants CAP_NET_RAW"),
    _row("raw", "s = _socket.socket(2, 3, 1)", effect="holds", ordinary_stopped_by="the kernel wants CAP_NET_RAW"),
    _row(
        "the kernel's cryptography (AF_ALG)",
        "s = _socket.socket(38, 5)",
        effect="holds",
        open_without_wall=None,
        stopped_by="kernels without it",
    ),
    _row(
        "io_uring",
        "ring = call('io_uring_setup', 4, bytes(120))",
        effect="holds",
        open_without_wall=None,
        stopped_by="kernels without it, or where it is switched off",
    ),
    _row(
        "the ports of the host, in /proc/self/net",
        "print(_io.FileIO('/proc/self/net/tcp').readall())",
        effect="told",
        step="namespaces",
    ),
    _row(
        "the server itself, asked for another session",
        """
def http(method, path, body=""):
    s = _socket.socket()
    s.connect(("127.0.0.1", PORT))
    s.send(f"{method} {path} HTTP/1.1\\r\\nhost: 127.0.0.1\\r\\nconnection: close\\r\\n"
           f"content-type: application/json\\r\\n"
           f"content-length: {len(body)}\\r\\n\\r\\n{body}".encode())
    answer = b""
    while data := s.recv(65536):
        answer += data
    return answer.decode()
import json
for session in json.loads(http("GET", "/sessions").partition("\\r\\n\\r\\n")[2])["sessions"]:
    if session["state"] == "idle":
        print(http("POST", "/execute", json.dumps({"id": session["id"], "code": "secret"})))
""",
        effect="told",
    ),
)
