#!/usr/bin/env python3
"""A `docker` for tests: one image whose files are the folder FILES, and a container whose server is on PORT.

Knows the commands of tools/check_image.py, and writes each into CALLS.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

CONTAINER = "0123abcd"


def main(arguments: list[str]) -> int:
    with Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(" ".join(word for word in arguments if "\n" not in word) + "\n")
    command, *rest = arguments
    if arguments[:2] == ["image", "inspect"]:
        print(Path(os.environ["INSPECTED"]).read_text())
    elif command == "history":
        print("RUN pip install -r requirements.txt")
    elif command in ("create", "run"):
        print(CONTAINER)
    elif command == "export":
        with tarfile.open(fileobj=sys.stdout.buffer, mode="w|") as archive:
            archive.add(os.environ["FILES"], arcname="")
    elif command == "inspect":
        print("true")
    elif command == "exec":
        # The port in the container is another one on this machine.
        asked = {**json.load(sys.stdin), "port": int(os.environ["PORT"])}
        done = subprocess.run([sys.executable, *rest[3:]], input=json.dumps(asked).encode(), check=False)
        return done.returncode
    elif command != "rm":
        print(f"unknown command: {command}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
