"""The flags of other servers and of Flask, with what wsgid has for each: a guess by spelling would mislead.

Rules
* A flag that is an option of wsgid is not here. --reload and -b are uWSGI's too, with another meaning.
* The text completes the sentence "unknown option --bind: ...".
"""

_PROTOCOLS = "write --http HOST:PORT for HTTP, or --socket ADDRESS for nginx's uwsgi_pass"
_ALWAYS_GEVENT = "leave it out: workers are always gevent's, and --gevent says how many requests one handles at once"

SWITCHES = {
    "--capture-output": "leave it out: what the application prints is in the log",
    "--check-config": "write --check",
    "--debug": "write --dev",
    "--log-syslog": "write --logger syslog:TAG,FACILITY",
    "--preload": "leave it out: the application is imported once, before the workers are forked",
    "--print-config": "write --check",
    "--reload": "write --dev for development; `wsgidctl reload` reloads a running server",
}

WITH_VALUE = {
    "--access-logfile": "write --access-log FILE",
    "--access-logformat": "write --log-format FORMAT",
    "--app": "write MODULE:CALLABLE without a flag",
    "--bind": _PROTOCOLS,
    "--ca-certs": "write --https ADDRESS,CERT,KEY,CA",
    "--certfile": "write --https ADDRESS,CERT,KEY",
    "--error-logfile": "write --logto FILE",
    "--graceful-timeout": "write --worker-reload-mercy SECONDS",
    "--group": "write --gid GROUP",
    "--host": "write --http HOST:PORT",
    "--interface": "leave it out: wsgid serves WSGI applications",
    "--keep-alive": "write --http-keepalive SECONDS",
    "--keyfile": "write --https ADDRESS,CERT,KEY",
    "--log-file": "write --logto FILE",
    "--max-requests-jitter": "write --max-requests-delta N",
    "--port": "write --http HOST:PORT, such as --http :8000",
    "--reload-extra-file": "write --touch-reload FILE",
    "--statsd-host": "write --metrics ADDRESS, which is for Prometheus",
    "--timeout": "write --harakiri SECONDS for a request, or --hub-timeout SECONDS for a loop that stands still",
    "--user": "write --uid USER",
    "--worker-class": _ALWAYS_GEVENT,
    "--worker-connections": "write --gevent N",
    "--worker-tmp-dir": "leave it out: heartbeats are in shared memory",
    "-b": _PROTOCOLS,
    "-k": _ALWAYS_GEVENT,
}


def remedy(flag: str, value: str | None) -> str:
    """Return what to write instead of another server's flag; empty if the flag is not another server's.

    Args:
        flag: of the command line.
        value: its value; uWSGI's -b is a number, and gunicorn's an address.
    """
    if flag == "-b" and (value or "").isdigit():
        return ""
    return WITH_VALUE.get(flag) or SWITCHES.get(flag) or ""
