"""wsgidctl ends with an exit code and one sentence, whatever a subcommand raises."""

from types import SimpleNamespace

import pytest

from wsgid.ctl import client, main
from wsgid.ctl.client import CtlError


def run(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> int:
    """Run `wsgidctl status` with a subcommand that raises this."""

    def fail(*_: object) -> int:
        raise error

    monkeypatch.setitem(main.SUBCOMMANDS, "status", SimpleNamespace(HELP="", arguments=lambda parser: None, run=fail))
    monkeypatch.setattr(client, "find", lambda *_: client.Server.__new__(client.Server))
    monkeypatch.setattr("sys.argv", ["wsgidctl", "status"])
    return main.main()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (CtlError("the server refuses"), "wsgidctl: the server refuses\n"),
        (OSError(28, "No space left on device"), "wsgidctl: the system refuses: [Errno 28] No space left on device\n"),
        (KeyError("slots"), "wsgidctl: this is a bug of wsgidctl's, please report it: KeyError('slots')\n"),
        (KeyboardInterrupt(), ""),  # the operator's Ctrl-C needs no explanation
    ],
)
def test_a_failure_is_code_1_and_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, said: str
) -> None:
    assert run(monkeypatch, error) == 1
    assert capsys.readouterr() == ("", said)
