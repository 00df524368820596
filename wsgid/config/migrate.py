"""--migrate: print a TOML file for the site of a uwsgi.ini or of a command line for uWSGI, and a systemd unit for it.

Rules
* The TOML means the same as the file, and passes --check. Comments say what became of each line: which line an option
  comes from, which lines need nothing here, and which lines wsgid does not have.
* The unit is in the same output, in lines that begin with `#|`. So the output is a valid TOML file.
* Nothing is started, and no file is written.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from wsgid.config import merge, values
from wsgid.config.merge import Gathered
from wsgid.config.options import Given, declared
from wsgid.errors import ConfigError, ExitCode

_LEFT_OUT = ("ini", "config", "set_placeholder", "check", "migrate")
_AS_TEXT = (values.MODE, values.USER, values.GROUP)  # 022 is no number in TOML


def run(argv: Sequence[str], environ: Mapping[str, str]) -> ExitCode:
    """Print the TOML file and the unit. Returns the exit code: USAGE if wsgid does not have all options.

    Args:
        argv: without the program's name.
        environ: for $(NAME) in the file; WSGID_ variables do not count.

    Raises:
        ConfigError: there is no such file, or nothing to migrate.
    """
    foreign = {name: value for name, value in environ.items() if not name.startswith("WSGID_")}
    gathered = merge.gather([argument for argument in argv if argument != "--migrate"], foreign)
    if not gathered.given:
        raise ConfigError("--migrate needs the file or the flags of a site: wsgid --migrate uwsgi.ini")
    print("\n".join([*toml(gathered), "", *_marked(unit(gathered, Path.cwd()))]))
    for complaint in gathered.complaints:
        print(complaint, file=sys.stderr)
    return ExitCode.USAGE if gathered.complaints else ExitCode.OK


# --- the TOML file ---


def toml(gathered: Gathered) -> Iterator[str]:
    """Yield the lines of the file."""
    files = [text for given in gathered.given.get("ini", ()) for text in given.texts]
    origin = f" from {', '.join(files)}" if files else ""
    yield f"# Made by wsgid --migrate{origin}. Try it: wsgid --check --config FILE.toml"
    for title, remarks in (
        ("wsgid does not have these. Find another way before you move:", gathered.complaints),
        ("These may not mean what they seem to mean:", gathered.warnings),
        ("These need nothing here, and are left out:", gathered.notes),
    ):
        if remarks:
            yield ""
            yield f"# {title}"
            yield from (f"# {line}" for remark in remarks for line in remark.splitlines())
    yield ""
    for option in declared():
        if option.name in gathered.given and option.name not in _LEFT_OUT:
            yield from _entry(gathered.given[option.name])


def _entry(given: Sequence[Given]) -> Iterator[str]:
    """Yield the lines of one option, each value with its place."""
    option = given[0].option
    key = option.key
    if option.name == "daemonize":
        key = "logto"
        yield "# daemonize is logto now: systemd keeps wsgid in the background."
    if not option.repeatable:
        last = given[-1]
        yield f"{key} = {_value(last, last.texts[-1])}  # {_origin(last)}"
        return
    yield f"{key} = ["
    yield from (f"    {_value(each, text)},  # {_origin(each)}" for each in given for text in each.texts)
    yield "]"


def _value(given: Given, text: str) -> str:
    kind = given.option.kind
    if kind is values.FLAG:
        return "true" if given.value() else "false"
    if kind.is_number and kind not in _AS_TEXT and re.fullmatch("0|[1-9][0-9]*", text):
        return text
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _origin(given: Given) -> str:
    """Return the place, and the name there if it is another one."""
    written = re.match(r"(?:.*?:\d+: )?-{0,2}([\w-]+)", given.said)
    name = written[1] if written else given.option.key
    return given.origin if name == given.option.key else f"{given.origin}, {name}"


# --- the unit ---


def unit(gathered: Gathered, directory: Path) -> Iterator[str]:
    """Yield the lines of the systemd unit.

    Args:
        gathered: the site.
        directory: in which the server starts.
    """
    files = [text.partition(":")[0] for given in gathered.given.get("ini", ()) for text in given.texts]
    name = Path(files[-1]).stem if files else "site"
    name = directory.name if name == "uwsgi" and directory.name else name
    mercy_s = _number(gathered, "worker_reload_mercy", 60) + (10 if "attach_daemon" in gathered.given else 0)
    yield f"# /etc/systemd/system/{name}.service; the options in /etc/wsgid/{name}.toml"
    yield "[Unit]"
    yield f"Description={name}, served by wsgid"
    yield "After=network.target"
    yield ""
    yield "[Service]"
    yield "Type=notify"
    yield f"WorkingDirectory={directory}"
    yield f"ExecStart={shutil.which('wsgid') or os.path.abspath(sys.argv[0])} --config /etc/wsgid/{name}.toml"
    yield "ExecReload=/bin/kill -HUP $MAINPID"
    yield "KillMode=mixed"
    yield f"TimeoutStopSec={mercy_s + 15:g}"
    yield "Restart=on-failure"
    yield from _directories(gathered)
    if "max_fd" in gathered.given:
        yield f"LimitNOFILE={_number(gathered, 'max_fd', 0):g}"
    yield ""
    yield "[Install]"
    yield "WantedBy=multi-user.target"


def _directories(gathered: Gathered) -> Iterator[str]:
    """Yield RuntimeDirectory= for sockets in a directory below /run, which is empty after each boot."""
    paths = [text for name in ("socket", "http") for given in gathered.given.get(name, ()) for text in given.texts]
    found = {match[1] for path in paths if (match := re.match(r"(?:unix:)?/(?:var/)?run/([^/]+)/", path))}
    if found:
        yield f"RuntimeDirectory={' '.join(sorted(found))}"
        yield "# The socket's directory. nginx's user has to be allowed to enter it."
        yield "RuntimeDirectoryMode=0755"


def _number(gathered: Gathered, name: str, default: float) -> float:
    given = gathered.given.get(name)
    return float(given[-1].value()) if given else default


def _marked(lines: Iterator[str]) -> Iterator[str]:
    yield "# The unit for systemd. Take it out with: sed -n 's/^#| \\?//p' FILE.toml"
    yield from (f"#| {line}".rstrip() for line in lines)
