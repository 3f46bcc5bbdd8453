"""The edge of the program: nothing steers the terminal, the system's word is one line, a bug keeps
its traceback.
"""

import ctypes
import errno
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner

from svuprobe import _edge, _files, _machine, _system_errors, api, cli
from svuprobe._files import FileError

STEERING = "\x1b[31m\x00\x07\r\x08\t\x7f\x9b\u202e\u2066\u2028\ud800"


def call(*words):
    return CliRunner().invoke(cli.main, [str(w) for w in words])


def failing(monkeypatch, error):
    def fail(*args, **options):
        raise error

    monkeypatch.setattr(api, "leaderboard", fail)
    return call("leaderboard")


# -- the terminal ----------------------------------------------------------------------------------


def test_what_steers_a_terminal_is_shown_and_not_done():
    shown = _edge.printable(f"ä±– {STEERING}\nend")
    assert shown.isprintable() or shown.replace("\n", "").isprintable()
    assert shown.startswith(
        "ä±– \\x1b[31m\\x00\\x07\\r\\x08\\t\\x7f\\x9b\\u202e\\u2066\\u2028\\ud800\n"
    )
    assert "\n" not in _edge.one_line("a\nb")


@pytest.mark.parametrize(
    "words",
    [
        ("extract", "--model", f"x{STEERING}", "--task", "technique"),
        ("extract", "--model", "logmel", "--task", f"x{STEERING}.toml"),
        ("extract", "--model", "logmel", "--task", "technique", "--data", f"x{STEERING}"),
        ("probe", "--features", f"x{STEERING}"),
        ("probe", f"--x{STEERING}"),
        (f"x{STEERING}",),
        (f"--x{STEERING}",),
        ("plot", f"x{STEERING}"),
        ("run", f"x{STEERING}", "--out", "o"),
        ("cache", "list", f"x{STEERING}"),
        ("data", "check", "--task", "technique", "--data", f"x{STEERING}"),
        ("predict", "--run", f"x{STEERING}", "--audio", "a"),
    ],
    ids=lambda words: "-".join(words)[:12].encode("ascii", "replace").decode(),
)
def test_a_name_that_is_typed_does_not_steer_the_terminal(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [w.replace("\x00", "").replace("\ud800", "") for w in words]  # no shell passes these
    done = call(*words)
    assert isinstance(done.exception, SystemExit | None), done.exception
    assert done.output.replace("\n", "").isprintable()


def test_labels_and_file_names_do_not_steer_the_terminal(tmp_path):
    toml, folder = tmp_path / "own.toml", tmp_path / "a\x1b[2J\u202e"
    folder.mkdir()
    rows = [
        f"{folder.name}/{n}.wav,\x1b[31mred{n % 2},{'train' if n < 4 else 'test'}" for n in range(6)
    ]
    (tmp_path / "own.csv").write_text(
        "\n".join(["path,target,split", *rows]) + "\n", encoding="utf-8"
    )
    toml.write_text('name = "own"\nkind = "multiclass"\nmetadata = "own.csv"\n', encoding="utf-8")
    done = call("data", "check", "--task", toml)
    assert done.exit_code == 1
    assert "\x1b" not in done.output
    assert "\u202e" not in done.output
    done = call("extract", "--model", "logmel", "--task", toml, "--features", tmp_path / "f")
    assert done.exit_code == 1
    assert "\x1b" not in done.output


@pytest.mark.parametrize("locale", [{"LC_ALL": "POSIX"}, {"PYTHONIOENCODING": "latin-1"}])
@pytest.mark.parametrize(
    "words", [["models"], ["extract", "--model", "ü–\u202e", "--task", "genre"]]
)
def test_any_locale_will_do(words, locale):
    plain = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    program = Path(sys.executable).parent / "svuprobe"
    done = subprocess.run([program, *words], env=os.environ | plain | locale, capture_output=True)
    assert b"Traceback" not in done.stderr
    assert done.returncode == (0 if words == ["models"] else 2)


# -- the system's word -----------------------------------------------------------------------------


@pytest.mark.parametrize("number", sorted(_system_errors.ADVICE), ids=errno.errorcode.get)
def test_what_the_system_says_of_files_is_one_line_with_the_file_and_the_next_step(
    monkeypatch, number
):
    error = OSError(number, os.strerror(number), "/some/\x1bfile")
    done = failing(monkeypatch, error)
    assert done.exit_code == 1
    assert isinstance(done.exception, SystemExit)
    (line,) = done.output.splitlines()
    assert line.startswith("Error: /some/\\x1bfile: ")
    assert _system_errors.advice(error) in line


@pytest.mark.parametrize(
    "error",
    [MemoryError(), MemoryError("Unable to allocate 9 PiB"), RuntimeError("x out of memory")],
)
def test_full_memory_is_one_line(monkeypatch, error):
    done = failing(monkeypatch, error)
    assert done.exit_code == 1
    assert done.output.startswith("Error: the memory is full (")


@pytest.mark.parametrize(
    "error",
    [
        FileNotFoundError(errno.ENOENT, "No such file", "x"),
        OSError("no number"),
        RuntimeError("a bug"),
        EOFError(),
    ],
)
def test_a_bug_is_none_of_the_systems_words(monkeypatch, error):
    done = failing(monkeypatch, error)
    assert not isinstance(done.exception, SystemExit | None)


def test_a_reader_that_went_away_is_no_error():
    read, write = os.pipe()
    os.close(read)
    program = Path(sys.executable).parent / "svuprobe"
    done = subprocess.run([program, "models"], stdout=write, stderr=subprocess.PIPE)
    os.close(write)
    assert done.stderr == b""


# -- files that must not be replaced ---------------------------------------------------------------


def special(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "fifo")
    return [
        Path("/dev/null"),
        Path("/dev/stdout"),
        *(tmp_path / name for name in ("fifo", "folder", "link")),
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files")
def test_a_device_a_pipe_and_a_folder_are_never_replaced(tmp_path):
    for path in special(tmp_path):
        before = path.stat().st_mode
        if stat.S_ISREG(before):
            continue  # what this test prints goes to a file
        with pytest.raises(FileError, match="choose another name"), _files.replacing(path):
            pytest.fail("a special file was opened")
        assert path.stat().st_mode == before


def test_what_is_freed_is_kept_where_the_c_library_is_glibc_and_nothing_fails_elsewhere(
    monkeypatch,
):
    asked = []
    glibc = SimpleNamespace(mallopt=lambda option, value: asked.append((option, value)))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: glibc)
    _machine.keep_freed_memory()
    assert asked == [(-1, 2**31 - 1), (-3, 2**30)]  # malloc.h: M_TRIM_THRESHOLD, M_MMAP_THRESHOLD

    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())  # as musl's
    _machine.keep_freed_memory()

    def none(name):
        raise TypeError  # as on Windows

    monkeypatch.setattr(ctypes, "CDLL", none)
    _machine.keep_freed_memory()
