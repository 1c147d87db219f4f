from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import demo
import local_server as server
import predict
import pytest
import requests
from loopback import Answer, Site, site, until
from servers import FASTEST, STATES, data_url, opened, picture, write_weights

MODEL = "real-esrgan"
ECHO = """
import os
from cog import BaseRunner

class Runner(BaseRunner):
    def setup(self) -> None:
        {setup}

    def run(self, name: str) -> str:
        return os.environ[name]
"""


def make_model(root: Path, code: str) -> str:
    folder = root / "models" / "echo"
    folder.mkdir(parents=True)
    (folder / "cog.yaml").write_text('run: "run.py:Runner"\n')
    (folder / "run.py").write_text(code)
    return "echo"


@pytest.fixture
def elsewhere() -> Iterator[Site]:
    """A server that answers predictions as the test says."""
    with site() as running:
        yield running


def test_inputs_have_the_types_of_the_schema(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"photo")
    pairs = [f"image=@{tmp_path / 'photo.jpg'}", "scale=2", "width=300", "model=a=b", "output_format=png"]
    assert predict.parse_inputs(pairs, MODEL) == {
        "image": f"data:image/jpeg;base64,{base64.b64encode(b'photo').decode()}",
        "scale": 2,
        "width": 300,
        "model": "a=b",
        "output_format": "png",
    }


def test_choices_have_the_types_of_the_schema_too() -> None:
    pairs = ["noise=25", "task_type=Color Image Denoising", "jpeg=40"]
    assert predict.parse_inputs(pairs, "swinir") == {"noise": 25, "task_type": "Color Image Denoising", "jpeg": 40}


def test_urls_and_malformed_numbers_are_left_to_the_server() -> None:
    inputs = predict.parse_inputs(["image=https://example.com/x.png", "scale=big"], MODEL)
    assert inputs == {"image": "https://example.com/x.png", "scale": "big"}


@pytest.mark.parametrize("pair", ["colour=red", "scale", "=4", ""])
def test_unknown_input_is_refused_with_the_known_ones(pair: str) -> None:
    with pytest.raises(
        predict.PredictionError, match=r"is not an input of real-esrgan\. The inputs are image, scale, "
    ):
        predict.parse_inputs([pair], MODEL)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(predict.PredictionError, match=r"absent\.png cannot be read"):
        predict.parse_inputs([f"image=@{tmp_path / 'absent.png'}"], MODEL)


def test_a_busy_server_is_asked_again(elsewhere: Site) -> None:
    done = json.dumps({"status": "succeeded", "output": "data:,"}).encode()
    elsewhere.answer("/predictions", Answer(status=409), Answer(done))
    assert predict.predict(elsewhere.url, {"scale": 2})["status"] == "succeeded"
    assert elsewhere.asked == [("/predictions", b'{"input": {"scale": 2}}')] * 2


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            Answer(b'{"status": "failed", "error": "Prediction failed: UpscalingError: E_TOO_LARGE: it is 9 MP."}'),
            "E_TOO_LARGE: it is 9 MP.",
        ),
        (
            Answer(b'{"status": "failed", "error": "Prediction failed: TypeError: x"}'),
            "Prediction failed: TypeError: x",
        ),
        (Answer(b'{"status": "canceled"}'), "the prediction canceled"),
        (
            Answer(b'{"detail": [{"loc": ["body", "input", "scale"], "msg": "11 is too much"}]}', status=422),
            "scale: 11 is too much",
        ),
        (Answer(b"gone", status=500), "HTTP 500: gone"),
    ],
)
def test_failures_keep_the_words_of_the_model(elsewhere: Site, answer: Answer, message: str) -> None:
    elsewhere.answer("/predictions", answer)
    with pytest.raises(predict.PredictionError) as raised:
        predict.predict(elsewhere.url, {})
    assert str(raised.value) == message


def test_output_gets_the_name_asked_for_or_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "received").mkdir()
    (tmp_path / "received" / "output.webp").write_bytes(b"uploaded")
    received = tmp_path / "received"
    assert predict.save(data_url(b"inline"), received, None) == Path("output.png")
    assert predict.save(data_url(b"inline"), received, Path("wanted.png")) == Path("wanted.png")
    assert predict.save("http://127.0.0.1:1/output.webp", received, None) == Path("output.webp")
    contents = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    assert contents == {"output.png": b"inline", "wanted.png": b"inline", "output.webp": b"uploaded"}


def test_results_that_were_uploaded_elsewhere_are_fetched(elsewhere: Site, tmp_path: Path) -> None:
    url = elsewhere.answer("/results/output.png?signed=1", Answer(b"uploaded"))
    assert predict.save(url, tmp_path, tmp_path / "wanted.png").read_bytes() == b"uploaded"
    with pytest.raises(predict.PredictionError, match=r"the result is at .*absent\.png, which cannot be read"):
        predict.save(f"{elsewhere.url}/absent.png", tmp_path, tmp_path / "other.png")


def test_receiver_keeps_files_inside_its_folder(tmp_path: Path) -> None:
    (tmp_path / "received").mkdir()
    with predict.receiver(tmp_path / "received") as url:
        assert requests.put(f"{url}../output.png", data=b"whole", timeout=20).status_code == 200
    assert [path.name for path in tmp_path.rglob("*.png")] == ["output.png"]
    assert (tmp_path / "received" / "output.png").read_bytes() == b"whole"


def _predict(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(server.ROOT / "tools" / "predict.py"), MODEL, *arguments]
    return subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=200, check=False
    )


def test_predict_command_writes_the_file(tmp_path: Path) -> None:
    write_weights(STATES, tmp_path / "cache")
    (tmp_path / "small.png").write_bytes(picture(10, 7))
    target = tmp_path / "large.webp"
    arguments = [f"image=@{tmp_path / 'small.png'}", f"model={FASTEST}", "output_format=webp"]
    done = _predict(
        *(word for argument in arguments for word in ("-i", argument)), "-o", str(target),
        UPSCALING_CACHE=str(tmp_path / "cache"), UPSCALING_DEVICE="cpu",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, f"{target}\n"), done.stderr
    image = opened(target.read_bytes())
    assert (image.format, image.size) == ("WEBP", (40, 28))
    assert "output_width 40" in done.stderr


def test_predict_command_fails_with_the_coded_error(elsewhere: Site, tmp_path: Path) -> None:
    failed = {"status": "failed", "error": "Prediction failed: Prediction failed: UpscalingError: E_DECODE: damaged."}
    elsewhere.answer("/predictions", Answer(json.dumps(failed).encode()))
    (tmp_path / "broken.png").write_bytes(b"")
    done = _predict("-i", f"image=@{tmp_path / 'broken.png'}", "--url", elsewhere.url)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "E_DECODE: damaged.\n")


def test_server_gets_the_environment_and_leaves_nothing_running(tmp_path: Path) -> None:
    model = make_model(tmp_path, ECHO.format(setup="pass"))
    with server.running(model, environment={"WORD": "said"}, root=tmp_path) as running:
        assert predict.predict(running.url, {"name": "WORD"})["output"] == "said"
        temporary = Path(predict.predict(running.url, {"name": "TMPDIR"})["output"])
        assert temporary.is_dir()
    assert running.process.poll() is not None
    assert server.health(running.url) == {}
    assert not temporary.exists()
    until(lambda: not _has_processes(running.process.pid))


def _has_processes(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize(
    ("code", "told"),
    [
        (
            ECHO.format(setup='raise RuntimeError("no such thing")'),
            r'run\.py", line \d+, in setup\n.*\n.*no such thing',
        ),
        ("import nonesuch", "No module named 'nonesuch'"),
        ("class Runner(", "SyntaxError"),
    ],
    ids=["setup", "import", "syntax"],
)
def test_server_that_cannot_become_ready_says_why(tmp_path: Path, code: str, told: str) -> None:
    model = make_model(tmp_path, code)
    with pytest.raises(server.ServerError, match=told), server.running(model, root=tmp_path):
        pass


def test_taken_port_is_told(tmp_path: Path, elsewhere: Site) -> None:
    model = make_model(tmp_path, ECHO.format(setup="pass"))
    with (
        pytest.raises(server.ServerError, match=f"port {elsewhere.port} is in use"),
        server.running(model, port=elsewhere.port, root=tmp_path),
    ):
        pass


def test_cog_yaml_without_a_runner_is_told(tmp_path: Path) -> None:
    model = make_model(tmp_path, "")
    (tmp_path / "models" / model / "cog.yaml").write_text("build: {}\n")
    with pytest.raises(server.ServerError, match="has no line `run:`"), server.running(model, root=tmp_path):
        pass


def test_demo_shows_both_pictures_side_by_side(tmp_path: Path) -> None:
    (tmp_path / "before.png").write_bytes(picture(10, 7))
    (tmp_path / "after.png").write_bytes(picture(40, 28))
    demo.before_and_after(tmp_path / "before.png", tmp_path / "after.png", tmp_path / "both.png")
    assert opened((tmp_path / "both.png").read_bytes()).size == (40 + 8 + 40, 28)


@pytest.mark.parametrize(
    ("arguments", "program"),
    [
        (["MODEL=real-esrgan"], "bench.py real-esrgan"),
        (["MODEL=real-esrgan", "PART=tiles"], "tiles.py real-esrgan"),
        (["MODEL=ultimate-sd-upscale"], "tiled_redraw.py ultimate-sd-upscale"),
        (["MODEL=ultimate-sd-upscale", "PART=diffusion"], "diffusion.py ultimate-sd-upscale"),
        (["MODEL=controlnet-tile"], "redraw.py controlnet-tile"),
    ],
)
def test_every_model_has_a_benchmark_of_its_own(arguments: list[str], program: str) -> None:
    command = ["make", "--dry-run", "bench", *arguments]
    done = subprocess.run(command, cwd=server.ROOT, capture_output=True, text=True, timeout=60, check=True)
    assert f"benchmarks/{program}" in done.stdout


def test_tiny_weights_do_not_pass_for_true_ones(tmp_path: Path) -> None:
    (tmp_path / "weights" / "a").mkdir(parents=True)
    (tmp_path / "weights" / "a" / "manifest.json").write_text('{"source": "tiny"}')
    (tmp_path / "real-esrgan").touch()  # the environment is up to date
    command = ["make", "--silent", "weights", f"FOLDER={tmp_path}", f"VENV={tmp_path}"]
    command += [f"--old-file={tmp_path}/real-esrgan"]
    done = subprocess.run(command, cwd=server.ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "holds the tiny weights" in done.stderr
