"""What the README tells people to type is taken by the binary."""

from __future__ import annotations

import re
import subprocess

from support.gateway import BINARY, ROOT, clean_env


def test_its_configuration_has_no_problem(tmp_path):
    readme = (ROOT / "README.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", readme, re.S)
    subprocess.run([BINARY, "certs", "--out", tmp_path / "certs"], check=True, timeout=30)
    folder = tmp_path / "static"
    folder.mkdir()
    assert "/var/www/static/" in text
    # `check` looks for the servers' commands, and not every machine has this one.
    program = tmp_path / "bin/uvx"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / "ringway.toml"
    path.write_text(text.replace("/var/www/static/", f"{folder}/"))
    done = subprocess.run(
        [BINARY, "check", "--config", path],
        env=clean_env({"GITHUB_TOKEN": "x", "PATH": f"{program.parent}:/usr/bin:/bin"}),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stdout + done.stderr
