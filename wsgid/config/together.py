"""What uWSGI's options mean together: some of them change what another option means, or what a site can rely on.

Rules
* Only words of uWSGI's files and command lines are looked at. Who wrote for wsgid is not told about uWSGI.
"""

from collections.abc import Mapping

from wsgid.config import values
from wsgid.config.options import Given, Settings, by_key
from wsgid.counted import counted
from wsgid.records import replace

_ON = ("true", "on", "yes", "1")


def adjusted(given: Mapping[str, list[Given]], words: Mapping[str, str]) -> dict[str, list[Given]]:
    """Return the option values with the meanings that they have together.

    Args:
        given: the values that count, by the option's name.
        words: uWSGI's options with their last values, also those that wsgid does not have.
    """
    result = dict(given)
    kept = result.get("http_keepalive", ())
    timeout = words.get("http-timeout", "")
    # uWSGI's router keeps a connection for http-timeout if http-keepalive is only on (hr_check_response_keepalive).
    if kept and kept[-1].texts[-1].lower() in _ON and timeout.isdigit() and int(timeout) > values.KEPT_S:
        result["http_keepalive"] = [replace(kept[-1], texts=(timeout,))]
    if words and not result.keys() & {"logto", "daemonize"}:
        _give_all_to_the_log(result)
    return result


def _give_all_to_the_log(given: dict[str, list[Given]]) -> None:
    """uWSGI's logger also gets what the application prints. Here --logto does so."""
    paths = [text for each in given.get("logger", ()) for text in each.texts]
    if len(paths) == 1 and paths[0].startswith("file:"):
        (logger,) = given.pop("logger")
        given["logto"] = [replace(logger, option=by_key()["logto"], texts=(paths[0].removeprefix("file:"),))]


def warnings(settings: Settings, words: Mapping[str, str], is_gevent_named: bool) -> list[str]:
    """Return what a site that comes from uWSGI should know before it serves.

    Args:
        settings: the resulting settings.
        words: as for `adjusted`.
        is_gevent_named: whether any source has the option gevent.
    """
    if is_gevent_named or not words:
        return []
    there = _requests_at_once(words)
    return [
        f"gevent is not set: a worker takes up to {counted(settings.gevent, 'request')} at once here, and would take "
        f"{there} in uWSGI. If the application needs real threads or counts on "
        f"{counted(there, 'request')}, set gevent = {there}"
    ]


def _requests_at_once(words: Mapping[str, str]) -> int:
    numbers = [words[name] for name in ("threads", "async", "asyncio") if words.get(name, "").isdigit()]
    return max([1, *map(int, numbers)])
