"""deploy/bulk runs the bulk job as it is: its options, its packages, as many workers as there are machines."""

from __future__ import annotations

import itertools
import json
import re
import shlex

from local_server import ROOT
from manifests import FOLDER, named

BULK = named("RayJob", "bulk")["spec"]
OPTIONS = (ROOT / "shared" / "src" / "upscaling" / "bulk" / "__main__.py").read_text()


def test_the_job_is_started_with_options_and_inputs_that_exist() -> None:
    *command, source, target = (words := shlex.split(BULK["entrypoint"]))[:5]
    assert command == ["python", "-m", "upscaling.bulk"]
    assert source.startswith("s3://")
    assert target.startswith("s3://")
    assert [word for word in words[5:] if word.startswith("-") and f'"{word}"' not in OPTIONS] == []
    inputs = json.loads((ROOT / "models" / "real-esrgan" / "openapi.json").read_text())
    given = [after.partition("=")[0] for word, after in itertools.pairwise(words) if word == "-i"]
    assert given
    assert set(given) <= set(inputs["components"]["schemas"]["Input"]["properties"])


def test_every_machine_has_one_worker() -> None:
    words = shlex.split(BULK["entrypoint"])
    options = dict(itertools.pairwise(words))
    (group,) = BULK["rayClusterSpec"]["workerGroupSpecs"]
    (container,) = group["template"]["spec"]["containers"]
    assert int(options["--workers"]) == group["replicas"] == group["minReplicas"] == group["maxReplicas"]
    assert options["--cpus"] == group["rayStartParams"]["num-cpus"] == container["resources"]["requests"]["cpu"]
    assert int(options["--gpus"]) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert options["--gpus"] == group["rayStartParams"]["num-gpus"]


def test_a_job_that_fails_is_not_run_again_by_itself() -> None:
    assert BULK["backoffLimit"] == 0


def test_ray_is_the_one_in_the_image() -> None:
    made = (FOLDER / "bulk" / "Dockerfile").read_text()
    (requirements,) = re.findall(r"^COPY (\S+) /tmp/$", made, re.MULTILINE)
    assert f"\nray=={BULK['rayClusterSpec']['rayVersion']}\n" in (ROOT / requirements).read_text()
