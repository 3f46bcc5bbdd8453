"""Files that people write or that something spoilt: each is read or refused by one line."""

import contextlib
import json
import random
import re

import pytest
import test_own_forms as own_forms
from planted import classes, header, planted_states, write_cache

from svuprobe import api
from svuprobe._errors import UserError
from svuprobe.benchmarks import leaderboard, real_audio, suite
from svuprobe.extractors import names
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.results import result_file
from svuprobe.tasks import find_clips, is_synthetic, kinds, load
from svuprobe.tasks.synth import corpus

TIMES = 500
NUMBERS = (
    "0 1 -1 1e308 1e400 nan inf -inf NaN Infinity 9223372036854775808 1.5 true null [] {} [[]] "
    "1979-05-27"
)
TEXTS = ("", '""', '"x"', '"\\u0000"', '"../x"', '"é"', *"'\"=,#\n\r\x00\ufeff\u202e")
VALUES = (*NUMBERS.split(), *TEXTS, "x" * 5000, "[" * 3000, "9" * 5000)


def spoilt(rng, text):
    """A text in which something is changed, left out, doubled, moved, cut or of another type, as
    bytes.
    """
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        text = changed(rng, text)
    raw = text.encode("utf-8", "surrogatepass")
    if raw and rng.random() < 0.1:
        at = rng.randrange(len(raw))
        raw = raw[:at] + bytes([rng.randrange(256)]) + raw[at + 1 :]
    return raw


def changed(rng, text):
    """A text with one change."""
    words = [m.span() for m in re.finditer(r'"[^"\n]*"|[\w.+-]+|[^\w\s]', text)] or [(0, 0)]
    start, end = rng.choice(words)
    lines = text.split("\n")
    k, value = rng.randrange(len(lines)), rng.choice(VALUES)
    how = rng.randrange(10)
    if how < 2:
        return text[:start] + value + text[end:]
    if how == 2:
        return text[:start] + value + text[start:]
    if how == 3:
        return text[:start] + text[end:]
    if how == 4:
        return text[:end] + text[start:]
    if how == 5:
        return "\n".join(lines[:k] + lines[k + 1 :])
    if how == 6:
        return "\n".join(lines[: k + 1] + lines[k:])
    if how == 7:
        return "\n".join(rng.sample(lines, len(lines)))
    if how == 8:
        return text[:start]
    return text[: start + 1] + chr(rng.randrange(256)) + text[start + 2 :]


def through(path, use, times=TIMES):
    """Use every spoilt copy of a file: a UserError on one line, or none."""
    text, refused = path.read_text(encoding="utf-8"), 0
    use()
    for seed in range(times):
        path.write_bytes(spoilt(random.Random(f"{path.name} {seed}"), text))
        try:
            use()
        except UserError:
            refused += 1
        except Exception as error:
            raise AssertionError(f"seed {seed}: {path.read_bytes()[:2000]!r}") from error
    assert times // 10 < refused < times  # else nothing was spoilt, or everything
    path.write_text(text, encoding="utf-8")


KINDS = {
    "multiclass": ["a", "b", "c"],
    "multilabel": ["a|b", "b", "a"],
    "regression": ["0.5", "-1", "2.25"],
    "key": ["C major", "A minor", "F# minor"],
}


def own(tmp_path, kind):
    splits = ("train", "train", "valid", "test")
    rows = [
        f"audio/{n}.wav,{KINDS[kind][n % 3]},{splits[n % 4]},g{n},{n}.5,{n + 2}" for n in range(12)
    ]
    (tmp_path / "own.csv").write_text(
        "\n".join(["path,target,split,group,start,end", *rows]) + "\n"
    )
    (tmp_path / "own.toml").write_text(
        f'name = "own"\nkind = "{kind}"\nmetadata = "own.csv"\nwindow_s = 5.0\n'
        'dataset = "mine"\nlicence = "none"\nsplit_seed = 3\n'
    )
    return tmp_path / "own.toml"


@pytest.mark.parametrize("suffix", [".toml", ".csv"])
@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_a_task_and_its_table(tmp_path, kind, suffix):
    toml = own(tmp_path, kind)

    def use():
        task = load(str(toml))
        find_clips(task, tmp_path)

    through(toml.with_suffix(suffix), use, TIMES // 2)


def own_in(tmp_path, form):
    """A name of own data in some form, and the file of it that is spoilt."""
    (tmp_path / "digits").mkdir()
    if form == "HEAR":
        return own_forms.hear(tmp_path / "digits"), tmp_path / "digits" / "task_metadata.json"
    if form == "Hugging Face":
        name = own_forms.hugging_face(tmp_path / "digits", own_forms.as_csv)
        return name, tmp_path / "digits" / "metadata.csv"
    write = {"list.jsonl": own_forms.as_json_lines, "list.json": own_forms.as_json_array}[form]
    return own_forms.listed(tmp_path, write, form), tmp_path / form


@pytest.mark.parametrize("form", ["HEAR", "Hugging Face", "list.jsonl", "list.json"])
def test_own_data_in_other_forms(tmp_path, form):
    name, path = own_in(tmp_path, form)
    through(path, lambda: find_clips(load(name), tmp_path), TIMES // 10)


@pytest.mark.parametrize("namespace", ["note_midi", "pitch_contour"])
def test_an_annotation(tmp_path, namespace):
    value = 60 if namespace == "note_midi" else {"voiced": True, "frequency": 220.0}
    path = own_forms.jams(tmp_path / "a.jams", (namespace, [own_forms.observation(1, value, 0.5)]))
    kind = kinds.named("notes" if namespace == "note_midi" else "melody")
    through(path, lambda: kind.events(path), TIMES // 10)


def test_a_protocol(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'base = "svuprobe"\nname = "mine"\nhidden = 64\ndropout = 0.25\n'
        "learning_rates = [1e-4, 1e-3]\nseeds = 3\n"
        'max_epochs = 20\nselect = "sum"\nsingle_layers = false\ntrain_fraction = 0.5\n'
    )
    through(path, lambda: (preset(str(path)).hash, preset(str(path)).file_name))


def test_a_suite(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ndescription = "What it is."\nprepare = "synth"\nmodels = ["mert-v1-95m"]\n'
        'controls = ["logmel", "random:wav2vec2-tiny"]\ntasks = ["technique", "singer"]\n'
        'protocols = ["svuprobe", {base = "linear", seeds = 1}]\n'
        '[task_protocols]\nsinger = ["linear"]\n[synth_clips]\nsinger = 12\n'
    )

    def use():
        plan = suite.load(str(path))
        for model in plan.all_models:
            names.canonical(model)
        for task in plan.tasks:
            load(task)
            plan.protocols_of(task)

    through(path, use)


@pytest.fixture(scope="module")
def probed(tmp_path_factory):
    """A result of two seeds and three layers."""
    folder = tmp_path_factory.mktemp("probed")
    toml, clips = classes(folder)
    write_cache(
        folder / "f",
        header(api.load_task(str(toml)), layers=3),
        planted_states(clips, layer=1, layers=3),
    )
    quick = preset("linear", learning_rates=(1e-2,), seeds=2, max_epochs=2)
    (one,) = api.probe([str(toml)], features=folder / "f", results=folder / "r", protocol=quick)
    return one.path


def test_a_result(probed):
    def use():
        result_file.load(probed)

    through(probed, use, 150)

    def table():
        with contextlib.suppress(UserError):  # named, or shown
            result_file.load(probed)
            leaderboard.files(probed.parents[2], probed.parents[2] / "leaderboard.md")
        result_file.load(probed)

    through(probed, table, TIMES - 150)


def test_a_manifest_of_recordings(tmp_path):
    rows = ["path,labels"]
    for n, speaker in enumerate(("jackson", "nicolas", "theo", "yweweler")):
        labels = json.dumps({"speaker": speaker, "digit": str(n)}).replace('"', '""')
        rows.append(f'spoken_digits/{n}.wav,"{labels}"')
    for n in range(4):
        rows.append(f'nsynthlike/flute_00{n % 3}-060-100.wav,"{{""family"": ""flute""}}"')
        rows.append(f'nsynth/audio/bass_00{n}-060-100.flac,"{{""family"": ""bass""}}"')
        rows.append(f'singing_songs/{n}.wav,"{{""notes"": ""singing_songs/{n}.csv""}}"')
    path = tmp_path / "manifest.csv"
    path.write_text("\n".join(rows) + "\n")
    through(path, lambda: real_audio.write(path, tmp_path / "out"), TIMES // 2)


def test_a_marker_of_synthetic_data(tmp_path):
    head = corpus.new_header("toy", 0, 5, default=5, high=9)
    corpus.begin(tmp_path, head)
    corpus.finish(tmp_path, head, {}, [])

    def use():
        is_synthetic(tmp_path)
        corpus.begin(tmp_path, head)

    through(tmp_path / corpus.MARKER, use)
