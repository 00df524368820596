"""What several tests use: real servers, clients, and other users of the machine."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the root of the checkout
DOCS = ROOT / "docs"
