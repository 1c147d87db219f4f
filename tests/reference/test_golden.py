"""The golden pictures of the smoke cases, with the real weights."""

from pathlib import Path

import smoke
from local_server import ROOT
from reference.test_ncnn import ncnn_files
from servers import FASTEST, serving, write_weights

from upscaling.weights.ncnn import to_state_dict


def test_real_weights_give_the_golden_picture(tmp_path: Path) -> None:
    cases = smoke.read(ROOT / "models" / "real-esrgan" / "smoke.yaml").cases
    wanted = [case for case in cases if case.golden is not None]
    assert {case.inputs["model"] for case in wanted} == {FASTEST}
    write_weights({FASTEST: to_state_dict(*ncnn_files(FASTEST))}, tmp_path / "cache")
    with serving("real-esrgan", tmp_path, tmp_path / "cache") as client:
        assert smoke.run("real-esrgan", client.url, wanted) == 0
