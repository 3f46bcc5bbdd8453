"""Downloads: resumed, compared, unpacked nowhere else, and only once. The server is a thread on
this machine.
"""

import contextlib
import hashlib
import io
import json
import tarfile
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from svuprobe._errors import UserError
from svuprobe._progress import Reporter
from svuprobe.tasks.data.download import ResumingDownloader
from svuprobe.tasks.data.prepare import prepare
from svuprobe.tasks.data.unpack import unpack
from svuprobe.tasks.datasets import Archive, Dataset
from svuprobe.tasks.types import TaskError


class Server:
    """Files by path; ``cut[path]`` closes the connection of the next request after so many
    bytes.
    """

    def __init__(self):
        self.files, self.cut, self.errors, self.asked, self.ranges = {}, {}, {}, [], True
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(
            target=self.http.serve_forever, kwargs={"poll_interval": 0.01}
        )
        self.thread.start()

    def answer(self, request):
        path, span = request.path.lstrip("/"), request.headers.get("Range")
        self.asked.append((path, span))
        if self.errors.get(path):
            return request.send_error(self.errors[path].pop(0))
        if path not in self.files:
            return request.send_error(404)
        body = self.files[path]
        tag = f'"{hashlib.md5(body).hexdigest()}"'
        start = int(span.removeprefix("bytes=").rstrip("-")) if span and self.ranges else 0
        if request.headers.get("If-Range", tag) != tag:
            start = 0
        if start >= len(body) and start:
            request.send_response(416)
            request.send_header("Content-Range", f"bytes */{len(body)}")
            request.send_header("Content-Length", "0")
            return request.end_headers()
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        request.send_header("Content-Length", str(len(body) - start))
        request.send_header("ETag", tag)
        request.end_headers()
        request.wfile.write(body[start : start + self.cut.pop(path, len(body))])
        return None


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr("svuprobe.tasks.data.download.time.sleep", lambda seconds: None)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()
    server.thread.join()


def zipped(files: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()


def tarred(*members: tarfile.TarInfo | str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for member in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = 3 if info.isreg() else 0
            archive.addfile(info, io.BytesIO(b"abc"))
    return out.getvalue()


def link(kind: bytes, name: str, target: str) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def cards(*archives: Archive, how: str = "") -> dict[str, Dataset]:
    return {
        "toy": Dataset(
            "toy", "A toy", "CC BY 4.0", "https://example.org", 0.1, how=how, archives=archives
        )
    }


def run(root, *archives, **options):
    said = []
    return prepare(
        "toy", root, reporter=Reporter(said.append), cards=cards(*archives, **options)
    ), said


def md5(content: bytes) -> str:
    return f"md5:{hashlib.md5(content).hexdigest()}"


def listing(root) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.fixture
def big():
    """Half a megabyte that does not compress."""
    return np.random.default_rng(0).bytes(500_000)


# The whole way


def test_an_archive_is_downloaded_unpacked_and_asked_for_once(server, tmp_path):
    body = zipped(
        {
            "FULL/a/1.wav": b"one",
            "FULL/b/2.wav": b"two",
            "__MACOSX/FULL/._1.wav": b"junk",
            "readme": b"r",
        }
    )
    server.files["a.zip"] = body
    archive = Archive("a.zip", (f"{server.url}/a.zip?download=1",), md5(body))
    server.files["a.zip?download=1"] = body
    made, said = run(tmp_path / "toy", archive)
    assert made == [tmp_path / "toy/FULL", tmp_path / "toy/readme"]
    assert listing(tmp_path / "toy") == ["FULL/a/1.wav", "FULL/b/2.wav", "PREPARED.json", "readme"]
    assert "licence: CC BY 4.0" in said[1]
    asked = len(server.asked)
    assert run(tmp_path / "toy", archive) == (made, [])
    assert len(server.asked) == asked == 1


def test_a_tar_loses_its_first_folder_and_goes_where_it_should(server, tmp_path):
    server.files["x.tar.gz"] = tarred("repo-0123/", "repo-0123/a.txt", "repo-0123/keys/b.txt")
    made, said = run(
        tmp_path,
        Archive("x.tar.gz", (f"{server.url}/x.tar.gz",), unpack_to="repo", strip=1),
        how="Then do the rest.",
    )
    assert made == [tmp_path / "repo"]
    assert listing(tmp_path) == ["PREPARED.json", "repo/a.txt", "repo/keys/b.txt"]
    assert said[-1] == "left to do: Then do the rest."


def test_what_has_no_known_checksum_is_recorded_with_its_own(server, tmp_path):
    server.files["tags.csv"] = b"a,b\n"
    _, said = run(tmp_path, Archive("tags.csv", (f"{server.url}/tags.csv",)))
    digest = hashlib.sha256(b"a,b\n").hexdigest()
    assert digest in said[2]
    assert (
        json.loads((tmp_path / "PREPARED.json").read_text())["archives"]["tags.csv"]["sha256"]
        == digest
    )
    assert (tmp_path / "tags.csv").read_bytes() == b"a,b\n"


def test_a_file_that_was_cut_is_joined(server, tmp_path, big):
    body = zipped({"0/x.mp3": big, "f/y.mp3": b"y"})
    urls = []
    for n in range(3):
        server.files[f"mp3.zip.{n}"] = body[n * 200_000 : (n + 1) * 200_000]
        urls.append(f"{server.url}/mp3.zip.{n}")
    made, _ = run(tmp_path, Archive("mp3.zip", tuple(urls), md5(body), unpack_to="mp3"))
    assert made == [tmp_path / "mp3"]
    assert (tmp_path / "mp3/0/x.mp3").read_bytes() == big


def test_only_what_is_not_done_is_done_again(server, tmp_path):
    server.files |= {"a.csv": b"a", "b.csv": b"b"}
    archives = [Archive(name, (f"{server.url}/{name}",)) for name in ("a.csv", "b.csv")]
    server.errors["b.csv"] = [404]
    with pytest.raises(TaskError, match="HTTP 404"):
        run(tmp_path, *archives)
    run(tmp_path, *archives)
    assert [path for path, _ in server.asked] == ["a.csv", "b.csv", "b.csv"]
    (tmp_path / "a.csv").unlink()  # the user lost it
    run(tmp_path, *archives)
    assert [path for path, _ in server.asked][3:] == ["a.csv"]
    assert listing(tmp_path) == ["PREPARED.json", "a.csv", "b.csv"]


# Transfers that break


def test_a_broken_transfer_goes_on_where_it_stopped(server, tmp_path, big):
    server.files["big.bin"], server.cut["big.bin"] = big, 300_000
    run(tmp_path, Archive("big.bin", (f"{server.url}/big.bin",), md5(big)))
    assert (tmp_path / "big.bin").read_bytes() == big
    (_, first), (_, second) = server.asked
    assert first is None
    assert 200_000 <= int(second.removeprefix("bytes=").rstrip("-")) <= 300_000


def test_another_process_goes_on_with_what_the_first_kept(server, tmp_path, big):
    server.files["big.bin"], server.cut["big.bin"] = big, 300_000
    server.errors["big.bin"] = []
    archive = Archive("big.bin", (f"{server.url}/big.bin",))

    def fail(seconds):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("svuprobe.tasks.data.download.time.sleep", fail)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path, archive)
    assert (tmp_path / ".download/big.bin.part").stat().st_size >= 200_000
    run(tmp_path, archive)
    assert (tmp_path / "big.bin").read_bytes() == big
    assert server.asked[1][1] is not None
    assert listing(tmp_path) == ["PREPARED.json", "big.bin"]


def test_two_versions_of_a_file_are_never_mixed(server, tmp_path, big):
    part = tmp_path / "big.part"
    part.write_bytes(b"old" * 1000)
    part.with_name("big.part.tag").write_text('"of another version"')
    server.files["big"] = big
    ResumingDownloader(part)(f"{server.url}/big", str(tmp_path / "big"))
    assert (tmp_path / "big").read_bytes() == big
    assert server.asked == [("big", "bytes=3000-")]
    assert [p.name for p in tmp_path.iterdir()] == ["big"]


@pytest.mark.parametrize(("kept", "asked"), [(100, 1), (100_000, 1), (500_000, 1), (600_000, 2)])
def test_whatever_is_kept_the_file_comes_out_whole(server, tmp_path, big, kept, asked):
    part = tmp_path / "big.part"
    part.write_bytes((big + big)[:kept])
    server.files["big"] = big
    ResumingDownloader(part)(f"{server.url}/big", str(tmp_path / "big"))
    assert (tmp_path / "big").read_bytes() == big
    assert len(server.asked) == asked


def test_a_server_that_can_not_resume_sends_all_again(server, tmp_path, big):
    server.files["big"], server.cut["big"], server.ranges = big, 300_000, False
    ResumingDownloader(tmp_path / "part")(f"{server.url}/big", str(tmp_path / "big"))
    assert (tmp_path / "big").read_bytes() == big


def test_a_busy_server_is_asked_again_and_a_dead_one_given_up(server, tmp_path):
    server.files["x"], server.errors["x"] = b"x", [503, 429, 500]
    ResumingDownloader(tmp_path / "part")(f"{server.url}/x", str(tmp_path / "x"))
    assert len(server.asked) == 4
    server.errors["x"] = [503] * 9
    with pytest.raises(TaskError, match="HTTP 503.*0 bytes are kept, the same command goes on"):
        ResumingDownloader(tmp_path / "part", attempts=2)(f"{server.url}/x", str(tmp_path / "x"))
    with pytest.raises(TaskError, match="HTTP 404 Not Found; has it moved"):
        ResumingDownloader(tmp_path / "part")(f"{server.url}/y", str(tmp_path / "y"))


def test_progress_counts_every_byte(server, tmp_path, big):
    seen = []

    class Bar:
        def __init__(self, **options):
            seen.append(options)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def update(self, n):
            seen.append(n)

    server.files["big"] = big
    ResumingDownloader(tmp_path / "big.part", Reporter(make_bar=Bar))(
        f"{server.url}/big", str(tmp_path / "big")
    )
    assert seen[0] == {
        "total": 500_000,
        "initial": 0,
        "desc": "big",
        "unit": "B",
        "unit_scale": True,
    }
    assert sum(seen[1:]) == 500_000


# What is refused


def test_another_file_than_the_published_one_is_refused_and_removed(server, tmp_path):
    server.files["a.zip"] = zipped({"a": b"tampered"})
    archive = Archive("a.zip", (f"{server.url}/a.zip",), md5(b"something else"))
    with pytest.raises(TaskError, match="not the published file.*removed"):
        run(tmp_path, archive)
    assert listing(tmp_path) == ["PREPARED.json"]
    cut = Archive("a.zip", (f"{server.url}/a.zip",) * 2, md5(b"something else"))
    with pytest.raises(TaskError, match="parts don't give the published"):
        run(tmp_path, cut)
    assert listing(tmp_path) == ["PREPARED.json"]


HOSTILE = {
    "up.zip": (zipped({"ok": b"", "../evil": b"x"}), "would lie outside"),
    "deep.zip": (zipped({"a/../../evil": b"x"}), "would lie outside"),
    "root.zip": (zipped({"/evil": b"x"}), "would lie outside"),
    "drive.zip": (zipped({"C:evil": b"x"}), "would lie outside"),
    "up.tar.gz": (tarred("ok", "../evil"), "would lie outside"),
    "root.tar.gz": (tarred("/evil"), "would lie outside"),
    "link.tar.gz": (tarred(link(tarfile.SYMTYPE, "out", ".."), "out/evil"), "link or a device"),
    "hard.tar.gz": (tarred(link(tarfile.LNKTYPE, "out", "../PREPARED.json")), "link or a device"),
    "device.tar.gz": (tarred(link(tarfile.CHRTYPE, "null", "")), "link or a device"),
    "fifo.tar.gz": (tarred(link(tarfile.FIFOTYPE, "pipe", "")), "link or a device"),
    "page.zip": (b"<html>404</html>", "damaged"),
    "page.tar.gz": (b"<html>404</html>", "damaged"),
    "half.tar.gz": (tarred(*"abcdefgh")[:60], "damaged"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_and_damaged_archives_write_nothing(server, tmp_path, name):
    server.files[name], said = HOSTILE[name]
    root = tmp_path / "in" / "toy"
    with pytest.raises(TaskError, match=said):
        run(root, Archive(name, (f"{server.url}/{name}",)))
    assert listing(tmp_path) == ["in/toy/PREPARED.json"]
    assert not any(path.is_symlink() for path in tmp_path.rglob("*"))


ODD_NAMES = {
    "newline": "a\nb",
    "escape": "a\x1b[2J",
    "turned around": "a\u202egpj.exe",
    "too long": "x" * 300,
    "too deep": "/".join(["x" * 200] * 30),
    "nul": "a\0b",
    "drive": "C:/a",
    "backslash": "..\\a",
}


@pytest.mark.parametrize("odd", [*ODD_NAMES, "twice", "file and folder", "folder and file"])
@pytest.mark.parametrize("make", [zipped, tarred])
def test_odd_names_in_an_archive_are_refused_and_nothing_stays(
    server, tmp_path, odd, make, recwarn
):
    several = {
        "twice": ["a", "a"],
        "file and folder": ["a", "a/b"],
        "folder and file": ["a/b", "a"],
    }
    members = ["good", *several.get(odd, [ODD_NAMES.get(odd, "")])]
    if make is zipped:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for member in members:
                archive.writestr(member, b"abc")
        body = out.getvalue()
        if odd == "nul":  # Python's own writer cuts it off
            body = out.getvalue().replace(b"good", b"g\0od")
    else:
        body = tarred(*members)
    name = "a.zip" if make is zipped else "a.tar.gz"
    server.files[name] = body
    root = tmp_path / "in" / "toy"
    if odd == "nul":  # cut off by the readers too: what is left of the name is a good one
        run(root, Archive(name, (f"{server.url}/{name}",)))
        assert not [path for path in listing(root) if not path.isprintable()]
        return
    with pytest.raises(UserError) as refused:
        run(root, Archive(name, (f"{server.url}/{name}",)))
    assert len(str(refused.value).splitlines()) == 1
    assert not [
        path
        for path in tmp_path.rglob("*")
        if path.is_file() and path.name not in ("PREPARED.json", name)
    ]


@pytest.mark.parametrize("name", ["a.zip", "a.tar", "a.tar.gz", "a.tar.bz2", "a.tar.xz"])
def test_no_bytes_of_an_archive_end_in_a_traceback(tmp_path, name):
    path, rng = tmp_path / name, np.random.default_rng(7)
    if name == "a.zip":
        path.write_bytes(zipped({f"x/{n}.wav": rng.bytes(99) for n in range(5)}))
    else:
        with tarfile.open(path, f"w:{name[6:]}") as archive:
            for n in range(5):
                info = tarfile.TarInfo(f"x/{n}.wav")
                info.size = 99
                archive.addfile(info, io.BytesIO(rng.bytes(99)))
    whole = path.read_bytes()
    for n in range(100):
        spoilt = bytearray(whole)
        for at in rng.integers(len(whole), size=1 + n % 5):
            spoilt[at] = rng.integers(256)
        path.write_bytes(spoilt[: len(whole) if n % 4 else rng.integers(len(whole))])
        folder = tmp_path / "in" / str(n)
        folder.mkdir(parents=True)
        with contextlib.suppress(UserError):
            unpack(path, folder)
    assert {p.name for p in tmp_path.iterdir()} == {"in", name}


RECORDS = [
    "[]",
    '{"archives": 3}',
    '{"archives": {"a": 1}}',
    '{"archives": {"a": {"made": [".."]}}}',
    "[" * 100_000,
]


@pytest.mark.parametrize("record", RECORDS, ids=range(len(RECORDS)))
def test_a_record_of_a_wrong_shape_is_told(tmp_path, record):
    (tmp_path / "PREPARED.json").write_text(record)
    with pytest.raises(TaskError, match="PREPARED.json can't be read"):
        run(tmp_path, Archive("a", ("http://127.0.0.1:9/a",)))


def test_links_in_a_zip_are_refused(tmp_path):
    info = zipfile.ZipInfo("out")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc")
    (tmp_path / "to").mkdir()
    with pytest.raises(TaskError, match="link or encrypted"):
        unpack(tmp_path / "a.zip", tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_an_archive_that_inflates_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("svuprobe.tasks.data.unpack.ALWAYS_ALLOWED", 1000)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(1_000_000))
    (tmp_path / "to").mkdir()
    with pytest.raises(TaskError, match="unpack to far more than its size"):
        unpack(tmp_path / "bomb.zip", tmp_path / "to")
    assert not list((tmp_path / "to").iterdir())


def test_a_folder_with_anybody_elses_files_is_never_touched(server, tmp_path):
    archive = Archive("a.csv", (f"{server.url}/a.csv",))
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(TaskError, match=r"not empty and has no PREPARED\.json"):
        run(tmp_path, archive)
    (tmp_path / "SYNTHETIC.json").write_text("{}")
    with pytest.raises(TaskError, match="holds a synthetic copy of toy"):
        run(tmp_path, archive)
    assert not server.asked
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_a_file_put_into_a_prepared_folder_is_not_overwritten(server, tmp_path):
    server.files["a.csv"], server.errors["a.csv"] = b"theirs", [404]
    archive = Archive("a.csv", (f"{server.url}/a.csv",))
    with pytest.raises(TaskError, match="404"):
        run(tmp_path, archive)
    (tmp_path / "a.csv").write_text("mine")
    with pytest.raises(TaskError, match="is there already and never overwritten"):
        run(tmp_path, archive)
    assert (tmp_path / "a.csv").read_text() == "mine"


def test_a_broken_record_is_told(tmp_path):
    (tmp_path / "PREPARED.json").write_text("{")
    with pytest.raises(TaskError, match=r"PREPARED\.json can't be read"):
        run(tmp_path, Archive("a", ("http://127.0.0.1:9/a",)))


@pytest.mark.parametrize("name", ["gtzan", "artist20", "mir-st500"])
def test_what_may_not_be_downloaded_is_explained_in_one_line(tmp_path, name):
    with pytest.raises(TaskError) as error:
        prepare(name, tmp_path / name)
    message = str(error.value)
    assert message.startswith(f"{name} can't be downloaded for you")
    assert "https://" in message
    assert message.endswith(str(tmp_path / name))
    assert "\n" not in message
    assert not (tmp_path / name).exists()


def test_unknown_datasets_answer_with_the_close_matches(tmp_path):
    with pytest.raises(TaskError, match="unknown dataset 'vocal-set': did you mean vocalset"):
        prepare("vocal-set", tmp_path)


def test_a_full_disk_is_told_before_the_download(server, tmp_path, monkeypatch):
    server.files["a.csv"] = b"a"
    full = type("Usage", (), {"free": 0})
    monkeypatch.setattr("svuprobe.tasks.data.download.shutil.disk_usage", lambda path: full)
    with pytest.raises(TaskError, match="GB to download, and less is free"):
        run(tmp_path, Archive("a.csv", (f"{server.url}/a.csv",)))
