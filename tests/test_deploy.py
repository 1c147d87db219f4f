"""The manifests of deploy/ name what exists, fit each other, and grant no more than they need."""

from __future__ import annotations

import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from urllib.parse import urlsplit

import manifests
import pytest
import yaml
from local_server import ROOT
from loopback import Answer, Site, site
from manifests import FOLDER, HAPROXY, Manifest, containers, named, of_kind, probe_fails, templates

from upscaling.images import Limits

OPERATING = (ROOT / "docs" / "operating.md").read_text()
STATUSES = re.findall(r"^\| `([A-Z_]+)` \|", OPERATING[OPERATING.index("## Health checks") :], re.MULTILINE)
PINNED = re.compile(r"docker\.io/library/haproxy:\d+\.\d+\.\d+-alpine")
KUSTOMIZED = sorted(FOLDER.glob("*/kustomization.yaml"))
INSIDE = ["10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1"]
TEMPLATES = templates()
CONTAINERS = [pytest.param(container, id=f"{name} {container['name']}") for name, container in containers()]


def spec(template: Manifest) -> Manifest:
    return template["spec"]


def kustomizations() -> list[Manifest]:
    return [yaml.safe_load(path.read_text()) for path in KUSTOMIZED]


def test_every_file_is_applied() -> None:
    applied = {FOLDER / "namespace.yaml"}
    for path in KUSTOMIZED:
        applied |= {path, *(path.parent / name for name in yaml.safe_load(path.read_text())["resources"])}
    assert set(manifests.FILES) == applied
    assert {one["namespace"] for one in kustomizations()} == {named("Namespace", "upscaling")["metadata"]["name"]}


@pytest.mark.parametrize("container", CONTAINERS)
def test_images_are_those_of_releases_or_pinned(container: Manifest) -> None:
    models = {path.parent.name for path in ROOT.glob("models/*/cog.yaml")}
    renamed = {image["name"]: image for one in kustomizations() for image in one["images"]}
    assert PINNED.fullmatch(container["image"]) or container["image"] in renamed
    for name, image in renamed.items():
        model = name.removesuffix("-bulk")
        assert model in models
        assert image["newName"].endswith(f"/{name}")
        assert f"### {image['newTag']} " in changes(model)


def changes(model: str) -> str:
    return (ROOT / "CHANGELOG.md").read_text().partition(f"## {model}\n")[2].partition("\n## ")[0]


def environment(container: Manifest) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container.get("env", [])}


@pytest.mark.parametrize("container", CONTAINERS)
def test_variables_are_those_of_the_operators_page(container: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = {name: value for name, value in environment(container).items() if name.startswith("UPSCALING_")}
    assert [name for name in ours if f"| `{name}` |" not in OPERATING] == []
    for name, value in ours.items():
        monkeypatch.setenv(name, value)
    assert ours.get("UPSCALING_DEVICE", "cuda") == "cuda"
    Limits.from_environment()


def test_statuses_are_those_of_the_operators_page() -> None:
    assert len(STATUSES) == 6
    named = set(re.findall(r"\b(?:READY|BUSY|STARTING|[A-Z]+_FAILED|UNHEALTHY|DEFUNCT)\b", HAPROXY))
    assert named <= set(STATUSES)


@pytest.fixture(scope="module")
def server() -> Iterator[Site]:
    with site() as running:
        yield running


@pytest.mark.parametrize("status", STATUSES)
def test_probes_tell_the_status(status: str, server: Site) -> None:
    server.answer("/health-check", Answer(f'{{"status":"{status}","setup":{{"status":"succeeded"}}}}'.encode()))
    takes = status in ("READY", "BUSY")
    assert probe_fails("startup", server.port) is not takes
    assert probe_fails("readiness", server.port) is not takes
    # BUSY needs a connection too: tests/server/test_probes.py.
    assert probe_fails("liveness", server.port) is (status != "READY")
    expected = re.search(r'http-check expect rstring "(.+)"\n', HAPROXY)
    assert expected is not None
    assert bool(re.search(expected[1].replace('\\"', '"'), f'{{"status":"{status}"}}')) is takes


def test_probes_fail_without_a_server() -> None:
    with site() as gone:
        port = gone.port
    assert [kind for kind in ("startup", "readiness", "liveness") if not probe_fails(kind, port)] == []


@pytest.mark.parametrize("name", TEMPLATES)
def test_pods_have_no_rights(name: str) -> None:
    pod = spec(TEMPLATES[name])
    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "serviceAccountName"} & set(pod)


@pytest.mark.parametrize("container", CONTAINERS)
def test_containers_have_no_rights(container: Manifest) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


@pytest.mark.parametrize("container", CONTAINERS)
def test_memory_is_bounded_and_requested_whole(container: Manifest) -> None:
    asked, most = container["resources"]["requests"], container["resources"]["limits"]
    assert {"cpu", "memory"} <= set(asked)
    assert {name: asked[name] for name in most} == most


@pytest.mark.parametrize("name", TEMPLATES)
def test_volumes_are_bounded_and_of_the_pod(name: str) -> None:
    for volume in spec(TEMPLATES[name]).get("volumes", []):
        assert set(volume) <= {"name", "emptyDir", "configMap"}
        assert "sizeLimit" in volume.get("emptyDir", {"sizeLimit": ""})


def test_a_model_has_one_gpu_and_a_place_for_its_files() -> None:
    container = manifests.model_container()
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/var/run/cog"}


def seconds(setting: str) -> int:
    found = re.search(rf"^ +{setting} (\d+)s$", HAPROXY, re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_a_pod_has_the_time_to_finish_its_prediction() -> None:
    pod = spec(TEMPLATES["Deployment real-esrgan"])
    waits = manifests.model_container()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > waits + seconds("timeout server")
    proxy = spec(TEMPLATES["Deployment proxy"])
    assert proxy["terminationGracePeriodSeconds"] > seconds("hard-stop-after") > seconds("timeout server")


def pods(selector: dict[str, str]) -> list[str]:
    """The templates whose pods a selector of labels takes."""
    return [name for name, one in TEMPLATES.items() if selector.items() <= one["metadata"]["labels"].items()]


def ports(template: str) -> dict[str, int]:
    found = [port for container in spec(TEMPLATES[template])["containers"] for port in container.get("ports", [])]
    return {port["name"]: port["containerPort"] for port in found}


def test_services_lead_to_ports_of_their_pods() -> None:
    for service in of_kind("Service"):
        (template,) = pods(service["spec"]["selector"])
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= set(ports(template))
    for deployment in of_kind("Deployment"):
        assert pods(deployment["spec"]["selector"]["matchLabels"]) == [f"Deployment {deployment['metadata']['name']}"]


def test_the_proxy_listens_where_its_pod_says_and_finds_the_model() -> None:
    assert {int(port) for port in re.findall(r"bind :(\d+)", HAPROXY)} == set(ports("Deployment proxy").values())
    (template,) = re.findall(r"server-template \w+ 1-(\d+) (\S+):(\d+)", HAPROXY)
    most, host, port = template
    name, namespace, *_ = host.split(".")
    service = named("Service", name)
    assert service["spec"]["clusterIP"] == "None"
    assert [one["port"] for one in service["spec"]["ports"]] == [int(port)] == [manifests.PORT]
    assert namespace == "upscaling"
    assert named("ScaledObject", name)["spec"]["maxReplicaCount"] <= int(most)
    assert "maxconn 1 " in HAPROXY
    assert named("Deployment", "proxy")["spec"]["replicas"] == 1


def test_scaling_reads_a_metric_of_the_proxy() -> None:
    (scaled,) = of_kind("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] == "real-esrgan"
    assert "replicas" not in named("Deployment", "real-esrgan")["spec"]
    (trigger,) = scaled["spec"]["triggers"]
    url = urlsplit(trigger["metadata"]["url"])
    assert url.hostname is not None
    name, namespace, *_ = url.hostname.split(".")
    assert url.port in [port["port"] for port in named("Service", name)["spec"]["ports"]]
    assert (namespace, url.path) == ("upscaling", "/metrics")
    backend = re.fullmatch(r'haproxy_backend_current_sessions\{proxy="(\w+)"\}', trigger["metadata"]["valueLocation"])
    assert backend is not None
    assert f"\nbackend {backend[1]}\n" in HAPROXY


def policies(template: str) -> list[Manifest]:
    labels = TEMPLATES[template]["metadata"]["labels"]
    return [
        one["spec"]
        for one in of_kind("NetworkPolicy")
        if one["spec"]["podSelector"].get("matchLabels", {}).items() <= labels.items()
    ]


def test_nothing_is_allowed_but_by_a_policy() -> None:
    assert named("NetworkPolicy", "deny-all")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert [name for name in TEMPLATES if len(policies(name)) < 3] == []


def test_policies_name_ports_of_the_pods() -> None:
    for policy in of_kind("NetworkPolicy"):
        selected = pods(policy["spec"]["podSelector"].get("matchLabels", {}))
        there = {port for template in selected for port in ports(template).values()}
        for rule in policy["spec"].get("ingress", []):
            assert {port["port"] for port in rule.get("ports", [])} <= there


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize(
    "address",
    ["10.1.2.3", "172.20.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "127.0.0.1", "fd00::1", "fe80::1"],
)
def test_no_pod_reaches_addresses_inside(template: str, address: str) -> None:
    allowed = [
        to["ipBlock"]
        for policy in policies(template)
        for rule in policy.get("egress", [])
        for to in rule.get("to", [])
        if "ipBlock" in to
    ]
    for block in allowed:
        blocks = [block["cidr"], *block.get("except", [])]
        whole, *excepted = [ip_address(address) in ip_network(one) for one in blocks]
        assert not whole or any(excepted)


def test_only_the_model_reaches_the_internet_over_http() -> None:
    for policy in of_kind("NetworkPolicy"):
        for rule in policy["spec"].get("egress", []):
            assert rule["to"]
            if any("ipBlock" in to for to in rule["to"]):
                assert {port["port"] for port in rule["ports"]} <= {80, 443}


def test_commands_of_the_page_apply_what_is_there() -> None:
    paths = re.findall(r"kubectl apply -[fk] (\S+)", (FOLDER / "README.md").read_text())
    assert set(paths) == {"deploy/namespace.yaml", *(str(path.parent.relative_to(ROOT)) for path in KUSTOMIZED)}
