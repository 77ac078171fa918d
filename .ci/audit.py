# ruff: noqa: INP001 - a script, no package
"""Ask a vulnerability service about every locked package: ``make audit``.

``audit.py REQUIREMENTS [OPTION OF PIP-AUDIT]…`` ends with 0: none is known; 1: some are, they are listed; 3: no service
answered for all packages, so that nothing is known. pip-audit itself ends with 0 where a service knows no package.
"""

import json
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SERVICES = ("pypi", "osv")
VULNERABLE, UNANSWERED = 1, 3

Ask = Callable[[str, str], list[dict[str, Any]] | None]
"""Takes a service and requirements; returns what it says of each, as pip-audit's JSON has it. None: it isn't there."""


@dataclass
class Found:
    """What the services said."""

    audited: int = 0
    vulnerable: list[str] = field(default_factory=list)
    """One line a vulnerability."""
    unknown: list[str] = field(default_factory=list)
    """Packages of which no service said anything."""

    @property
    def exit_status(self) -> int:
        """What the command ends with."""
        if self.vulnerable:
            return VULNERABLE
        return UNANSWERED if self.unknown or not self.audited else 0

    def text(self) -> str:
        """Return it for people."""
        if self.vulnerable:
            return "\n".join(["known vulnerabilities:", *self.vulnerable])
        if not self.audited:
            return "no vulnerability service answers: whether the locked packages have known vulnerabilities is unknown"
        if self.unknown:
            return f"{self.audited} packages have no known vulnerability; of these nothing is known: {self.unknown}"
        return f"{self.audited} packages, no known vulnerability"


def audit(requirements: str, ask: Ask) -> Found:
    """Ask the services, one after the other, until one knows the packages; each is first asked about one of them."""
    packages = _packages(requirements)
    first = next(package for package in packages if ";" not in package)  # one that every machine has
    for service in SERVICES:
        if not any("skip_reason" not in one for one in ask(service, first) or []):
            continue
        found = Found()
        for one in ask(service, requirements) or []:
            if "skip_reason" in one:
                found.unknown.append(one["name"])
                continue
            found.audited += 1
            for known in one["vulns"]:
                mended = ", ".join(known["fix_versions"]) or "no version"
                found.vulnerable.append(f"  {one['name']} {one['version']}: {known['id']}, mended in {mended}")
        if found.audited:
            return found
    return Found(unknown=[_name(package) for package in packages])


def _packages(requirements: str) -> list[str]:
    """Return each requirement, its hashes included."""
    lines = [line for line in requirements.splitlines() if line and not line.lstrip().startswith("#")]
    starts = [place for place, line in enumerate(lines) if not line.startswith(" ")]
    return ["\n".join(lines[a:b]) + "\n" for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _name(package: str) -> str:
    return package.split("==", 1)[0]


def ask_pip_audit(options: Sequence[str]) -> Ask:
    """Return what asks through pip-audit, which is beside this Python."""

    def ask(service: str, requirements: str) -> list[dict[str, Any]] | None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(requirements)
            file.flush()
            command = [
                Path(sys.executable).with_name("pip-audit"), "--vulnerability-service", service,
                "--requirement", file.name, "--require-hashes", "--disable-pip",
                "--format", "json", "--progress-spinner", "off", *options,
            ]  # fmt: skip
            done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        try:
            said: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
        except ValueError:
            reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            print(f"{service} can't be asked: {reason[:300]}", file=sys.stderr)
            return None
        return said

    return ask


if __name__ == "__main__":
    result = audit(Path(sys.argv[1]).read_text(encoding="utf-8"), ask_pip_audit(sys.argv[2:]))
    print(result.text())
    sys.exit(result.exit_status)
