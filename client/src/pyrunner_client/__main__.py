"""python -m pyrunner_client [URL]: an interactive console; with a program on its stdin, runs that."""

from __future__ import annotations

import argparse
import io
import sys

from pyrunner_client import __version__
from pyrunner_client.console import Console, run_program
from pyrunner_client.errors import PyRunnerError
from pyrunner_client.screen import Screen


def main() -> int:
    """The exit status."""
    arguments = _arguments()
    try:
        key = _key(arguments.key_file)
    except (OSError, ValueError) as error:
        print(f"{arguments.key_file}: no key can be read from it: {error}", file=sys.stderr)
        return 2
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # not all that code prints is in every terminal's alphabet
    screen = Screen(sys.stdout, sys.stderr)
    if sys.stdin.isatty():
        try:
            console = Console(arguments.url, arguments.timeout, screen, key)
        except PyRunnerError as error:
            screen.say(str(error))
            return 1
        return console.run()
    return run_program(arguments.url, arguments.timeout, sys.stdin.read(), screen, key)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m pyrunner_client", description="A console of a PyRunner server.")
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000", help="of the server (%(default)s)")
    parser.add_argument("--timeout", type=float, help="time limit of each step in seconds (the server's default)")
    parser.add_argument(
        "--key-file", metavar="FILE", help="with the server's key; else the variable PYRUNNER_KEY has it"
    )
    parser.add_argument("--version", action="version", version=__version__)
    return parser.parse_args()


def _key(file: str | None) -> str | None:
    """What the file has; a key on the command line could be read by all users of this machine."""
    if file is None:
        return None
    with open(file, encoding="ascii", errors="strict") as text:
        return text.read().strip()


if __name__ == "__main__":
    sys.exit(main())
