"""What is left of the former user after --uid and --gid is named, and ends the start."""

import os
from pathlib import Path

import pytest

from wsgid.errors import ApplicationImportError
from wsgid.linux import privileges

NOBODY = 65_534


@pytest.fixture
def dropped(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """This process looks like one of the user and group nobody, who has no rights of root."""
    monkeypatch.setattr(os, "getresuid", lambda: (NOBODY,) * 3)
    monkeypatch.setattr(os, "getresgid", lambda: (NOBODY,) * 3)
    monkeypatch.setattr(os, "getgroups", lambda: [NOBODY])
    monkeypatch.setattr(privileges, "_capabilities", lambda: 0)
    return monkeypatch


@pytest.mark.usefixtures("dropped")
def test_nothing_is_left() -> None:
    privileges._verify(NOBODY, NOBODY)


@pytest.mark.parametrize(
    ("owner", "name", "value", "said"),
    [
        (os, "getresuid", (NOBODY, NOBODY, 0), r"the users \(65534, 65534, 0\)"),
        (os, "getresgid", (NOBODY, 0, NOBODY), r"the groups \(65534, 0, 65534\)"),
        (os, "getgroups", [NOBODY, 0], "root's group"),
        (privileges, "_capabilities", 0x400, "the capabilities 400"),
    ],
)
def test_each_right_that_is_left_is_named(
    dropped: pytest.MonkeyPatch, owner: object, name: str, value: object, said: str
) -> None:
    dropped.setattr(owner, name, lambda: value)
    with pytest.raises(
        ApplicationImportError, match=rf"^as user {NOBODY}, group {NOBODY}, .* still has {said}: start it"
    ):
        privileges._verify(NOBODY, NOBODY)


def test_a_member_of_roots_group_may_keep_it(dropped: pytest.MonkeyPatch) -> None:
    dropped.setattr(os, "getgroups", lambda: [NOBODY, 0])
    dropped.setattr(os, "getgrouplist", lambda name, group: [group, 0])
    privileges._verify(NOBODY, NOBODY)


def test_a_user_without_a_name_is_in_no_group() -> None:
    assert not privileges._is_in_group_of_root(4_294_000_000)


def test_who_is_not_root_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(uid: int, gid: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(privileges, "_become", refuse)
    with pytest.raises(ApplicationImportError, match=r"cannot become user 1, group -1: .*; start as root"):
        privileges.drop(1, -1)


def test_without_proc_no_capability_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(path: Path) -> str:
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert privileges._capabilities() == 0
