"""The pages of reference are those of the declarations."""

import re
import signal

import pytest

from tests.support import DOCS, ROOT
from tools import reference_docs
from wsgid.ctl.main import SUBCOMMANDS
from wsgid.errors import ExitCode
from wsgid.master import SIGNAL_ORDERS


def test_each_page_is_what_the_program_would_write() -> None:
    for page, written in reference_docs.documents().items():
        assert page.read_text() == written, f"run {reference_docs.COMMAND}"


def test_a_page_without_a_place_for_its_text_is_an_error() -> None:
    with pytest.raises(ValueError, match="no <!-- signals"):
        reference_docs.with_text("text", "signals", "table")


def test_each_signal_and_each_exit_code_has_a_row() -> None:
    signals = (DOCS / "signals.md").read_text()
    assert all(
        f"| `{signo.name.removeprefix('SIG')}` | {order.effect} |" in signals for signo, order in SIGNAL_ORDERS.items()
    )
    assert signal.SIGUSR2 in SIGNAL_ORDERS
    codes = (DOCS / "exit-codes.md").read_text()
    assert [f"| {int(code)} | {code.meaning} |" in codes for code in ExitCode] == [True] * 4


def test_the_page_of_wsgidctl_has_each_subcommand_and_its_arguments() -> None:
    text = reference_docs.subcommands_table()
    assert (
        all(f"| `{name}` |" in text for name in SUBCOMMANDS)
        and "`--seconds N`" in text
        and "`-o\\|--output FILE`" in text
    )


def test_the_messages_of_the_log_are_found_in_all_forms() -> None:
    text = reference_docs.log_lists()
    assert "\n* worker … (generation …, pid …) is ready\n" in text  # log.info("...", ...)
    assert "unknown option" in text  # raise ConfigError(f"...")
    assert "%s" not in text and "%d" not in text


def test_the_api_has_what_an_application_may_import() -> None:
    text = reference_docs.api()
    assert "## `wsgid.offload`" in text and "* `timeout_s`: how long a caller waits" in text
    assert "## `wsgid.errors.RequestTimeout`" in text and "## `wsgid.errors.LockNotAcquired`" in text
    assert "\n* `get(key, default=None)`: Return" in text and "\n* `release()`: Give" in text  # methods, also compiled
    assert "lmdb_store.py" not in text  # the modules of a package are not for applications


def test_the_figures_of_the_readme_are_those_of_the_results() -> None:
    results = (ROOT / "bench" / "RESULTS.md").read_text()
    for figure in re.findall(r"(?<=\| )[\d.,]+(?= \|)", reference_docs.figures()):
        assert f"| {figure} (" in results
