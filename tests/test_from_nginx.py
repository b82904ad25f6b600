"""docs/FROM-NGINX.md keeps its word: each row is whole, and each test it names exists."""

from __future__ import annotations

import re
from functools import cache

from support.gateway import ROOT

PAGE = ROOT / "docs/FROM-NGINX.md"
# Directives of the set-up that is replaced, each of which needs a row.
NGINX = """
user worker_processes worker_rlimit_nofile error_log pid worker_connections use multi_accept include
default_type log_format access_log sendfile tcp_nopush tcp_nodelay keepalive_timeout
keepalive_requests reset_timedout_connection client_body_timeout client_header_timeout send_timeout
gzip gzip_vary gzip_proxied gzip_comp_level gzip_types gzip_min_length gzip_disable brotli
brotli_comp_level brotli_types client_body_buffer_size client_max_body_size
client_header_buffer_size large_client_header_buffers output_buffers postpone_output
proxy_cache_path limit_req_zone upstream least_conn server keepalive listen server_name
ssl_certificate ssl_certificate_key ssl_protocols ssl_ciphers ssl_prefer_server_ciphers
ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_stapling ssl_stapling_verify
add_header location limit_req proxy_pass proxy_http_version proxy_set_header proxy_connect_timeout
proxy_send_timeout proxy_read_timeout proxy_buffering proxy_buffer_size proxy_buffers
proxy_busy_buffers_size proxy_cache allow deny alias expires gzip_static return
""".split()
GUNICORN = """
bind backlog workers worker_class worker_connections max_requests max_requests_jitter timeout
keepalive graceful_timeout reload accesslog errorlog loglevel access_log_format proc_name daemon
pidfile worker_tmp_dir user group tmp_upload_dir KEY_FILE CERT_FILE SSL STATSD_HOST statsd_prefix
preload_app threads pre_fork post_fork worker_int pre_exec
""".split()


def rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text().splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return [row for row in cells if row[0] not in ("directive", "setting", "line", "part")]


@cache
def names(path: str) -> set[str]:
    """The tests of a file."""
    file = ROOT / path
    assert file.is_file(), f"{path} does not exist"
    text = file.read_text()
    kind = {"py": r"def (test_\w+)", "rs": r"#\[test\]\s+fn (\w+)", "mjs": r"test\(['\"](.+?)['\"]"}
    return set(re.findall(kind[file.suffix[1:]], text))


def test_each_row_is_whole():
    assert len(rows()) > 80
    for line in PAGE.read_text().splitlines():
        if line.startswith("|"):
            assert line.replace("\\|", "").count("|") == 5, line


def test_each_named_test_exists():
    missing, named = [], 0
    for row in rows():
        cell = row[-1]
        tests = re.findall(r"`([\w./-]+)::([^`]+)`", cell)
        named += len(tests)
        missing += [f"{path}::{name}" for path, name in tests if name not in names(path)]
        is_plain = cell == "–" or re.fullmatch(r"\*not yet\*: issue \d", cell)
        assert tests or is_plain, f"{row[0]}: `file::name`, *not yet*: issue N, or –: {cell}"
    assert not missing, missing
    assert named > 30


def test_each_directive_has_a_row():
    page = PAGE.read_text().partition("## gunicorn.conf.py")
    first = " ".join(row[0] for row in rows())
    words = set(re.findall(r"\w+", first))
    assert page[1], "the part of Gunicorn"
    assert not [name for name in NGINX if name not in words]
    assert not [name for name in GUNICORN if name not in words]
