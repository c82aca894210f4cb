"""python -m pyrunner_client [URL]: an interactive console; with a program on its stdin, runs that."""

from __future__ import annotations

import argparse
import io
import sys

from pyrunner_client import __version__
from pyrunner_client.console import Console, run_program
from pyrunner_client.screen import Screen


def main() -> int:
    """The exit status."""
    arguments = _arguments()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not all that code prints is in every terminal's alphabet
    screen = Screen(sys.stdout, sys.stderr)
    if sys.stdin.isatty():
        return Console(arguments.url, arguments.timeout, screen).run()
    return run_program(arguments.url, arguments.timeout, sys.stdin.read(), screen)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m pyrunner_client", description="A console of a PyRunner server.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000", help="of the server (%(default)s)")
    parser.add_argument("--timeout", type=float, help="time limit of each step in seconds (the server's default)")
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
