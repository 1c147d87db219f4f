"""The manifests of deploy/, read."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Any

import yaml
from local_server import ROOT

FOLDER = ROOT / "deploy"
FILES = sorted(FOLDER.rglob("*.yaml"))
HAPROXY = (FOLDER / "http" / "haproxy.cfg").read_text()
PORT = 5000  # of Cog's server
Manifest = dict[str, Any]


def documents() -> Iterator[Manifest]:
    for path in FILES:
        yield from yaml.safe_load_all(path.read_text())


def of_kind(kind: str) -> list[Manifest]:
    return [document for document in documents() if document["kind"] == kind]


def named(kind: str, name: str) -> Manifest:
    (found,) = [document for document in of_kind(kind) if document["metadata"]["name"] == name]
    return found


def templates() -> dict[str, Manifest]:
    """The template of every pod, by the kind and role of what makes it."""
    found = {f"Deployment {one['metadata']['name']}": one["spec"]["template"] for one in of_kind("Deployment")}
    for job in of_kind("RayJob"):
        cluster = job["spec"]["rayClusterSpec"]
        found["RayJob head"] = cluster["headGroupSpec"]["template"]
        found |= {f"RayJob {group['groupName']}": group["template"] for group in cluster["workerGroupSpecs"]}
    return found


def containers() -> Iterator[tuple[str, Manifest]]:
    """Every container, with the name of its template."""
    for name, template in templates().items():
        for container in template["spec"]["containers"]:
            yield name, container


def model_container() -> Manifest:
    (container,) = named("Deployment", "real-esrgan")["spec"]["template"]["spec"]["containers"]
    return container


def probe_fails(kind: str, port: int) -> bool:
    """Runs the command of a probe of the model's container, against a server at another port of loopback."""
    *shell, script = model_container()[f"{kind}Probe"]["exec"]["command"]
    script = script.replace(f":{PORT}/", f":{port}/").replace(f":{PORT:X} ", f":{port:X} ")
    return subprocess.run([*shell, script], capture_output=True, timeout=20, check=False).returncode != 0
