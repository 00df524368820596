"""What uWSGI's options mean together: some of them change what another option means, or what a site can rely on.

Rules
* Only words of uWSGI's files and command lines are looked at. Who wrote for wsgid is not told about uWSGI.
"""

from collections.abc import Callable, Mapping

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
    if words:
        if not result.keys() & {"logto", "daemonize"}:
            _give_all_to_the_log(result)
        _open_the_socket_of_a_daemon(result)
        _leave_the_charset_to_the_files(result)
    return result


def _open_the_socket_of_a_daemon(given: dict[str, list[Given]]) -> None:
    """uWSGI's daemonize sets the umask to 0 (daemonize of core/utils.c). So nginx's user can connect to the socket of a
    site that names no mode. Here the umask stays, and the socket alone gets the mode."""
    if "daemonize" in given and not given.keys() & {"umask", "chmod_socket"}:
        given["chmod_socket"] = [replace(given["daemonize"][-1], option=by_key()["chmod-socket"], texts=("666",))]


def _leave_the_charset_to_the_files(given: dict[str, list[Given]]) -> None:
    """uWSGI names no charset for text files. So a page in another charset says so itself, with `<meta charset>`."""
    sources = [given[name][-1] for name in ("static_map", "check_static", "check_static_docroot") if name in given]
    if sources and "static_charset" not in given:
        given["static_charset"] = [replace(sources[0], option=by_key()["static-charset"], texts=("none",))]


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
    if not words:
        return []
    return [*_lines_without_a_log(settings), *([] if is_gevent_named else [_concurrency(settings, words)])]


def _lines_without_a_log(settings: Settings) -> list[str]:
    """uWSGI logs all requests unless disable-logging is set. Who has chosen how the lines look counts on them."""
    named = [
        name
        for name, value in (
            ("log-format", settings.log_format),
            ("log-x-forwarded-for", settings.log_x_forwarded_for),
            ("memory-report", settings.memory_report),
        )
        if value
    ]
    written = settings.access_log or settings.log_4xx or settings.log_5xx or settings.log_slow
    if not named or written or settings.disable_logging:
        return []
    return [
        f"{named[0]} is set, but no lines are logged for requests here, where uWSGI logs all of them: "
        "set req-logger = stdio"
    ]


def _concurrency(settings: Settings, words: Mapping[str, str]) -> str:
    there = _requests_at_once(words)
    return (
        f"gevent is not set: a worker takes up to {counted(settings.gevent, 'request')} at once here, and would take "
        f"{there} in uWSGI. If the application needs real threads or counts on "
        f"{counted(there, 'request')}, set gevent = {there}"
    )


def differences(settings: Settings, words: Mapping[str, str]) -> list[str]:
    """Return what --check says about the site that works in another way here than in uWSGI, and is no mistake.

    Args:
        settings: the resulting settings.
        words: as for `adjusted`.
    """
    if not words:
        return []
    return [text for holds, text in _DIFFERENCES if holds(settings, words)]


_DIFFERENCES: tuple[tuple[Callable[[Settings, Mapping[str, str]], bool], str], ...] = (
    (
        lambda settings, words: "die-on-term" not in words,
        "TERM stops wsgid, and HUP reloads the application; in uWSGI TERM reloads, unless die-on-term is set",
    ),
    (
        lambda settings, words: not (settings.access_log or settings.disable_logging),
        "no line is logged for each request: --access-log writes them, or req-logger in the file",
    ),
    (
        lambda settings, words: bool(settings.daemonize) and settings.umask < 0,
        "the umask stays as it is, while uWSGI's daemonize sets it to 0: set umask = 000 if other users have to write "
        "to files that the application makes",
    ),
    (
        lambda settings, words: settings.uid > 0 and settings.gid < 0,
        "the application runs with the group of --uid, while uWSGI leaves it the master's group: set gid for another",
    ),
    (
        lambda settings, words: settings.uid > 0,
        "the master keeps its own user, as nginx's does: only this user and root can send it signals, and write to "
        "master-fifo",
    ),
    (
        lambda settings, words: settings.uid > 0 and not settings.new_privileges,
        "programs that the application starts gain no rights by a set-user-ID bit, as sudo and some sendmails do: "
        "--new-privileges allows it; HOME is the home directory of --uid",
    ),
    (
        lambda settings, words: bool(settings.static_map or settings.check_static) and not settings.static_hidden,
        "files whose names begin with a dot are not sent: --static-hidden sends them",
    ),
    (
        lambda settings, words: bool(settings.static_map or settings.check_static or settings.check_static_docroot),
        "a file without a known type is application/octet-stream, which browsers save and do not show: mimefile adds "
        "types",
    ),
    (
        lambda settings, words: any(
            "maxsize=" in words.get(name, "") for name in ("logger", "req-logger", "logger-req")
        ),
        "the log is not rotated at maxsize: let logrotate(8) do it, and touch-logreopen or USR1 reopen the log",
    ),
    (
        lambda settings, words: _speaks_http(settings) and "*" not in settings.forwarded_allow_ips,
        "over HTTP, X-Forwarded-For and X-Forwarded-Proto count if they come from --forwarded-allow-ips; uWSGI takes "
        "X-Forwarded-Proto from everybody: name your load balancer's address there",
    ),
    (
        lambda settings, words: _speaks_http(settings),
        "over HTTP, a request that RFC 9112 forbids gets a 400, such as one with raw UTF-8 in its path; and PATH_INFO "
        "has /../ if the client has sent it, where uWSGI resolves it",
    ),
)


def _speaks_http(settings: Settings) -> bool:
    return bool(settings.http or settings.https or settings.socket_protocol == "http")


def _requests_at_once(words: Mapping[str, str]) -> int:
    numbers = [words[name] for name in ("threads", "async", "asyncio") if words.get(name, "").isdigit()]
    return max([1, *map(int, numbers)])
