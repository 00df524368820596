"""Which of several applications gets a request. The rows were compared with uWSGI 2.0.31."""

from collections.abc import Iterable
from typing import Any

import pytest

from wsgid.wsgi.mounts import Mounts


def said_by(name: str) -> Any:
    def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        return [f"{name} {environ.get('SCRIPT_NAME', '')} {environ['PATH_INFO']}".encode()]

    return application


MOUNTED = {"/x": said_by("x"), "/x/z": said_by("z"), "/\xe9": said_by("e")}


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/", "first  /"),
        ("/x", "x /x "),
        ("/x/", "x /x /"),
        ("/x/y", "x /x /y"),
        ("/xy", "first  /xy"),
        ("/x/z/w", "z /x/z /w"),
        ("/x/zz", "x /x /zz"),
        ("", "first  "),
        ("no/slash", "first  no/slash"),
    ],
)
def test_the_longest_prefix_by_whole_segments_counts(path: str, said: str) -> None:
    mounts = Mounts(said_by("first"), MOUNTED, splits=True)
    assert mounts({"PATH_INFO": path, "SCRIPT_NAME": ""}, print) == [said.encode()]


def test_a_prefix_is_compared_as_bytes() -> None:
    mounts = Mounts(said_by("first"), MOUNTED, splits=True)
    (said,) = mounts({"PATH_INFO": "/\xe9/y".encode().decode("latin-1")}, print)
    assert said.startswith(b"e ")


@pytest.mark.parametrize(
    ("script", "said"), [("", "first  /x/y"), ("/x", "x /x /x/y"), ("/x/z", "z /x/z /x/y"), ("/q", "first /q /x/y")]
)
def test_without_manage_script_name_the_script_name_of_nginx_chooses(script: str, said: str) -> None:
    mounts = Mounts(said_by("first"), MOUNTED, splits=False)
    assert mounts({"PATH_INFO": "/x/y", "SCRIPT_NAME": script}, print) == [said.encode()]
