"""Compiles C programs, runs each behind the wall, and prints how they ended as JSON.

`python launched.py request`, where the request is JSON: `namespaces`, `profile`, `programs` (name and source, or
None for nothing but gcc itself), `limits`. A process of its own, so that it can be another user's.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from judge import toolchain
from judge.files import memory_file, read_back
from judge.launcher import Launcher
from sandbox.confine.cell import Launch
from sandbox.confine.jail import Plan
from sandbox.limits import MIB

OUTPUT_BYTES = 64 * 1024


def compiled(source: str, flags: list[str]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder, "program")
        subprocess.run(
            ["gcc", "-w", "-x", "c", "-", "-o", str(target), "-lpthread", *flags], input=source.encode(), check=True
        )
        return target.read_bytes()


async def main(request: dict) -> dict:
    tools = toolchain.find()
    steps = tuple(step for step in Plan().steps if request["namespaces"] or step not in ("namespaces", "root"))
    results = {}
    async with Launcher(Plan(steps), tools.profiles) as launcher:
        results["report"] = launcher.report
        results["launcher"] = launcher.pid
        profile = request["profile"]
        for name, source in request["programs"].items():
            async with launcher.folder() as folder:
                folder.write("program", compiled(source, request.get("flags", [])), 0o555)
                path, argv = "program", ["program", "an argument"]
                if profile == "memcheck":
                    path, argv = tools.memcheck, ["valgrind", "-q", "--vgdb=no", "./program"]
                launch = Launch(
                    profile,
                    tuple(argv),
                    path,
                    folder.name,
                    {"TMPDIR": ".", "VALGRIND_LAUNCHER": "valgrind"},
                    **{
                        "wall_s": 5,
                        "cpu_s": 5,
                        "data_bytes": (1024 if profile == "memcheck" else 64) * MIB,
                        "file_bytes": OUTPUT_BYTES,
                        "address_space": profile == "program",
                        **request.get("limits", {}),
                    },
                )
                with memory_file(b"input\n") as stdin, memory_file() as out:
                    exit = await launcher.run(launch, (stdin, out, out))
                    output = read_back(out, 4 * MIB).decode(errors="replace")
            results[name] = {
                "output": output[:2000],
                "length": len(output),
                "signal": exit.signal,
                "code": exit.code,
                "killed": exit.killed,
                "wall_s": exit.wall_s,
            }
    return results


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(json.loads(sys.argv[1])))))
    sys.stdout.flush()
    os._exit(0)
