"""Caches in an object store: what a reader elsewhere sees is whole, and what was uploaded is never
made again.

Most of it is seen in a store in memory. What rests on S3 itself is seen in moto's server of it, in
this process, reached through s3fs as any other.
"""

import logging
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

import svuprobe
from svuprobe import api, cli
from svuprobe._errors import OptionError
from svuprobe._progress import Reporter
from svuprobe.extractors import writer
from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.store import objects, remote, transfer
from svuprobe.extractors.store.address import local_copy, split
from svuprobe.extractors.store.opening import place_of

OPTIONS = api.RunOptions(device="cpu", jobs=0)
# 70 clips are three shards.
SHARDS = [f"shard-{n:05d}.h5" for n in range(3)]
PROTOCOL = api.Protocol(seeds=1, max_epochs=2, learning_rates=(1e-2,))


@pytest.fixture(scope="module")
def server():
    """An empty S3 of our own, and the environment that leads there."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    s3 = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    s3.start()
    host, port = s3.get_host_and_port()
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
        patched.setenv("AWS_ACCESS_KEY_ID", "nobody")
        patched.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
        patched.setenv("AWS_DEFAULT_REGION", "us-east-1")
        # Of a machine in a cloud it asks nothing.
        patched.setenv("AWS_EC2_METADATA_DISABLED", "true")
        yield
    s3.stop()


@pytest.fixture
def address(tmp_path):
    """A folder in a store in memory."""
    return f"memory://{tmp_path.name}/features"


@pytest.fixture
def in_s3(server, tmp_path):
    """A folder in a bucket of the test's own."""
    bucket = f"of-{abs(hash(tmp_path))}"
    filesystem("s3://").mkdir(bucket)
    return f"s3://{bucket}/features"


def filesystem(address):
    import fsspec

    return fsspec.filesystem(address.partition("://")[0], use_listings_cache=False)


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Go to a machine, which has a local copy of its own; say where that is."""

    def go_to(name):
        monkeypatch.setenv("SVUPROBE_STORE_CACHE", str(tmp_path / name))
        return tmp_path / name

    go_to("first")
    return go_to


@pytest.fixture(scope="module")
def task(tmp_path_factory):
    """Seventy recordings of two classes, low and high noise."""
    folder = tmp_path_factory.mktemp("recordings")
    rng = np.random.default_rng(0)
    for n in range(70):
        kind = ("high", "low")[n % 2]
        audio = 0.1 * rng.normal(size=4000 + 10 * n)
        audio = np.diff(audio) if kind == "high" else np.cumsum(audio) / 20
        (folder / kind).mkdir(exist_ok=True)
        soundfile.write(folder / kind / f"{n}.wav", audio, 16000)
    return f"folder:{folder}"


@pytest.fixture(scope="module")
def folder(task, tmp_path_factory):
    """Features of logmel on it, in a folder."""
    features = tmp_path_factory.mktemp("features")
    api.extract([task], ["logmel"], data=".", features=features, options=OPTIONS)
    return features


def extract(task, features, models=("logmel",), **changes):
    options = api.RunOptions(**{"device": "cpu", "jobs": 0} | changes)
    return api.extract([task], models, data=".", features=features, options=options)


def probe(task, features, results, models=("logmel",)):
    return api.probe(
        [task], models, features=features, results=results, protocol=PROTOCOL, options=OPTIONS
    )


def cache_of(features):
    (index,) = Path(features).rglob("features.h5")
    return index.parent


def stored(address):
    """What is in a store, by its place below the address."""
    there = filesystem(address)
    root = there._strip_protocol(address)
    return {path.removeprefix(f"{root}/"): there.cat_file(path) for path in there.find(root)}


def on_disk(features):
    return {
        path.relative_to(features).as_posix(): path.read_bytes()
        for path in Path(features).rglob("*")
        if path.is_file()
    }


def of_caches(files):
    """Files of caches alone, without how fast these were filled."""
    return {
        name: content
        for name, content in files.items()
        if "@" in name and not name.endswith("speed.json")
    }


def command(*words):
    """Run the command line; return its exit code and its last line."""
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output.strip().splitlines()[-1]


def test_a_store_holds_the_bytes_of_a_folder_and_gives_the_same_results(
    task, folder, in_s3, machine, tmp_path
):
    extract(task, in_s3)
    assert of_caches(stored(in_s3)) == of_caches(on_disk(folder))
    there = machine("second")
    (mine,) = probe(task, in_s3, tmp_path / "from store")
    assert of_caches(on_disk(next(there.iterdir()))) == of_caches(on_disk(folder))
    (theirs,) = probe(task, folder, tmp_path / "from folder")
    assert mine.result.scores == theirs.result.scores
    assert mine.result.identity == theirs.result.identity
    for ending in (".npz", ".safetensors"):
        pair = [each.path.with_suffix(ending).read_bytes() for each in (mine, theirs)]
        assert pair[0] == pair[1]
    # All of what is read after that is here, and nothing is fetched again.
    with api.load_features(in_s3, mine.result.task.name, "logmel") as features:
        assert len(features) == 70
    name = cache_of(folder).relative_to(folder).as_posix()
    with api.load_features(f"{in_s3}/{name}") as features:
        assert len(features) == 70


def test_only_what_is_asked_for_travels_and_only_once(
    task, address, machine, tmp_path, monkeypatch
):
    extract(task, address, ["logmel", "mfcc"])
    there = machine("second")
    fetched = []
    get = objects.Objects.get
    monkeypatch.setattr(
        objects.Objects,
        "get",
        lambda self, name, path: fetched.append(name) or get(self, name, path),
    )
    probe(task, address, tmp_path / "results")
    shards = [name for name in fetched if "shard-" in name]
    assert len(shards) == 3
    assert all(name.startswith("logmel@") for name in shards)
    assert not list(there.glob("*/mfcc@*/*/shard-*"))
    fetched.clear()
    probe(task, address, tmp_path / "results")
    api.load_features(address, Path(task).name, "logmel").close()
    assert fetched == []


def test_an_extraction_that_was_killed_goes_on_elsewhere(
    task, folder, address, machine, monkeypatch
):
    """Killed between a shard and its checksum: the shard is there, and nobody was told of it."""
    put = objects.Objects.put

    def killed(self, path, name):
        if name.endswith("shard-00001.h5.sha256"):
            raise KeyboardInterrupt
        put(self, path, name)

    monkeypatch.setattr(objects.Objects, "put", killed)
    with pytest.raises(KeyboardInterrupt):
        extract(task, address)
    monkeypatch.undo()
    names = {name.rpartition("/")[2] for name in stored(address)}
    assert {SHARDS[0], f"{SHARDS[0]}.sha256", SHARDS[1]} <= names
    assert not {f"{SHARDS[1]}.sha256", SHARDS[2], "features.h5"} & names
    machine("second")
    with pytest.raises(api.ProbeError, match="no features"):
        probe(task, address, "results")
    (report,) = extract(task, address)
    assert (report.cached, report.done) == (64, 6)
    assert of_caches(stored(address)) == of_caches(on_disk(folder))


def test_what_an_interrupted_upload_left_here_is_uploaded_next_time(
    task, folder, address, machine, monkeypatch
):
    create = objects.Objects.create

    def refused(self, path, name):
        if name.endswith(SHARDS[1]):
            raise ExtractError("the network is gone")
        return create(self, path, name)

    monkeypatch.setattr(objects.Objects, "create", refused)
    with pytest.raises(ExtractError, match="the network is gone"):
        extract(task, address)
    monkeypatch.setattr(objects.Objects, "create", create)
    (report,) = extract(task, address)
    assert report.done == 6  # the second was finished here, and is not made again
    assert of_caches(stored(address)) == of_caches(on_disk(folder))


@pytest.mark.parametrize("announced", [True, False], ids=["with checksums", "killed before them"])
def test_of_two_machines_that_make_the_same_shard_the_first_is_kept(
    task, in_s3, machine, monkeypatch, announced, tmp_path
):
    extract(task, in_s3)
    first = of_caches(stored(in_s3))
    if not announced:
        for name in first:
            if "shard-" in name and name.endswith(".sha256"):
                filesystem(in_s3).rm_file(f"{in_s3}/{name}")
    there = machine("second")
    # It began at the same moment, and so saw nothing of the other; its bytes are other ones.
    monkeypatch.setattr(remote.LocalCopy, "fetch_shards", lambda *_: None)
    monkeypatch.setattr(remote.LocalCopy, "fetch_shard", lambda *_: None)
    monkeypatch.setattr(writer, "versions", lambda: {"python": "another"})
    (report,) = extract(task, in_s3)
    assert report.done == 70
    assert of_caches(stored(in_s3)) == first
    assert of_caches(on_disk(next(there.iterdir()))) == first
    monkeypatch.undo()
    assert api.cache_verify(in_s3) == []


def test_a_damaged_shard_that_nobody_announced_is_replaced(
    task, folder, address, machine, monkeypatch
):
    """Half of a file, as a store leaves it that shows what was begun."""
    name = cache_of(folder).relative_to(folder).as_posix()
    whole = (folder / name / SHARDS[0]).read_bytes()
    filesystem(address).pipe_file(f"{address}/{name}/{SHARDS[0]}", whole[: len(whole) // 2])
    extract(task, address)
    assert of_caches(stored(address)) == of_caches(on_disk(folder))


def test_parts_share_the_work_and_the_last_one_joins(task, folder, address, machine):
    lines = []
    there = machine("one")
    (report,) = extract(task, address, shard=(1, 2), reporter=Reporter(lines.append))
    assert (report.done, report.elsewhere) == (38, 32)
    assert any("1 of its shards are not there yet" in line for line in lines)
    assert not any(name.endswith("features.h5") for name in stored(address))
    # What others do stays where it is.
    assert {path.name for path in there.rglob("shard-*.h5")} == {SHARDS[0], SHARDS[2]}
    machine("other")
    (report,) = extract(task, address, shard=(2, 2))
    assert (report.done, report.elsewhere) == (32, 38)
    assert of_caches(stored(address)) == of_caches(on_disk(folder))
    # A part that finds all joined fetches nothing of the others.
    there = machine("third")
    (report,) = extract(task, address, shard=(1, 2))
    assert (report.done, report.cached, report.elsewhere) == (0, 38, 32)
    assert len(list(there.rglob("shard-*.h5"))) == 2


def test_two_machines_that_plan_other_clips_agree_on_one_plan(
    task, address, machine, tmp_path, monkeypatch
):
    """The second plans before it can see the plan of the first."""
    fewer = tmp_path / "fewer"
    shutil.copytree(task.removeprefix("folder:"), fewer / Path(task).name)
    for path in sorted((fewer / Path(task).name).rglob("*.wav"))[:20]:
        path.unlink()
    extract(f"folder:{fewer / Path(task).name}", address)
    machine("second")
    monkeypatch.setattr(remote.LocalCopy, "fetch_plans", lambda *_: None)
    monkeypatch.setattr(remote.LocalCopy, "fetch_shards", lambda *_: None)
    extract(task, address)
    (info,) = api.cache_list(address)
    assert (info.clips, info.missing, info.state) == (70, 0, "complete")
    assert api.cache_verify(address) == []


def test_shards_of_changed_audio_are_replaced_in_the_store_too(task, address, machine, tmp_path):
    mine = tmp_path / "mine" / Path(task).name
    shutil.copytree(task.removeprefix("folder:"), mine)
    extract(f"folder:{mine}", address)
    before = of_caches(stored(address))
    audio, rate = soundfile.read(mine / "high" / "0.wav")
    soundfile.write(mine / "high" / "0.wav", audio / 2, rate)
    machine("second")
    with pytest.raises(ExtractError, match="other audio|replace-changed"):
        extract(f"folder:{mine}", address)
    assert of_caches(stored(address)) == before
    (report,) = extract(f"folder:{mine}", address, replace_changed=True)
    after = of_caches(stored(address))
    assert report.done == 32 or report.done == 6
    assert sum(before[name] != after[name] for name in before if name.endswith(".h5")) == 2
    # Where the old one lies still it is replaced as well.
    machine("first")
    extract(f"folder:{mine}", address)
    assert of_caches(stored(address)) == after
    assert api.cache_verify(address) == []


@pytest.mark.parametrize("harm", ["flipped", "deleted", "other index"])
def test_a_harmed_object_is_one_line_and_is_repaired(
    task, folder, address, machine, tmp_path, harm
):
    extract(task, address)
    good = of_caches(stored(address))
    name = next(name for name in good if name.endswith(SHARDS[1]))
    index = f"{name.rpartition('/')[0]}/features.h5"
    if harm == "deleted":
        filesystem(address).rm_file(f"{address}/{name}")
    elif harm == "other index":  # of two that joined at a time, one was killed
        filesystem(address).pipe_file(f"{address}/{index}", good[index][:-1] + b"?")
    else:
        content = bytearray(good[name])
        content[len(content) // 2] ^= 1
        filesystem(address).pipe_file(f"{address}/{name}", bytes(content))
    machine("second")
    probing = ("probe", "--task", Path(task).name, "--features", address)
    options = ("--results", tmp_path / "r", "--seeds", 1, "--max-epochs", 1)
    code, line = command(*probing, *options)
    assert code == 1
    harmed = index if harm == "other index" else name
    assert line.startswith(f"Error: {address}/{harmed}: ")
    assert "svuprobe extract again" in line
    if harm == "flipped":
        code, line = command("cache", "verify", address)
        assert (code, "1 damaged" in line) == (1, True)
        assert of_caches(stored(address)).keys() == good.keys()
        assert command("cache", "verify", address, "--remove")[0] == 1
        assert name not in stored(address)
    (report,) = extract(task, address)
    assert report.done == (0 if harm == "other index" else 32)
    assert of_caches(stored(address)) == good
    assert command(*probing, *options)[0] == 0


def test_a_model_is_deleted_in_the_store_only_after_a_word(task, address, machine):
    here = machine("first")
    extract(task, address, ["logmel", "mfcc"])
    code, line = command("cache", "prune", address, "--model", "mfcc")
    assert (code, "--yes" in line) == (1, True)
    assert any(name.startswith("mfcc@") for name in stored(address))
    stale = "logmel@v1/gone/shard-00007.h5.sha256"
    filesystem(address).pipe_file(f"{address}/{stale}", b"0")
    assert command("cache", "prune", address)[0] == 0
    assert stale not in stored(address)
    assert command("cache", "prune", address, "--model", "mfcc", "--yes")[0] == 0
    assert not any(name.startswith("mfcc@") for name in stored(address))
    assert not list(here.glob("*/mfcc@*"))
    assert [info.model for info in api.cache_list(address)] == ["logmel"]
    code, line = command("cache", "prune", address, "--model", "mfcc", "--yes")
    assert (code, "no cache of mfcc" in line) == (1, True)
    assert api.cache_prune(address, model="logmel") > 0
    assert api.cache_list(address) == []


def test_what_was_deleted_elsewhere_is_not_found_here(task, address, machine, tmp_path):
    extract(task, address, ["logmel", "mfcc"])
    machine("second")
    api.cache_prune(address, model="logmel")
    machine("first")
    probed = probe(task, address, tmp_path / "results", models=())
    assert [each.result.model.name for each in probed] == ["mfcc"]


def test_a_list_of_clips_is_of_the_time_when_it_was_uploaded(task, in_s3, machine):
    extract(task, in_s3)
    s3 = filesystem(in_s3)
    (path,) = s3.find(f"{in_s3}/tasks")
    there = machine("second")
    place_of(in_s3).fetch_lists()
    (copy,) = there.rglob("tasks/*.json")
    assert copy.read_bytes() == s3.cat_file(path)
    assert copy.stat().st_mtime == s3.info(path)["LastModified"].timestamp()
    s3.rm_file(path)
    place_of(in_s3).fetch_lists()
    assert not copy.exists()


def test_a_list_of_caches_fetches_no_features(task, folder, address, machine, monkeypatch):
    extract(task, address)
    there = machine("second")
    (info,) = api.cache_list(address)
    (local,) = api.cache_list(folder)
    assert info.directory == f"{address}/{cache_of(folder).relative_to(folder).as_posix()}"
    for name in ("model", "revision", "dataset", "clips", "missing", "state"):
        assert getattr(info, name) == getattr(local, name)
    assert info.hours == pytest.approx(local.hours)
    assert abs(info.size - local.size) < 100  # the digits of times
    assert not list(there.rglob("shard-*"))
    (of_model,) = api.cache_list(f"{address}/{cache_of(folder).parent.name}")
    assert of_model == info


@pytest.mark.parametrize(
    ("features", "said"),
    [
        ("s3://no-such-bucket/f", "make the bucket, or mend the address"),
        ("s3://", "one is s3://BUCKET/FOLDER"),
        ("s3:/bucket/f", "give an address of a store as text"),
        ("file:///tmp/f", "a folder of this machine; give it as /tmp/f"),
        ("nonsense://b/f", "Protocol not known"),
        ("memory://b//f", "names that are not empty"),
        ("memory://b/../f", "names that are not empty"),
        ("s3://bucket/f?versionId=1", "without ? and #"),
    ],
)
def test_an_address_that_is_none_is_one_line(server, machine, features, said, tmp_path):
    for words in (
        ("extract", "--model", "logmel", "--task", "starter-digits", "--features", features),
        ("probe", "--features", features, "--results", tmp_path),
        ("cache", "list", features),
        ("plot", "map", "--task", "starter-digits", "--features", features),
    ):
        if words[0] == "cache" and features == "s3:/bucket/f":
            continue  # of a folder that is not there it says so
        code, line = command(*words)
        assert code == 1
        assert line.startswith(f"Error: {features}"), line
        assert said in line


def test_only_features_may_be_in_a_store(task, folder):
    with pytest.raises(OptionError, match="only features"):
        probe(task, folder, "s3://b/x")
    for words in (
        ("probe", "--results", "s3://b/r"),
        ("extract", "--model", "logmel", "--task", "genre", "--data", "s3://b/d"),
        ("run", "starter", "--out", "s3://b/o"),
        ("leaderboard", "--out", "s3://b/board.md"),
        ("plot", "scores", "--out", "s3://b/plots"),
        ("plot", "map", "--task", "genre", "--model", "logmel", "--out", "s3://b/map.png"),
        ("export", "--format", "csv", "--out", "s3://b/r.csv"),
        ("embed", "song.wav", "--model", "logmel", "--out", "file:///b/song.npz"),
        ("predict", "--run", __file__, "--audio", "song.wav", "--out", "s3://b/p"),
        ("report", "--out", "s3://b/report"),
    ):
        code, line = command(*words)
        assert (code, "only features may be in a store" in line) == (2, True), words


def test_in_python_too_nothing_is_written_to_an_address(folder, tmp_path, monkeypatch):
    """A path would make of it folders called ``s3:`` here."""
    monkeypatch.chdir(tmp_path)
    away = "s3://b/x"
    for call in (
        lambda: svuprobe.leaderboard(folder, away),
        lambda: svuprobe.export("csv", folder, away),
        lambda: svuprobe.plot("scores", folder, away),
        lambda: svuprobe.report(folder, away),
        lambda: svuprobe.embed("logmel", ["song.wav"], away),
        lambda: list(svuprobe.save_predictions([], away)),
    ):
        with pytest.raises(OptionError, match="only features"):
            call()
    assert not list(tmp_path.glob("s3*"))


def test_without_credentials_or_package_it_is_said_what_to_do(
    server, machine, monkeypatch, tmp_path
):
    import fsspec

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    code, line = command("cache", "list", "s3://bucket/f")
    assert (code, "log in to the store" in line) == (1, True)
    fsspec.get_filesystem_class("s3").clear_instance_cache()

    def missing(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    code, line = command("cache", "list", "s3://bucket/f")
    assert (code, "pip install 's3fs" in line) == (1, True)


def test_a_disk_without_room_for_the_local_copy_is_said_before_anything_travels(
    task, address, machine, monkeypatch, tmp_path
):
    extract(task, address)
    there = machine("second")
    place_of(address).fetch_lists()
    monkeypatch.setattr(transfer.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(api.PartlyDone, match="SVUPROBE_STORE_CACHE"):
        probe(task, address, tmp_path / "results")
    assert not list(there.rglob("shard-*"))


def test_a_disk_that_fills_while_it_is_fetched_leaves_nothing_half(
    task, in_s3, machine, monkeypatch, tmp_path
):
    extract(task, in_s3)
    there = machine("second")

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(filesystem(in_s3), "get_file", full)
    code, line = command("probe", "--features", in_s3, "--results", tmp_path / "r")
    assert code == 1
    assert "No space left on device" in line
    assert "free some space" in line
    assert not [path for path in there.rglob("*") if ".tmp-" in path.name]


def test_a_mistake_of_the_program_keeps_its_traceback(server, address, machine, monkeypatch):
    place = place_of(address)
    monkeypatch.setattr(place.objects, "_fs", None)
    with pytest.raises(AttributeError):
        place.fetch_lists()


def test_an_address_is_split_where_a_model_begins():
    assert split("s3://b/f") == ("s3://b/f", "")
    assert split("s3://b/f/logmel@v1/") == ("s3://b/f", "logmel@v1")
    assert split("s3://b/f/logmel@v1/gtzan-5s-clip") == ("s3://b/f", "logmel@v1/gtzan-5s-clip")
    assert split("s3://me@home.org/f") == ("s3://me@home.org/f", "")


def test_a_folder_of_caches_may_be_named_as_a_model_is(task, folder, machine, tmp_path):
    home = f"memory://{tmp_path.name}/me@home"
    for address in (home, f"{home}/mine"):
        extract(task, address)
        code, line = command("cache", "verify", address)
        assert code == 0, line
        (of_all,) = api.cache_list(address)
        (of_model,) = api.cache_list(f"{address}/logmel@v1")
        assert of_all == of_model


def test_local_copies_of_two_stores_are_two_folders(monkeypatch, tmp_path):
    monkeypatch.delenv("SVUPROBE_STORE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    copies = {local_copy(a) for a in ("s3://b/a-b", "s3://b/a/b", "gs://b/a/b")}
    assert len(copies) == 3
    assert {copy.parent for copy in copies} == {tmp_path / "svuprobe" / "stores"}


def test_a_folder_needs_nothing_of_a_store(task, tmp_path, monkeypatch):
    """Whatever is done with a folder, no library of stores is imported."""
    for name in ("fsspec", "s3fs"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("manage", "objects", "remote", "transfer"):
        monkeypatch.setitem(sys.modules, f"svuprobe.extractors.store.{name}", None)
    extract(task, tmp_path / "features")
    assert len(probe(task, tmp_path / "features", tmp_path / "results")) == 1
    assert len(api.cache_list(tmp_path / "features")) == 1
    assert api.cache_verify(tmp_path / "features") == []
    assert api.cache_prune(tmp_path / "features", model="logmel") > 0
    with pytest.raises(ImportError):  # (as it would be noticed)
        place_of("s3://bucket/features")


def test_a_store_that_does_not_answer_is_said_while_it_is_waited_for(address, monkeypatch):
    """Libraries of stores ask again for minutes, and nobody would know why nothing happens."""
    monkeypatch.setattr(objects, "_LONG_S", 0.02)
    said = []
    store = objects.Objects(address, Reporter(said.append))
    store.write("text", "a")
    assert said == []
    answer = store._fs.cat_file

    def slow(path):
        time.sleep(0.3)
        return answer(path)

    monkeypatch.setattr(store._fs, "cat_file", slow)
    assert store.read(["a", "a"])["a"] == b"text"
    assert said[0] == f"{address}/a: on its way for 0 s; waiting for the store"
