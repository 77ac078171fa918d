# ruff: noqa: INP001 - a script, not a package
"""Check all locked packages for known vulnerabilities: ``make audit``.

``audit.py REQUIREMENTS [OPTION OF PIP-AUDIT]…``. Exit status 0: no known vulnerability; 1: known vulnerabilities, which
are listed; 3: unknown, because no service answered for all packages (where pip-audit itself ends with 0).
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
"""Function of service and requirements; returns the dependencies of pip-audit's JSON, None if the service fails."""


@dataclass
class AuditResult:
    """Result of an audit."""

    audited: int = 0
    vulnerable: list[str] = field(default_factory=list)
    """One line per vulnerability."""
    unknown: list[str] = field(default_factory=list)
    """Packages that no service knows."""

    @property
    def exit_status(self) -> int:
        """Exit status of the command."""
        if self.vulnerable:
            return VULNERABLE
        return UNANSWERED if self.unknown or not self.audited else 0

    def text(self) -> str:
        """Return the result as text."""
        if self.vulnerable:
            return "\n".join(["known vulnerabilities:", *self.vulnerable])
        if not self.audited:
            return "no vulnerability service answers: known vulnerabilities of the locked packages can't be checked"
        if self.unknown:
            return f"{self.audited} packages have no known vulnerability; unknown to the service: {self.unknown}"
        return f"{self.audited} packages, no known vulnerability"


def audit(requirements: str, ask: Ask) -> AuditResult:
    """Query the services in order until one knows the packages; each is first queried for one package only."""
    packages = _packages(requirements)
    first = next(package for package in packages if ";" not in package)  # one that is installed on every platform
    for service in SERVICES:
        if not any("skip_reason" not in dependency for dependency in ask(service, first) or []):
            continue
        result = AuditResult()
        for dependency in ask(service, requirements) or []:
            if "skip_reason" in dependency:
                result.unknown.append(dependency["name"])
                continue
            result.audited += 1
            package = f"{dependency['name']} {dependency['version']}"
            for vulnerability in dependency["vulns"]:
                fixed = ", ".join(vulnerability["fix_versions"]) or "no version"
                result.vulnerable.append(f"  {package}: {vulnerability['id']}, fixed in {fixed}")
        if result.audited:
            return result
    return AuditResult(unknown=[_name(package) for package in packages])


def _packages(requirements: str) -> list[str]:
    """Return each requirement with its hashes."""
    lines = [line for line in requirements.splitlines() if line and not line.lstrip().startswith("#")]
    starts = [index for index, line in enumerate(lines) if not line.startswith(" ")]
    return ["\n".join(lines[a:b]) + "\n" for a, b in zip(starts, [*starts[1:], len(lines)], strict=True)]


def _name(package: str) -> str:
    return package.split("==", 1)[0]


def ask_pip_audit(options: Sequence[str]) -> Ask:
    """Return a function that queries a service through pip-audit."""

    def ask(service: str, requirements: str) -> list[dict[str, Any]] | None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write(requirements)
            file.flush()
            command = [
                Path(sys.executable).with_name("pip-audit"), "--vulnerability-service", service,
                "--requirement", file.name, "--require-hashes", "--disable-pip",
                "--format", "json", "--progress-spinner", "off", *options,
            ]  # fmt: skip
            process = subprocess.run(command, check=False, capture_output=True, text=True, timeout=600)
        try:
            dependencies: list[dict[str, Any]] = json.loads(process.stdout)["dependencies"]
        except ValueError:
            reason = (process.stderr.strip().splitlines() or ["no error message"])[-1]
            print(f"query to {service} failed: {reason[:300]}", file=sys.stderr)
            return None
        return dependencies

    return ask


if __name__ == "__main__":
    outcome = audit(Path(sys.argv[1]).read_text(encoding="utf-8"), ask_pip_audit(sys.argv[2:]))
    print(outcome.text())
    sys.exit(outcome.exit_status)
