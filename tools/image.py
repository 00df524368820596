"""`make image`: follow examples/Dockerfile without Docker, start what comes out, and say how large the image is.

    FROM debian:SUITE-slim            -> mmdebstrap makes this Debian in a temporary directory
    RUN, COPY                         -> are done there, in a chroot
    FROM gcr.io/distroless/python3-*  -> the packages of that image, from the same Debian (DISTROLESS)
    COPY --from, USER, ENV, CMD, ...  -> the image, which is started as its user, asked, and stopped

Rules
* Only the instructions that this Dockerfile has are known. Any other instruction is an error.
* The size is the sum of all files, as `docker image ls` counts it. Its limit is LIMIT_BYTES.
* For root: chroot(2), mount(2). Mounts are in a mount namespace of their own, and end with their process.
"""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "examples" / "Dockerfile"
LIMIT_BYTES = 90_000_000
PATIENCE_S = 60.0
# The packages of gcr.io/distroless/python3-debian13: static, base, cc and python3 in the config.bzl files of
# https://github.com/GoogleContainerTools/distroless (2026-08-21). ca-certificates is its one file, certs.tar.
DISTROLESS = (
    "base-files netbase tzdata tzdata-legacy media-types ca-certificates libc6 libssl3t64 libzstd1 zlib1g libgomp1 "
    "libstdc++6 libgcc-s1 gcc-14-base libbz2-1.0 libdb5.3t64 libexpat1 liblzma5 libsqlite3-0 libuuid1 libncursesw6 "
    "libtinfo6 libcom-err2 libcrypt1 libc-bin libgssapi-krb5-2 libk5crypto3 libkeyutils1 libkrb5-3 libkrb5support0 "
    "libnsl2 libreadline8t64 libtirpc3t64 libffi8 libpython3.13-minimal libpython3.13-stdlib python3.13-minimal "
    "python3.13-venv"
)
UNUSED = ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/lintian")  # not in those images
# Commands of the shell in a mount namespace: $0 is the root, and the rest is the command.
MOUNTS = 'mount -t proc proc "$0/proc" && mount --rbind /dev "$0/dev"'
# Python of the image changes the directory, because the image has no shell: argv is the directory and the program.
START = "import os, sys; os.chdir(sys.argv[1]); os.execv(sys.argv[2], sys.argv[2:])"


class ImageError(Exception):
    """An instruction cannot be followed, or the image is not as it has to be."""


class Instruction(NamedTuple):
    name: str
    text: str


def instructions() -> list[Instruction]:
    text = re.sub(r"(?m)^#.*\n", "", DOCKERFILE.read_text())
    lines = re.sub(r"\\\n\s*", "", text).splitlines()
    return [Instruction(*line.split(" ", 1)) for line in lines if line]


def main() -> int:
    if os.geteuid():
        print("make image is for root: it uses chroot", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory(prefix="wsgid-image-") as directory:
        try:
            Path(directory).chmod(0o755)
            image = Image(Path(directory))
            for instruction in instructions():
                print(f"{instruction.name} {instruction.text}"[:110], flush=True)
                image.follow(instruction)
            image.check()
        except (ImageError, subprocess.CalledProcessError) as error:
            print(error, file=sys.stderr)
            return 1
    return 0


class Image:
    """The stages of the Dockerfile, as directories below `directory`."""

    def __init__(self, directory: Path) -> None:
        self.build = directory / "build"
        self.root = directory / "image"
        self.final = False  # whether the instructions are those of the last stage
        self.workdir = "/"
        self.settings: dict[str, str] = {}  # USER, STOPSIGNAL, CMD, ...
        self.environ: dict[str, str] = {}

    def follow(self, instruction: Instruction) -> None:
        actions = {"FROM": self._from, "RUN": self._run, "COPY": self._copy, "WORKDIR": self._workdir, "ENV": self._env}
        if instruction.name in actions:
            actions[instruction.name](instruction.text)
        elif instruction.name in ("USER", "STOPSIGNAL", "EXPOSE", "HEALTHCHECK", "ENTRYPOINT", "CMD"):
            self.settings[instruction.name] = instruction.text
        else:
            raise ImageError(f"{instruction.name} is unknown here: teach tools/image.py what it means")

    def _from(self, text: str) -> None:
        if found := re.fullmatch(r"debian:(\w+)-slim AS build", text):
            quiet = ("--quiet", "--variant=apt", "--include=ca-certificates")
            run("mmdebstrap", *quiet, found[1], str(self.build))
            bundle = Path("/etc/ssl/certs/ca-certificates.crt")  # this machine may have certificates of its own
            if bundle.exists():
                shutil.copy(bundle, self.build / bundle.relative_to("/"))
        elif text.startswith("gcr.io/distroless/python3-debian13"):
            self.final = True
            self._unpack_distroless()
        else:
            raise ImageError(f"FROM {text} is unknown here: teach tools/image.py what it means")

    def _unpack_distroless(self) -> None:
        inside(self.build, "sh", "-c", f"apt-get -qq update; cd /tmp && apt-get -qq download {DISTROLESS}")
        self.root.mkdir()
        for folder in ("bin", "lib", "lib64", "sbin"):  # Debian's merged /usr
            (self.root / "usr" / folder).mkdir(parents=True, exist_ok=True)
            (self.root / folder).symlink_to(f"usr/{folder}")
        for package in sorted((self.build / "tmp").glob("*.deb")):
            unpacked = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(package)], stdout=subprocess.PIPE)
            run("tar", "--extract", "--keep-directory-symlink", f"--directory={self.root}", stdin=unpacked.stdout)
            if unpacked.wait():
                raise ImageError(f"{package.name} cannot be unpacked")
        for name in UNUSED:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in ("python", "python3"):
            (self.root / "usr/bin" / name).symlink_to("python3.13")
        for name in ("proc", "dev", "tmp"):
            (self.root / name).mkdir(exist_ok=True)
        (self.root / "tmp").chmod(0o1777)

    def _run(self, text: str) -> None:
        inside(self.build, "sh", "-c", text)

    def _copy(self, text: str) -> None:
        *options, source, target = shlex.split(text)
        if not self.final:
            if options or source != ".":
                raise ImageError(f"COPY {text} is unknown here")
            self._copy_context(self.build / target.lstrip("/"))
            return
        owner = next((option.partition("=")[2] for option in options if option.startswith("--chown=")), "0:0")
        place = self.root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "--recursive", "--preserve=mode,timestamps", "-T", f"{self.build}{source}", str(place))
        run("chown", "--recursive", "--no-dereference", owner, str(place))

    def _copy_context(self, target: Path) -> None:
        """Copy what git has or would add. .dockerignore leaves out the rest."""
        listed = run("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", cwd=ROOT)
        for name in filter(None, listed.split("\0")):
            if (ROOT / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, target / name)

    def _workdir(self, text: str) -> None:
        self.workdir = text
        (self.root / text.lstrip("/")).mkdir(parents=True, exist_ok=True)

    def _env(self, text: str) -> None:
        self.environ |= dict(word.split("=", 1) for word in shlex.split(text))

    # --- the image ---

    def check(self) -> None:
        files = [path for path in self.root.rglob("*") if path.is_file() and not path.is_symlink()]
        size_bytes = sum(path.stat().st_size for path in files)
        version = run(*self._command(["wsgid", "--version"])).strip()
        self._serve()
        print(f"\n{version}: the image has {size_bytes / 1e6:.1f} MB in {len(files)} files, serves, and stops")
        if size_bytes >= LIMIT_BYTES:
            raise ImageError(f"the image has {size_bytes / 1e6:.1f} MB, and the limit is {LIMIT_BYTES / 1e6:.0f} MB")

    def _serve(self) -> None:
        words = [*json.loads(self.settings["ENTRYPOINT"]), *json.loads(self.settings["CMD"])]
        process = subprocess.Popen(self._command(words), stderr=subprocess.PIPE, text=True)
        try:
            assert process.stderr
            for line in process.stderr:
                print(line, end="")
                if "is ready" in line:
                    break
            self._ask(self.root / "run/wsgid/app.sock")
            health = json.loads(self.settings["HEALTHCHECK"].partition(" CMD ")[2])
            run(*self._command(health))
        finally:
            process.send_signal(signal.Signals[self.settings["STOPSIGNAL"]])
            code = process.wait(PATIENCE_S)
        if code:
            raise ImageError(f"the image stops with {code}")

    def _ask(self, path: Path) -> None:
        words = (b"REQUEST_METHOD", b"GET", b"PATH_INFO", b"/")
        packet = b"".join(len(word).to_bytes(2, "little") + word for word in words)  # the uwsgi protocol
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(PATIENCE_S)
            connection.connect(str(path))
            connection.sendall(b"\0" + len(packet).to_bytes(2, "little") + b"\0" + packet)
            answer = connection.recv(1 << 16)
        if b"200 OK" not in answer:
            raise ImageError(f"the image answers {answer!r}")

    def _command(self, words: list[str]) -> list[str]:
        """Return the command that runs these words as the image's user, with nothing of this machine's environment."""
        user = self.settings["USER"]
        folders = self.environ["PATH"].split(":")
        [program, *_] = [f"{folder}/{words[0]}" for folder in folders if self._has(folder, words[0])]
        assigned = [f"{name}={value}" for name, value in self.environ.items()]
        enter = ["env", "-i", *assigned, "/usr/sbin/chroot", f"--userspec={user}:{user}", str(self.root)]
        command = [*enter, "/usr/bin/python3", "-c", START, self.workdir, program, *words[1:]]
        return ["unshare", "--mount", "sh", "-c", f'{MOUNTS} && exec "$@"', str(self.root), *command]

    def _has(self, folder: str, name: str) -> bool:
        return os.path.lexists(self.root / folder.lstrip("/") / name)


def inside(root: Path, *words: str) -> str:
    """Run a command in a chroot with /proc and /dev."""
    for name in ("resolv.conf", "hosts"):
        if Path("/etc", name).exists():
            shutil.copy(f"/etc/{name}", root / "etc" / name)
    return run("unshare", "--mount", "sh", "-c", f'{MOUNTS} && exec chroot "$0" "$@"', str(root), *words)


def run(*words: str, cwd: Path | None = None, stdin: object = subprocess.DEVNULL) -> str:
    done = subprocess.run(words, cwd=cwd, stdin=stdin, capture_output=True, text=True)  # type: ignore[call-overload]
    if done.returncode:
        raise ImageError(f"{shlex.join(words)} failed:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


if __name__ == "__main__":
    sys.exit(main())
