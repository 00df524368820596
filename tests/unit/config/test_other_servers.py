"""Flags of gunicorn, Flask and others: each is answered with what wsgid has instead."""

import pytest

from wsgid.config import merge, other_servers
from wsgid.config.commandline import parse
from wsgid.errors import ConfigError


def complaint(*argv: str) -> str:
    with pytest.raises(ConfigError) as raised:
        merge.read([*argv, "--socket", "app.sock", "app:application"], {})
    return str(raised.value)


@pytest.mark.parametrize("flag", other_servers.WITH_VALUE)
def test_a_flag_with_a_value_has_a_remedy_of_its_own(flag: str) -> None:
    assert complaint(flag, "0.0.0.0:8000") == f"unknown option {flag}: {other_servers.WITH_VALUE[flag]}"


@pytest.mark.parametrize("flag", other_servers.SWITCHES)
def test_a_switch_takes_no_argument_away(flag: str) -> None:
    assert complaint(flag) == f"unknown option {flag}: {other_servers.SWITCHES[flag]}"


def test_uwsgis_size_of_the_buffer_is_taken() -> None:
    assert not parse(["-b", "32768"]).complaints


@pytest.mark.parametrize("flag", [*other_servers.WITH_VALUE, *other_servers.SWITCHES])
def test_the_flags_that_are_recommended_exist(flag: str) -> None:
    text = other_servers.remedy(flag, None)
    for word in text.replace(",", " ").split():
        if word.startswith("--"):
            said = parse([word, "1"])
            assert not any("unknown" in found for found in said.complaints), word
