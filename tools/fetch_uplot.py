"""Fetch uPlot, the chart library of the dashboard, again: `python -m tools.fetch_uplot [VERSION]` needs npm.

Rules
* The package comes from the registry that npm is configured for. Its checksum is compared with the known one, so the
  same version is the same files everywhere. A new version prints its checksum: put it into CHECKSUM.
* Only the minified script, the style sheet and the license are kept, unchanged.
"""

import hashlib
import io
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

VERSION = "1.6.32"
CHECKSUM = "4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d"  # SHA-256 of the package
TARGET = Path(__file__).parent.parent / "wsgid" / "ctl" / "dashboard" / "static" / "uplot"
KEPT = ("dist/uPlot.iife.min.js", "dist/uPlot.min.css", "LICENSE")


def main() -> int:
    version = sys.argv[1] if len(sys.argv) > 1 else VERSION
    archive = _packed(version)
    found = hashlib.sha256(archive).hexdigest()
    if found != CHECKSUM:
        print(f"uplot {version} has the checksum {found}, and not {CHECKSUM}", file=sys.stderr)
        if version == VERSION:
            return 1
    _unpack(archive)
    print(f"uplot {version} is in {TARGET}")
    return 0


def _packed(version: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        subprocess.run(["npm", "pack", "--silent", f"uplot@{version}"], cwd=directory, check=True, stdout=sys.stderr)
        [path] = Path(directory).glob("*.tgz")
        return path.read_bytes()


def _unpack(archive: bytes) -> None:
    TARGET.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(archive)) as package:
        for name in KEPT:
            member = package.extractfile(f"package/{name}")
            assert member, name
            (TARGET / Path(name).name).write_bytes(member.read())


if __name__ == "__main__":
    sys.exit(main())
