"""What the app runs on: each file by its hash, each under a licence that is said."""

import json
import re
from importlib.metadata import distribution

from engine.__main__ import main
from engine.runtime import licences
from engine.runtime.paths import ROOT
from tests.supply import audit

LOCK = (ROOT / "requirements.lock").read_text("utf-8")
PINNED = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", LOCK, re.M))
NAMED = dict(
    line.partition(";")[0].split("==")
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
)


def test_what_is_named_is_locked_at_its_version_and_torch_is_not():
    """torch is another build on each machine: its line stays, and its hash can't be one."""
    locked = {name: PINNED.get(name.replace("_", "-")) for name in NAMED if name != "torch"}
    assert locked == {name: version for name, version in NAMED.items() if name != "torch"}
    assert not [name for name in PINNED if re.match("torch|triton|nvidia-|cuda-", name)]


def test_every_line_of_the_lock_has_its_hashes():
    parts = re.split(r"^(?=[a-z])", LOCK, flags=re.M)[1:]
    assert len(parts) >= len(PINNED) > len(NAMED)
    assert all(re.search(r"--hash=sha256:[0-9a-f]{64}\b", part) for part in parts)


def test_the_container_installs_by_hash():
    said = (ROOT / "Dockerfile").read_text("utf-8")
    assert "--require-hashes --no-deps -r requirements.lock" in said
    assert said.index("requirements.lock\n") < said.index("-r requirements.txt")


def test_every_licence_is_said(capsys):
    assert main(["licences"]) == 0
    lines = capsys.readouterr().out.splitlines()
    said = {line.split()[0].lower(): line for line in lines}
    assert {"torch", "streamlit", "sympy"} <= said.keys() and len(lines) > len(NAMED)
    assert not [line for line in lines if line.endswith("not said")]
    assert licences.licence(distribution("starlette")) == "BSD-3-Clause"


def test_an_audit_tells_faults_from_silence():
    found = {
        "dependencies": [
            {"name": "a", "version": "1", "vulns": []},
            {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]},
            {"name": "c", "skip_reason": "not found"},
        ]
    }
    assert audit.read(json.dumps(found)) == (["b 2: PYSEC-1, mended in 3"], 2)
    assert audit.read(json.dumps({"dependencies": found["dependencies"][2:]})) == ([], 0)
