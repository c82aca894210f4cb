"""Start the server: `python run.py`. Its settings come from the environment, `.env` and the command line."""

import argparse
import sys


def _arguments() -> argparse.Namespace:
    from server.settings import Settings

    lines = []
    for name, field in Settings.model_fields.items():
        lines.append(f"  {name.upper():<22} {field.description} [{'' if field.default is None else field.default}]")
    parser = argparse.ArgumentParser(
        description="PyRunner: a server that runs other people's Python.",
        epilog="Settings, read from the environment and from .env, each also with the prefix PYRUNNER_:\n"
        + "\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--role", choices=("all", "gateway", "node"), help="the setting ROLE")
    parser.add_argument("--host", help="the setting HOST")
    parser.add_argument("--port", type=int, help="the setting PORT")
    parser.add_argument("--log-level", choices=("debug", "info", "warning", "error"), help="the setting LOG_LEVEL")
    parser.add_argument("--new-key", metavar="NAME", help="make a key of that name, print it, and start nothing")
    return parser.parse_args()


def _make_key(name: str) -> int:
    from server.keys import KeysError, new_key

    try:
        token, entry = new_key(name)
    except KeysError as error:
        print(f"run.py: --new-key: {error}", file=sys.stderr)
        return 2
    print(f"The key, shown only now:         {token}")
    print(f"A line of the file API_KEYS_FILE: {entry}")
    return 0


def main() -> int:
    """Run the server until SIGTERM or Ctrl-C. Returns the exit status."""
    try:
        from server.serving import serve
        from server.settings import SettingsError, read_settings
    except ModuleNotFoundError as missing:
        hint = "make run installs all of it into .venv; then start .venv/bin/python run.py"
        print(f"run.py: {missing.name} is not installed for {sys.executable}: {hint}", file=sys.stderr)
        return 1
    arguments = _arguments()
    if arguments.new_key is not None:
        return _make_key(arguments.new_key)
    try:
        settings = read_settings(**vars(arguments))
    except SettingsError as error:
        print(f"run.py: {error}", file=sys.stderr)
        return 2
    return serve(settings)


if __name__ == "__main__":
    sys.exit(main())
