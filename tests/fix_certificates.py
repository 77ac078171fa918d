"""Certificates for tests: an authority and certificates signed by it."""

import subprocess
from pathlib import Path


def openssl(*arguments: str | Path) -> None:
    """Run openssl without output."""
    subprocess.run(["openssl", *arguments], check=True, capture_output=True, timeout=60)


def make_authority(directory: Path, name: str) -> Path:
    """Create a certificate authority; return its certificate (its key has the same name with .key)."""
    certificate = directory / f"{name}.pem"
    openssl(
        "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
        "-subj", f"/CN={name}", "-keyout", directory / f"{name}.key", "-out", certificate,
    )  # fmt: skip
    return certificate


def make_certificate(directory: Path, authority: Path, host: str) -> Path:
    """Create a certificate for ``host`` signed by ``authority``; return it (its key has the same name with .key)."""
    request, certificate = directory / "server.csr", directory / "server.pem"
    extensions = directory / "server.ext"
    extensions.write_text(f"subjectAltName=IP:{host}\n")
    openssl(
        "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={host}",
        "-keyout", directory / "server.key", "-out", request,
    )  # fmt: skip
    openssl(
        "x509", "-req", "-in", request, "-CA", authority, "-CAkey", authority.with_suffix(".key"),
        "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", certificate,
    )  # fmt: skip
    return certificate
