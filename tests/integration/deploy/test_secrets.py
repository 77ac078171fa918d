"""`make secrets`: generates a value for every empty secret in .env and changes nothing else."""

import base64
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from timescale.weak_secrets import weakness

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / ".env.example"


@pytest.fixture
def folder(tmp_path):
    """A folder with .env.example."""
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path


def make_secrets(folder: Path) -> str:
    """Run secrets.sh and return its output."""
    process = subprocess.run(
        ["sh", ROOT / "deploy" / "secrets.sh", folder], capture_output=True, text=True, check=True, timeout=60
    )
    return process.stdout


def values(path: Path) -> dict[str, str]:
    """Return the variables in a file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def test_every_secret_is_generated(folder):
    """From .env.example a .env with mode 0600 and a different secret for each name is created."""
    output = make_secrets(folder)
    generated = values(folder / ".env")
    names = [name for name, value in values(EXAMPLE).items() if not value]
    assert len(names) > 15
    assert len({generated[name] for name in names}) == len(names)
    assert [name for name in names if weakness(generated[name]) is not None] == []
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert all(name in output and generated[name] not in output for name in names)
    assert len(base64.urlsafe_b64decode(generated["AIRFLOW_FERNET_KEY"])) == 32
    assert sorted(path.name for path in folder.iterdir()) == [".env", ".env.example"]


def test_existing_values_are_kept(folder):
    """An existing .env keeps its secrets, settings and order; missing secrets are appended."""
    (folder / ".env").write_text(
        "# mine\nPGHOST=db.example.net\nPGPASSWORD=my own, with $signs\nMQTT_ACCESS_PASSWORD=\n#end\n"
    )
    (folder / ".env").chmod(0o644)
    make_secrets(folder)
    lines = (folder / ".env").read_text().splitlines()
    assert lines[:3] == ["# mine", "PGHOST=db.example.net", "PGPASSWORD=my own, with $signs"]
    assert re.fullmatch("MQTT_ACCESS_PASSWORD=[0-9a-f]{48}", lines[3])
    assert lines[4] == "#end"
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    before = (folder / ".env").read_bytes()
    assert "none was changed" in make_secrets(folder)
    assert (folder / ".env").read_bytes() == before
