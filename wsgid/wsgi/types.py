"""The types of PEP 3333."""

from collections.abc import Callable
from typing import Any

Application = Callable[..., Any]  # takes environ and start_response, returns an iterable of bytes
