from __future__ import annotations

import multiprocessing
from collections.abc import Iterator

import pytest
from loopback import Answer, Site, site

from upscaling.serving.egress import is_global

# Hooks cannot be taken out again, so these run in a process of their own. All are forked from one, which imports once.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["requests", "upscaling.serving.egress", "upscaling.weights.fetch"])
SCRIPT = """
import os, socket, threading, warnings
import requests
from upscaling.serving import egress
from upscaling.errors import Code, UpscalingError
from upscaling.weights.trusted import trusted

warnings.simplefilter("error")
os.environ.update(environment)
egress.refuse_private_addresses()
port = int(url.rpartition(":")[2])

def refused(connect):
    try:
        connect()
    except UpscalingError as error:
        assert error.code is Code.INPUT, error
        return str(error)
    return ""

def get(path="/x"):
    return requests.get(url + path, timeout=20)
"""


@pytest.fixture
def inside() -> Iterator[Site]:
    with site() as running:
        running.answer("/x", Answer(b"secret"))
        yield running


def run(script: str, url: str, **environment: str) -> None:
    given = {"url": url, "environment": {"NO_PROXY": "*", **environment}}
    process = PROCESSES.Process(target=exec, args=(SCRIPT + script, given))
    process.start()
    try:
        process.join(timeout=100)
        assert process.exitcode == 0, "its traceback is on standard error"
    finally:
        process.kill()


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_addresses_of_the_public_internet_are_global(address: str) -> None:
    assert is_global(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",  # carriers' own
        "169.254.169.254",  # clouds' metadata
        "172.16.0.1",
        "192.168.1.1",
        "192.0.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "fd00:ec2::254",  # metadata too
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001::1",  # Teredo
        "2001:db8::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "::ffff:0:127.0.0.1",
        "64:ff9b::7f00:1",  # NAT64
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::a00:1",  # NAT64 of a network's own
        "2002:7f00:1::",  # 6to4
        "2002:a9fe:a9fe::1",
    ],
)
def test_addresses_inside_are_not_global(address: str) -> None:
    assert not is_global(address)


@pytest.mark.parametrize("name", ["example.com", "localhost", "0x7f.1", "127.1", "2130706433", "", "8.8.8.8 "])
def test_names_are_not_global_since_they_could_become_any_address(name: str) -> None:
    assert not is_global(name)


def test_private_connections_are_refused_for_every_function(inside: Site) -> None:
    run(
        """
assert refused(get) == (
    "E_INPUT: the URL leads to 127.0.0.1, which is not a public address; send the picture itself,"
    " or set UPSCALING_PRIVATE_URLS=1 if all clients are trusted."
)
assert refused(lambda: socket.create_connection(("127.0.0.1", port), timeout=20))
assert refused(lambda: socket.create_connection(("localhost", port), timeout=20))
with socket.socket() as connecting:
    assert refused(lambda: connecting.connect(("127.0.0.1", port)))
    assert refused(lambda: connecting.connect_ex(("127.0.0.1", port)))
    assert refused(lambda: connecting.connect(("localhost", port)))
with socket.socket(socket.AF_INET6) as connecting:
    assert refused(lambda: connecting.connect(("::1", port)))
    assert refused(lambda: connecting.connect(("::ffff:127.0.0.1", port)))
with socket.socket(type=socket.SOCK_DGRAM) as connecting:
    assert refused(lambda: connecting.connect(("127.0.0.1", 53)))
""",
        inside.url,
    )
    assert inside.paths == []


def test_redirects_from_outside_to_inside_are_refused(inside: Site) -> None:
    # Nothing outside can be reached from a test, so the first connection counts as one.
    outside = inside.answer("/moved", Answer(status=302, headers={"Location": f"{inside.url}/x"}))
    run(
        f"""
seen, checked = [], egress.is_global

def first_or_global(host):
    seen.append(host)
    return len(seen) == 1 or checked(host)

egress.is_global = first_or_global
assert "the URL leads to 127.0.0.1" in refused(lambda: requests.get({outside!r}, timeout=20))
assert len(seen) == 2
""",
        inside.url,
    )
    assert inside.paths == ["/moved"]


def test_local_sockets_of_other_kinds_stay_open(inside: Site) -> None:
    run(
        """
import tempfile
from pathlib import Path
unix = socket.AF_UNIX
with tempfile.TemporaryDirectory() as folder, socket.socket(unix) as server, socket.socket(unix) as client:
    server.bind(str(Path(folder) / "s"))
    server.listen()
    client.connect(str(Path(folder) / "s"))
    client.sendall(b"x")
    peer = server.accept()[0]
    assert peer.recv(1) == b"x"
    peer.close()
""",
        inside.url,
    )


def test_trust_opens_addresses_for_its_thread_and_its_call_only(inside: Site) -> None:
    run(
        """
def both():
    elsewhere = []
    thread = threading.Thread(target=lambda: elsewhere.append(refused(get)))
    thread.start()
    thread.join(timeout=20)
    assert elsewhere[0]
    return get()

def fail():
    raise KeyError

assert trusted(both).content == b"secret"
try:
    trusted(fail)
except KeyError:
    pass
assert refused(get)
""",
        inside.url,
    )
    assert inside.paths == ["/x"]


def test_a_private_mirror_is_allowed_but_private_urls_of_clients_are_not(inside: Site) -> None:
    inside.answer("/tiny/x", Answer(b"secret"))
    run(
        """
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from upscaling.weights import Entry, File
from upscaling.weights.fetch import fetch
entry = Entry("tiny", "none", "none", (), (File("x", None, sha256(b"other").hexdigest()),))
try:
    fetch(entry, Path(mkdtemp()))
except UpscalingError as error:
    assert error.code is Code.WEIGHTS
    assert "the checksum of the download differs" in str(error), error
assert refused(get)
""",
        inside.url,
        UPSCALING_WEIGHTS_MIRROR=inside.url,
    )
    assert inside.paths == ["/tiny/x"]


@pytest.mark.parametrize(("value", "is_open"), [("1", True), ("0", False), ("true", False), ("", False)])
def test_only_the_value_1_allows_private_addresses(inside: Site, value: str, is_open: bool) -> None:
    run(f"assert bool(refused(get)) is {not is_open}", inside.url, UPSCALING_PRIVATE_URLS=value)
    assert inside.paths == (["/x"] if is_open else [])
