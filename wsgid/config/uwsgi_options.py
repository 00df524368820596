"""uWSGI's options that wsgid does not have, in one table: those without an effect, and those that are refused.

Rules
* The first matching row counts: its pattern (fnmatch) matches the name, and its `when` matches the whole value (a
  regular expression that ignores case).
* The text is shown after the option's name: "master: there always is one".  The text of a refusal is the remedy.
* An option has no effect if it only tunes uWSGI, or asks for something that wsgid always does. An option that a site
  would miss is refused.
"""

import re
from enum import Enum, auto
from fnmatch import fnmatchcase

from wsgid.config import uwsgi_words
from wsgid.records import dataclass


class Verdict(Enum):
    """What happens to an option of uWSGI that wsgid does not have."""

    NEEDLESS = auto()  # accepted, with a note at --check
    REFUSED = auto()  # an error that names the remedy


@dataclass(frozen=True, slots=True)
class Row:
    """A family of uWSGI's options, and what happens to it."""

    patterns: str  # names or patterns, separated by blanks
    verdict: Verdict
    text: str
    when: str = ".*"


N, R = Verdict.NEEDLESS, Verdict.REFUSED
_ROUTER = "of uWSGI's HTTP router; here the workers speak HTTP themselves (--http), or nginx does"
_NGINX_HTTP = "use https = ADDRESS,CERTIFICATE,KEY, or nginx"
_STATIC = "let nginx serve files: location /static/ { alias DIRECTORY/; }"
_SIDE = "start it as a service of its own: a systemd unit, or a container"
_JOBS = "use a task queue such as Celery, or a systemd timer"
_SANDBOX = "use the systemd unit for it (systemd.exec(5), systemd.resource-control(5))"
_HOOKS = (
    "use ExecStartPre= or ExecStopPost= of the systemd unit, the entrypoint of a container, or wsgid.hooks for "
    "Python code"
)
_ROUTES = "let nginx decide: location, rewrite, add_header"
_NO_API = "wsgid has nothing of the kind; use wsgid.cache, Redis or the database"
_OTHER_LOADERS = "name a WSGI callable: module = MODULE:CALLABLE"
_LOG_ROUTES = (
    "there is one log for the server and one for the requests: name them with logger and req-logger, and let the "
    "reader of the log sort its lines"
)
_COMMAND = "a command of uWSGI's, not of a configuration; send the master a signal, as in kill -TERM $(cat PIDFILE)"

TABLE: tuple[Row, ...] = (
    # Things that wsgid always does.
    Row("master", N, "there always is one"),
    Row("vacuum", N, "wsgid always removes its sockets and its pidfile"),
    Row("die-on-term", N, "TERM always stops, and gracefully"),
    Row("exit-on-reload", N, "a reload is rolling; TERM stops"),
    Row("need-app", N, "without its application wsgid does not start"),
    Row("enable-threads", N, "threads always work; under gevent they are greenlets"),
    Row("single-interpreter", N, "there is one interpreter in each process"),
    Row(
        "thunder-lock thunder-lock-watchdog lock-engine ftok persistent-ipcsem flock*",
        N,
        "the workers share the sockets without a lock",
    ),
    Row("strict", N, "an unknown option is an error now; without strict a file gets a warning"),
    Row("gevent-early-monkey-patch gevent-monkey-patch", N, "gevent patches before the application is imported"),
    Row("gevent-wait-for-hub", N, "a worker that leaves waits for what its requests have left behind"),
    Row("plugin plugins need-plugin need-plugins plugin-dir plugins-dir autoload", N, "Python and gevent are built in"),
    Row("loop", N, "the loop always is gevent's", when="gevent"),
    Row("loop asyncio greenlet", R, "the workers are gevent's: use gevent = 1000 and leave this out"),
    Row("async ugreen ugreen-stacksize", N, "gevent says how many requests a worker takes at once"),
    Row("threads", N, "a request has a greenlet, not a thread; gevent says how many at once"),
    Row(
        "threads-stacksize threads-stack-size thread-stacksize thread-stack-size no-threads-wait",
        N,
        "a request has a greenlet, not a thread",
    ),
    Row(
        "cheaper-a* cheaper-list cheaper-step cheaper-overload cheaper-idle cheaper-rss-* cheaper-busyness-*",
        N,
        "wsgid's own rule says when workers come and go: by what waits and what is in flight",
    ),
    Row("cheap idle", N, "at least one worker runs all the time"),
    Row("min-worker-lifetime", N, "workers that die young are replaced with growing pauses"),
    Row("buffer-size", N, "a request's variables may have 64 KiB, all that the protocol can carry"),
    Row("post-buffering-bufsize", N, "a body is read in blocks of 64 KiB"),
    Row("body-read-warning", N, "a body above post-buffering is in a file, not in memory"),
    Row(
        "upload-progress",
        R,
        "let the browser show it (the progress event of XMLHttpRequest.upload), or use nginx's upload progress module",
    ),
    Row("offload-thread offload-threads", N, "a file is sent by the worker, while other requests go on"),
    Row("disable-sendfile", N, "wsgid itself decides whether to use sendfile"),
    Row(
        "ignore-sigpipe ignore-write-errors disable-write-exception write-errors-tolerance write-errors-exception-only",
        N,
        "a visitor who leaves is no error here",
    ),
    Row("harakiri-verbose", N, "the log always has the request and its stack"),
    Row(
        "harakiri-graceful-timeout harakiri-graceful-signal harakiri-queue-threshold harakiri-no-arh no-harakiri-*",
        N,
        "harakiri ends the overdue request alone, in its greenlet",
    ),
    Row("close-on-exec close-on-exec2", N, "sockets are always closed in programs that the application starts"),
    Row("py-call-osafterfork py-call-uwsgi-fork-hooks", N, "Python's hooks for a fork always run"),
    Row(
        "py-master-check-signals py-programname py-program-name py-executable py-sys-executable",
        N,
        "the interpreter is the one that wsgid is installed for",
    ),
    Row("py-tracebacker", N, "the log has the stack of what holds a worker (--hub-warn)"),
    Row(
        "log-master log-master-bufsize log-master-stream log-master-req-stream threaded-logger",
        N,
        "each process writes whole lines itself",
    ),
    Row("log-reopen", N, "USR1 reopens the log, or --touch-logreopen"),
    Row("log-truncate", N, "the log is appended to"),
    Row("logfile-chown logfile-chmod", N, "the log belongs to the master's user; logrotate's create changes that"),
    Row("log-micros", N, "use %(micros) in --log-format"),
    Row("log-zero log-big log-sendfile log-ioerror", N, "use --access-log, which has a line for every request"),
    Row(
        "auto-procname procname procname-append procname-master",
        N,
        "the processes always have titles; --procname-prefix begins them",
    ),
    Row("no-orphans", N, "workers always leave when their master is gone"),
    Row("reaper", N, "the master always reaps"),
    Row("master-as-root", N, "the master keeps its privileges; only the application runs as --uid"),
    Row("drop-after-init drop-after-apps no-initgroups", N, "the application is imported as --uid already"),
    Row("wsgi-disable-file-wrapper", N, "wsgi.file_wrapper costs nothing where it is not used"),
    Row(
        "wsgi-strict wsgi-accept-buffer wsgi-accept-buffers wsgi-env-behaviour wsgi-env-behavior reload-os-env "
        "start_response-nodelay",
        N,
        "wsgid does what PEP 3333 says",
    ),
    Row(
        "wsgi-manage-chunked-input chunked-input-limit chunked-input-timeout",
        N,
        "nginx has put together what a visitor sends in chunks",
    ),
    Row("skip-atexit skip-atexit-teardown", N, "a worker runs what is registered with atexit, within its mercy time"),
    Row("catch-exceptions", N, "a traceback goes to the log, never to the visitor"),
    Row(
        "honour-range skip-zero safe-fd fd-safe heartbeat notify-socket check-interval pcre-jit profiler "
        "backtrace-depth no-fd-passing disable-async-warn-on-queue-full",
        N,
        "nothing to do here",
    ),
    Row(
        "so-keepalive tcp-nodelay no-defer-accept tcp-fast-open* tcp-fastopen* socket-sndbuf socket-rcvbuf",
        N,
        "sockets are set up for nginx on the same machine or network",
    ),
    Row(
        "so-send-timeout socket-send-timeout so-write-timeout socket-write-timeout",
        N,
        "--socket-timeout is for writing too",
    ),
    Row("stats-min stats-minified stats-no-cores stats-no-metrics", N, "the statistics are always complete"),
    Row("ksm never-swap mem-collector-freq clock forkbomb-delay", N, "the kernel needs no help here"),
    Row("websocket* websockets*", N, "these belong to uWSGI's own websockets"),
    Row("max-apps", N, "nothing limits the number of applications"),
    Row("vhost vhost-host", N, "the application serves all hosts"),
    Row("no-default-app", R, "a path without a mount goes to the first application: let nginx answer such paths"),
    Row("ignore-script-name", N, "an application of mount finds its prefix in SCRIPT_NAME with manage-script-name"),
    Row(
        "touch-logrotate log-maxsize log-backupname",
        N,
        "the log is not rotated: let logrotate(8) do it, and touch-logreopen or USR1 reopen the log",
    ),
    Row("reload-on-as evil-reload-on-as", N, "the address space says little of memory: use reload-on-rss"),
    Row(
        "mule-reload-mercy mule-harakiri mule-msg* spooler-* touch-mules-reload touch-spoolers-reload",
        N,
        "it only tunes mules and the spooler",
    ),
    Row("locks signal-bufsize signals-bufsize rpc-max use-abort", N, "it only tunes what wsgid does not have"),
    Row("unsubscribe-on-graceful-reload", N, "it only tunes subscriptions"),
    Row("log-filter log-drain", N, "the log has all lines"),
    Row("show-config", N, "--check shows it"),
    Row("notfound-log", N, "the log always has it"),
    Row("binary-path", N, "wsgid knows its own path"),
    Row("py-auto-reload-ignore", N, "py-autoreload looks at the modules of the application"),
    Row("allowed-modifiers", N, "wsgid takes only modifiers of WSGI"),
    Row("shutdown-sockets rsyslog-packet-size rsyslog-split-messages", N, "nothing to do here"),
    Row("start-time", N, "a variable that nothing uses"),
    Row("add-header", N, "the connection to nginx is always closed", when="connection: *close"),
    Row("add-header", N, "connections of --http are kept anyway (--http-keepalive)", when="connection: *keep-alive"),
    # HTTP.
    Row("https2 httprouter http-to-https", R, _NGINX_HTTP),
    Row("http-socket-modifier* https-socket-modifier*", N, "there is one application"),
    Row("http-subscription-* http-zerg http-to", R, "use an upstream block of nginx"),
    Row(
        "http-timeout http-auto-chunked http-auto-gzip http-raw-body http-websockets http-chunked-* http-use-* "
        "http-gracetime http-quiet http-cheap http-stats* http-processes http-workers http-modifier* http-uid http-gid "
        "http-resubscribe http-buffer-size http-server-name-* http-headers-timeout http-connect-timeout http-manage-* "
        "http-events http-max-retries http-parachute http-harakiri "
        "https-export-cert https-session-context",
        N,
        _ROUTER,
    ),
    Row(
        "fastcgi-* scgi-* raw-* puwsgi-socket ssl-* map-socket shared-socket undeferred-shared-socket "
        "udp sni* multicast*",
        R,
        "wsgid speaks uwsgi and HTTP: use socket, and uwsgi_pass in nginx, or http",
    ),
    Row("abstract-socket", R, "write socket = @NAME"),
    Row("freebind", R, "use a systemd socket unit with FreeBind="),
    Row("static-cache-paths*", N, "the kernel keeps what is looked up often"),
    Row("file-serve-mode fileserve-mode", R, _STATIC),
    Row(
        "add-header rem-header del-header pull-header collect-header response-header-collect response-headers-limit",
        R,
        "let nginx do it: add_header NAME VALUE always;",
    ),
    Row("route-label", N, "a name for routes"),
    Row(
        "route* final-route*",
        N,
        "requests are logged with --access-log only, and this line does nothing else",
        when=r"(.*\s)?(donotlog|log|logvar|continue|last):.*",
    ),
    Row(
        "route* final-route*",
        R,
        "let nginx redirect: return 301 https://$host$request_uri; or location PATH { return 302 URL; }; without "
        "nginx, let the load balancer or the application do it (Django: SECURE_SSL_REDIRECT)",
        when=r"(.*\s)?redirect[\w-]*:.*",
    ),
    Row(
        "route* final-route* response-route*",
        R,
        "let nginx add it: add_header NAME VALUE always;",
        when=r"(.*\s)?(add|del|rem)?header:.*",
    ),
    Row("route* final-route*", R, "let nginx ask: auth_basic, auth_basic_user_file", when=r"(.*\s)?basicauth:.*"),
    Row("route* final-route*", R, "write static-map = /PREFIX=DIRECTORY", when=r"(.*\s)?(static|file):.*"),
    Row(
        "route* final-route*",
        R,
        "let nginx rewrite: rewrite REGEX REPLACEMENT last;",
        when=r"(.*\s)?(rewrite|setpathinfo|setscriptname|setquerystring|seturi|fixpathinfo|sethome|setfile):.*",
    ),
    Row(
        "route* final-route*",
        R,
        'let the application set it for the request, with environ["wsgid.harakiri"]',
        when=r"(.*\s)?harakiri:.*",
    ),
    Row(
        "route* final-route*",
        R,
        "let nginx do it: gzip on; it also makes chunks",
        when=r"(.*\s)?(gzip|chunked|toofile):?.*",
    ),
    Row("route* final-route* error-route* response-route* error-page-*", R, _ROUTES),
    # Other processes, jobs and shared state.
    Row("emperor* vassal* early-emperor", R, "use a systemd template unit, wsgid@.service, with a file for each site"),
    Row(
        "zerg* zeus subscribe* subscription* start-unsubscribed fastrouter* rawrouter* sslrouter* "
        "forkptyrouter* tuntap* auto-weight weight",
        R,
        "use an upstream block of nginx, and USR2 for upgrades",
    ),
    Row(
        "attach-control-daemon legion-*attach-daemon*",
        R,
        "write attach-daemon = COMMAND, for a command that stays in the foreground",
    ),
    Row("daemons-honour-stdin", R, _SIDE),
    Row("cron* unique-cron* legion-cron timer rbtimer signal-timer signal-rbtimer", R, _JOBS),
    Row(
        "mule",
        R,
        "write attach-daemon = python FILE, if the file does not need the module uwsgi; otherwise use a task queue",
        when=r".*\.py",
    ),
    Row("spooler mule mules farm", R, _JOBS),
    Row("legion*", R, "use keepalived, or what your orchestrator has for it"),
    Row(
        "cache cache-* add-cache-item load-file-in-cache* check-cache",
        R,
        "use cache2 = name=NAME,items=N,blocksize=BYTES",
    ),
    Row("queue* sharedarea py-sharedarea signal", R, _NO_API),
    Row("snmp* carbon* metric* enable-metrics stats-push*", R, "use --metrics, in Prometheus's format"),
    Row(
        "alarm* *-alarm log-alarm lq-alarm not-log-alarm not-alarm-log",
        R,
        "let your monitoring watch --metrics and the log",
    ),
    # Hooks, and what the service manager does.
    Row(
        "hook-master-start",
        N,
        "TERM stops gracefully anyway",
        when=r"unix_signal:(15|term|sigterm)\s+gracefully_kill_them_all",
    ),
    Row(
        "hook-asap hook-pre-app hook-pre-jail hook-post-jail hook-as-root hook-as-user exec-asap exec-pre-app "
        "exec-pre-jail exec-post-jail exec-as-root exec-as-user",
        R,
        "run the command before wsgid: ExecStartPre=COMMAND in the systemd unit, or COMMAND && exec wsgid ... in the "
        "entrypoint of a container",
    ),
    Row(
        "hook-as-user-atexit exec-as-user-atexit hook-master-stop",
        R,
        "run the command after wsgid: ExecStopPost=COMMAND in the systemd unit",
    ),
    Row("hook-* exec-* call-* after-request-hook after-request-call exception-handler", R, _HOOKS),
    Row(
        "touch-exec touch-signal fs-reload fs-brutal-reload fs-signal propagate-touch",
        R,
        "use a systemd path unit; touch-reload reloads",
    ),
    Row("limit-nproc", R, "use LimitNPROC= of the systemd unit, or ulimit -u"),
    Row(
        "reload-on-exception* reload-on-fd brutal-reload-on-fd die-on-idle die-on-no-workers",
        R,
        "workers are replaced by max-requests, max-worker-lifetime or reload-on-rss",
    ),
    Row(
        "cgroup* namespace* ns ns-net setns* unshare* chroot jail* libjail jid* pivot-root pivot_root cap add-gid prio "
        "mount-* umount-* binsh wait-for-* wait-interface* wait-iface* privileged-* unprivileged-* immediate-uid "
        "immediate-gid fork-server fork-socket re-fork* refork*",
        R,
        _SANDBOX,
    ),
    Row("chdir2 force-cwd", R, "use chdir"),
    Row("envdir early-envdir ienv unenv", R, "use Environment= or EnvironmentFile= of the systemd unit, or env"),
    Row("no-site", R, "set PYTHONNOUSERSITE in wsgid's environment"),
    # The log.
    Row(
        "log-encoder log-req-encoder",
        R,
        "for JSON write --log-json (the server's log) and log-format = json (the lines of requests)",
        when=r".*json.*|.*\{.*|.*msg.*|nl.*",
    ),
    Row("log-route log-req-route log-req-encoder log-encoder log-socket", R, _LOG_ROUTES),
    Row("log-syslog", R, "write logger = syslog:TAG"),
    Row("log-prefix", R, "write log-date = FORMAT"),
    # Other ways to load an application, or a configuration.
    Row(
        "paste-name pecan web3 pump wsgi-lite eval test python-raw "
        "worker-exec worker-exec2 python-worker-override pymodule-alias post-pymodule-alias early-pyimport "
        "early-python-import early-python lua* perl* psgi* rack* rails* php* cgi*",
        R,
        _OTHER_LOADERS,
    ),
    Row("py pyrun python pyshell pyshell-oneshot", R, "start it with the interpreter of the virtual environment"),
    Row(
        "xml xmlconfig yaml yml json js config config-py inject-before inject-after fallback-config",
        R,
        "write the options into an ini, or into a TOML file for --config",
    ),
    Row(
        "declare-option declare-option2 blacklist whitelist end-blacklist end-whitelist resolve if-plugin "
        "if-not-plugin ifplugin if-hostname-match if-not-hostname-match",
        R,
        "write the resulting options",
    ),
    Row(
        "if-* ifdir ifenv ifexists for for-* endif end-if endfor end-for inherit print print-sym print-symbol iprint",
        R,
        "it belongs into an ini file, which --ini names",
    ),
    Row(
        "tornado stackless fiber coroae goroutines", R, "the workers are gevent's: use gevent = 1000 and leave this out"
    ),
    Row("stop reload pause suspend resume connect-and-read extract exit get dump-options", R, _COMMAND),
)

# What uWSGI has and the table does not name.
OTHERS = Row("*", R, "it belongs to a part of uWSGI that is not for Python, or only lists things: leave it out")


def find(name: str, value: str, is_placeholder: bool = False) -> Row | None:
    """Return the row for an option; None if the table does not have the option.

    Args:
        name: of the option.
        value: of the option; empty if it has none.
        is_placeholder: whether something refers to it as %(name). Then a row counts only if it has this very name.
    """
    whole = is_placeholder or uwsgi_words.arity(name) is None  # patterns stand for uWSGI's own names
    for row in TABLE:
        patterns = row.patterns.split()
        fits = name in patterns if whole else any(fnmatchcase(name, pattern) for pattern in patterns)
        if fits and re.fullmatch(row.when, value.strip(), re.IGNORECASE | re.DOTALL):
            return row
    return None if is_placeholder or uwsgi_words.arity(name) is None else OTHERS


def names() -> list[str]:
    """Return all names in the table, without patterns: candidates for similar names."""
    return [name for row in TABLE for name in row.patterns.split() if "*" not in name]
