"""Which imports came before gevent's patches, by the order of sys.modules."""

import pytest

from wsgid.application.early_imports import too_early

USUAL = ["sys", "builtins", "__main__", "os", "re", "_distutils_hack", "site", "typing"]
OURS = ["wsgid.compiled", "wsgid", "gevent", "threading", "socket", "ssl", "shop"]


@pytest.mark.parametrize(
    ("early", "named"),
    [
        ([], []),
        (["sitecustomize", "json"], []),
        (["sitecustomize", "threading"], ["threading"]),
        (["coverage", "coverage.control", "threading", "socket"], []),
        (["sitecustomize", "ddtrace.auto", "ddtrace", "ssl", "urllib3"], ["ddtrace", "urllib3", "ssl"]),
        (["coverage", "threading", "newrelic"], ["newrelic", "threading"]),
        (["harmless_tool"], []),
    ],
)
def test_what_comes_before_wsgid_and_uses_what_gevent_patches_is_named(early: list[str], named: list[str]) -> None:
    assert too_early(dict.fromkeys([*USUAL, *early, *OURS])) == named
