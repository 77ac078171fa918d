"""`make secrets`: a value for every secret of .env that has none, and no other change."""

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
    """A folder with the example."""
    shutil.copy(EXAMPLE, tmp_path)
    return tmp_path


def make(folder: Path) -> str:
    """Run it and return what it said."""
    done = subprocess.run(
        ["sh", ROOT / "deploy" / "secrets.sh", folder], capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout


def values(path: Path) -> dict[str, str]:
    """Return the variables that are set in a file."""
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", path.read_text(), re.MULTILINE))


def test_every_secret_is_made(folder):
    """From the example alone comes a file with another secret for each name, for its owner's eyes only."""
    said = make(folder)
    made = values(folder / ".env")
    names = [name for name, value in values(EXAMPLE).items() if not value]
    assert len(names) > 15
    assert len({made[name] for name in names}) == len(names)
    assert [name for name in names if weakness(made[name]) is not None] == []
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    assert all(name in said and made[name] not in said for name in names)
    assert len(base64.urlsafe_b64decode(made["AIRFLOW_FERNET_KEY"])) == 32
    assert sorted(path.name for path in folder.iterdir()) == [".env", ".env.example"]


def test_what_is_there_stays(folder):
    """A .env of one's own keeps its secrets, its settings and their places; what is new to it comes at its end."""
    (folder / ".env").write_text(
        "# mine\nPGHOST=db.example.net\nPGPASSWORD=my own, with $signs\nMQTT_ACCESS_PASSWORD=\n#end\n"
    )
    (folder / ".env").chmod(0o644)
    make(folder)
    lines = (folder / ".env").read_text().splitlines()
    assert lines[:3] == ["# mine", "PGHOST=db.example.net", "PGPASSWORD=my own, with $signs"]
    assert re.fullmatch("MQTT_ACCESS_PASSWORD=[0-9a-f]{48}", lines[3])
    assert lines[4] == "#end"
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    before = (folder / ".env").read_bytes()
    assert "none was changed" in make(folder)
    assert (folder / ".env").read_bytes() == before
