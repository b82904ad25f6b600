"""What sslyze makes of the seed's TLS: versions, suites, curves, known weaknesses, chains, staples, and Mozilla's
"intermediate" profile. It scans with an OpenSSL of its own, old versions and suites too."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import pytest
from support.edge import Authority, Edge, connect, context, exchange
from support.ocsp import Responder

SSLYZE = Path(__file__).parent / ".env/tls/bin/python"
RESUMPTIONS = 20
CONFIG = """
[server]
shards = 2
[headers]
Strict-Transport-Security = "max-age=31536000; includeSubDomains"
[[listener]]
address = "127.0.0.1:{port}"
[listener.tls]
cert = "server.pem"
key = "server.key"
certificates = [{ cert = "rsa.pem", key = "rsa.key" }]
ciphers = ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-AES128-GCM-SHA256"]
stapling_file = "answer.der"
"""
SCANS = """certinfo sslv2 sslv3 tlsv1 tlsv1_1 tlsv1_2 tlsv1_3 compression early_data openssl_ccs fallback heartbleed
robot reneg resum ems elliptic_curves http_headers""".split()


class Scan:
    """sslyze's findings, and how many sessions the server says were resumed meanwhile."""

    def __init__(self, folder: Path):
        authority = Authority(folder)
        cert, _ = authority.issue()
        authority.issue(file="rsa", kind="rsa")
        Responder(folder, authority, cert).answer(folder, cert, authority)
        running = Edge(folder, CONFIG)
        try:
            before = resumed(running, authority)
            self.found, self.said, self.code = scan(folder, running.port, authority)
            self.resumed = resumed(running, authority) - before
        finally:
            running.stop()

    def __getitem__(self, name: str) -> dict:
        result = self.found[name]
        assert result["status"] == "COMPLETED", result
        return result["result"]

    def suites(self, version: str) -> set[str]:
        accepted = self[f"{version}_cipher_suites"]["accepted_cipher_suites"]
        return {one["cipher_suite"]["name"] for one in accepted}


def scan(folder: Path, port: int, authority) -> tuple[dict, str, int]:
    assert SSLYZE.exists(), "make deps"
    out = folder / "sslyze.json"
    words = [SSLYZE, "-W", "ignore", "-m", "sslyze", "--json_out", out, "--mozilla_config", "intermediate", "--sni"]
    words += ["localhost", "--certinfo_ca_file", authority.path, "--resum_attempts", str(RESUMPTIONS)]
    words += [*(f"--{name}" for name in SCANS), f"127.0.0.1:{port}"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=100, check=False)
    assert out.exists(), done.stdout + done.stderr
    results = json.loads(out.read_text())["server_scan_results"]
    assert len(results) == 1 and results[0]["connectivity_status"] == "COMPLETED", done.stdout
    return results[0]["scan_result"], done.stdout + done.stderr, done.returncode


def resumed(running, authority) -> float:
    with connect(running.port, context(authority.path)) as stream:
        text = exchange(stream, path="/metrics").decode()
    lines = re.findall(r'^ringway_tls_handshakes_total\{.*result="resumed".*\} (\S+)', text, re.M)
    return sum(map(float, lines))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory) -> Scan:
    return Scan(tmp_path_factory.mktemp("sslyze"))


def test_only_tls_1_2_and_1_3_with_the_seeds_suites(scanned):
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert scanned.suites(version) == set(), version
    assert scanned.suites("tls_1_2") == {
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    }
    assert scanned.suites("tls_1_3") == {
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    }
    curves = {one["name"] for one in scanned["elliptic_curves"]["supported_curves"]}
    assert curves == {"X25519", "secp256r1", "secp384r1"}


def test_no_known_weakness(scanned):
    assert not scanned["tls_compression"]["supports_compression"]
    assert not scanned["tls_1_3_early_data"]["supports_early_data"]
    assert not scanned["openssl_ccs_injection"]["is_vulnerable_to_ccs_injection"]
    assert not scanned["heartbleed"]["is_vulnerable_to_heartbleed"]
    assert scanned["robot"]["robot_result"] == "NOT_VULNERABLE_RSA_NOT_SUPPORTED"
    assert scanned["tls_fallback_scsv"]["supports_fallback_scsv"]
    assert scanned["tls_extended_master_secret"]["supports_ems_extension"]
    renegotiation = scanned["session_renegotiation"]
    assert renegotiation["supports_secure_renegotiation"]
    assert not renegotiation["is_vulnerable_to_client_renegotiation_dos"]
    assert renegotiation["client_renegotiations_success_count"] == 0


def test_tickets_resume_on_every_shard(scanned):
    result = scanned["session_resumption"]
    assert result["tls_ticket_attempted_resumptions_count"] == RESUMPTIONS
    # sslyze believes in a resumption only if the ticket stays the same. Here each handshake brings a new one (RFC 5077
    # §3.3), so the server's count tells.
    assert scanned.resumed >= RESUMPTIONS
    # There is no table of sessions: only tickets resume.
    assert result["session_id_successful_resumptions_count"] == 0


def test_chains_of_both_kinds_and_the_staple(scanned):
    deployments = scanned["certificate_info"]["certificate_deployments"]
    kinds = {}
    for one in deployments:
        leaf = one["received_certificate_chain"][0]["public_key"]["algorithm"]
        trusted = [result for result in one["path_validation_results"] if result["was_validation_successful"]]
        assert len(trusted) == 1, "the authority's file, and nobody else's"
        assert one["received_chain_has_valid_order"] and len(one["received_certificate_chain"]) == 2
        assert not one["verified_chain_has_sha1_signature"]
        kinds[leaf] = one
    assert len(kinds) == 2, kinds.keys()
    stapled = [one["ocsp_response"] for one in deployments if one["ocsp_response"]]
    assert stapled and all(one["certificate_status"] == "GOOD" for one in stapled)


def test_the_sites_own_header_is_sent(scanned):
    header = scanned["http_headers"]["strict_transport_security_header"]
    assert header == {"max_age": 31536000, "include_subdomains": True, "preload": False}


def test_mozillas_intermediate_profile(scanned):
    assert "OK - Compliant" in scanned.said, scanned.said[-2000:]
    assert scanned.code == 0
