"""Protocols: the presets are what the papers did, a user's own is checked, the hash knows every
field.
"""

import json
from dataclasses import fields, replace
from math import inf

import numpy as np
import pytest
from click.testing import CliRunner
from planted import classes, header, planted_states, write_cache

from svuprobe import api
from svuprobe.benchmarks import suite as suites
from svuprobe.cli import main
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol
from svuprobe.probe.protocol_fields import FOREIGN, GRIDS
from svuprobe.probe.training.splits import training_clips


def test_the_hash_covers_every_field():
    changed = [
        Protocol(**{name: value})
        for name, value in {
            "name": "x", "hidden": 7, "dropout": 0.1, "standardize": False, "own_scale": 0.5,
            "start": "torch", "mix_layers": "blocks", "epoch_updates": 3, "mix_start": "normal",
            "mix_learning_rate": 0.5, "learning_rates": (1.0,), "margin": 3.0, "ties": "first",
            "single_layers": False, "select": "best", "batch_size": 3, "batch_clips": True,
            "frame_batch_size": 3, "max_epochs": 3, "patience": 3, "plateau_patience": 3,
            "plateau_factor": 0.1, "stopping": "marble", "seeds": 3, "train_fraction": 0.5,
            "shuffle_labels": True, "pooling": "mean_std", "search": "halving",
            "widen": 3,
        }.items()
    ]  # fmt: skip
    # What heads of scikit-learn have alone.
    logistic, knn = PRESETS["logistic"], PRESETS["knn"]
    changed += [
        replace(logistic, head="knn", name="other"), replace(logistic, strengths=(1.0,)),
        replace(knn, neighbours=(1.0,)), replace(knn, pca=3),
    ]  # fmt: skip
    assert len(changed) == len(Protocol.__dataclass_fields__)
    assert len({p.hash for p in [*changed, *PRESETS.values()]}) == len(changed) + len(PRESETS)


def test_results_of_before_a_field_are_still_those_of_their_protocol():
    hashes = {
        "svuprobe": "6dd176d3f697d309",
        "linear": "013cfef66f44ef7d",
        "ma2023": "fec04fe42d9581bd",
        "marble": "ca7fd67b0f3fef3b",
        "logistic": "a9d7e9fd6c296e71",
        "knn": "6877362dff2c3215",
    }
    before = {}  # as the presets were when these hashes were made
    for name, made in PRESETS.items():
        before[name] = made if made.head == "knn" else replace(made, widen=0)
    assert {name: made.hash for name, made in before.items()} == hashes
    for made in before.values():
        assert "widen" not in made.fields
        assert Protocol.read(made.fields).hash == made.hash
    assert Protocol.read(before["svuprobe"].fields) == Protocol(widen=0)
    assert {made.pooling for made in PRESETS.values()} == {"mean"}
    assert "pooling" not in Protocol().fields
    assert Protocol(pooling="mean_std").fields["pooling"] == "mean_std"
    assert {made.search for made in PRESETS.values()} == {"grid"}
    assert "search" not in Protocol().fields
    assert Protocol(search="halving").fields["search"] == "halving"
    for made in PRESETS.values():
        again = Protocol.read(json.loads(json.dumps(made.fields)))
        assert (again.hash, again.file_name) == (made.hash, made.name)
    assert Protocol.read(Protocol().fields) == Protocol()


def test_a_head_has_its_own_fields_alone():
    knn = PRESETS["knn"]
    assert not {"hidden", "learning_rates", "strengths"} & set(knn.fields)
    # There is one head, unless clips or targets are dealt to seeds.
    assert (knn.draws, knn.fields["seeds"], replace(knn, seeds=3).hash) == (1, 1, knn.hash)
    assert replace(knn, shuffle_labels=True, seeds=3).draws == 3
    for changes, said in (
        ({"widen": 1}, "widen is of head = 'network' or 'logistic'; head = 'knn' has none"),
        ({"hidden": 8}, "hidden is of head = 'network'; head = 'knn' has none"),
        ({"strengths": (1.0,)}, "strengths is of head = 'logistic'; head = 'knn' has none"),
        ({"select": "sum"}, "select = 'sum' needs weights that are learnt by gradient descent"),
        ({"pooling": "attention"}, "pooling = 'attention' is learnt by networks"),
        ({"search": "halving"}, "search is of head = 'network'; head = 'knn' has none"),
        ({"neighbours": (1.5,)}, "neighbours = 1.5; each is a whole number"),
    ):
        with pytest.raises(ProbeError, match=said):
            replace(knn, **changes)
    with pytest.raises(ProbeError, match="pca is of head = 'logistic' or 'knn'; head = 'network'"):
        Protocol(pca=4)
    with pytest.raises(ProbeError, match="select = 'mean' is of head = 'logistic' or 'knn'"):
        Protocol(select="mean")


FOREIGN_FIELDS = [(head, name) for head, names in FOREIGN.items() for name in names]


@pytest.mark.parametrize(("head", "name"), FOREIGN_FIELDS)
def test_a_field_that_a_head_has_not_is_refused_at_any_value(tmp_path, head, name):
    base = {"network": "svuprobe"}.get(head, head)
    value = getattr(PRESETS[base], name)  # the default: as if it had not been named
    said = f"{name} is of head = .*; head = '{head}' has none"
    with pytest.raises(ProbeError, match=said):
        preset(base, **{name: value})
    # JSON writes numbers, words and lists as TOML does.
    field = f"{name} = {json.dumps(value)}"
    (tmp_path / "own.toml").write_text(f'base = "{base}"\n{field}\n')
    with pytest.raises(ProbeError, match=f"own.toml: {said}"):
        preset(str(tmp_path / "own.toml"))
    suite = 'name = "x"\ntasks = ["key"]\nmodels = ["mfcc"]\n'
    suite += f'protocols = [{{{field}, base = "{base}"}}]'
    (tmp_path / "suite.toml").write_text(suite)
    with pytest.raises(ProbeError, match=f"suite.toml: {said}"):
        suites.load(str(tmp_path / "suite.toml"))


def test_the_head_that_a_field_has_to_fit_is_the_one_that_is_named_with_it(tmp_path):
    (tmp_path / "own.toml").write_text('head = "knn"\nselect = "best"\n')
    assert preset(str(tmp_path / "own.toml"), pca=0).head == "knn"
    with pytest.raises(ProbeError, match="widen is of head"):
        preset(str(tmp_path / "own.toml"), widen=2)
    assert preset("knn", head="logistic", widen=2) == replace(PRESETS["logistic"], name="knn")
    with pytest.raises(ProbeError, match="neighbours is of head = 'knn'; head = 'logistic'"):
        preset("knn", head="logistic", neighbours=(1.0,))
    for head in ("forest", 3, ["knn"]):
        with pytest.raises(ProbeError, match="head = .*; it is one of network, logistic, knn"):
            preset("knn", head=head)


@pytest.mark.parametrize("option", ["--widen 2", "--hidden 512", "--search grid"])
def test_an_option_that_a_head_has_not_is_refused_at_its_default_too(tmp_path, option):
    words = ["probe", "--features", str(tmp_path), "--results", str(tmp_path / "r")]
    done = CliRunner().invoke(main, [*words, "--protocol", "knn", *option.split()])
    assert (done.exit_code, "head = 'knn' has none" in done.output) == (1, True)
    assert isinstance(done.exception, SystemExit)


def test_presets():
    assert list(PRESETS) == ["svuprobe", "linear", "ma2023", "marble", "logistic", "knn"]
    ours, linear, ma, marble, logistic, knn = PRESETS.values()
    assert (logistic.head, logistic.select, logistic.own_scale) == ("logistic", "best", 1.0)
    assert (knn.head, knn.select, knn.own_scale) == ("knn", "best", 1.0)
    assert (ours.hidden, ours.dropout, ours.standardize, ours.mix_learning_rate) == (
        512,
        0.2,
        True,
        1e-2,
    )
    assert ours.learning_rates == (5e-4, 2e-3, 1e-2, 5e-2, 2e-1)
    assert linear.learning_rates == (3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
    # Papers have the grid that they have.
    assert [p.widen for p in (ours, linear, ma, marble, logistic)] == [2, 2, 0, 0, 2]
    assert [p.ties for p in (ours, linear, ma, marble)] == ["last"] * 2 + ["first"] * 2
    assert (ours.margin, linear.margin, ma.margin, marble.margin) == (2, 2, 0, 0)
    assert [(p.start, p.epoch_updates) for p in (ours, linear, ma, marble)] == [
        *[("zeros", 15)] * 2, *[("torch", 1)] * 2
    ]  # fmt: skip
    assert (ours.batch_size, ours.max_epochs, ours.patience, ours.seeds) == (64, 100, 10, 5)
    assert (linear.hidden, linear.seeds) == (0, 5)
    assert (ma.hidden, ma.dropout, ma.standardize, ma.mix_learning_rate, ma.learning_rates) == (
        512, 0, False, 0, (1e-3,)
    )  # fmt: skip
    assert (marble.mix_layers, marble.mix_start, marble.standardize, marble.select) == (
        "blocks", "normal", False, "best"
    )  # fmt: skip
    assert (marble.hidden, marble.dropout, marble.learning_rates) == (
        512,
        0.2,
        (5e-5, 1e-4, 5e-4, 1e-3, 5e-3, 1e-2),
    )
    assert (marble.batch_size, marble.batch_clips, marble.plateau_factor, marble.seeds) == (
        64,
        True,
        0.5,
        1,
    )


def test_marble_stops_each_task_as_its_table_says():
    marble = PRESETS["marble"]
    genre, pitch, own = (marble.for_task(name) for name in ("genre", "pitch", "my-task"))
    assert (genre.max_epochs, genre.plateau_patience, genre.patience) == (100, 7, 20)
    assert (pitch.max_epochs, pitch.plateau_patience, pitch.patience) == (50, 4, 10)
    assert own == marble
    assert PRESETS["svuprobe"].for_task("genre") == PRESETS["svuprobe"]


def test_file_names_tell_protocols_apart():
    assert preset("marble").file_name == "marble"
    names = {
        preset("linear", **changes).file_name
        for changes in (
            {}, {"seeds": 3}, {"train_fraction": 0.05}, {"train_fraction": 0.01},
            {"shuffle_labels": True}, {"train_fraction": 0.05, "shuffle_labels": True},
            {"pooling": "mean_std"}, {"select": "concat"}, {"select": "3"},
        )
    }  # fmt: skip
    assert len(names) == 9
    assert sum(name.startswith(("linear-concat-", "linear-layer3-")) for name in names) == 2
    assert preset("linear", search="halving").file_name.startswith("linear-halving-")
    assert preset("knn", pca=8).file_name.startswith("knn-pca8-")
    assert sum(name.startswith("linear-mean_std-") for name in names) == 1
    assert sum(name.startswith("linear-train0.05-shuffled-") for name in names) == 1
    assert sum("-shuffled-" in name for name in names) == 2


def test_a_protocol_of_your_own(tmp_path):
    path = tmp_path / "wide.toml"
    path.write_text('base = "linear"\nhidden = 1024\nlearning_rates = [1, 1e-3]\ndropout = 0\n')
    made = preset(str(path), seeds=2)
    assert made == Protocol(
        name="wide", hidden=1024, dropout=0.0, learning_rates=(1.0, 1e-3), seeds=2
    )
    assert made.file_name == f"wide-{made.hash[:8]}"
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())  # as editors on Windows write it
    assert preset(str(path), seeds=2) == made


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hiden = 3", "own.toml: unknown key 'hiden' of a protocol; did you mean hidden?"),
        ("seeds = 2.5", "seeds = 2.5; it is a whole number"),
        ("seeds = true", "seeds = True; it is a whole number"),
        ("dropout = 'much'", "dropout = 'much'; it is a number"),
        ("learning_rates = ['a']", "learning_rates = .'a'.; it is a number"),
        ("learning_rates = 0.1", "learning_rates = 0.1; it is a list"),
        ("select = 'sums'", "select = 'sums'; it is one of sum, best, concat, mean, or"),
        ("train_fraction = 0", "own.toml: train_fraction = 0.0; 0 < train_fraction <= 1"),
        ("base = 'linaer'", "unknown protocol 'linaer'; did you mean linear?"),
        ("name = 'a/b'", "name = 'a/b'; it is part of a file's name"),
        # A result of this name would be a hidden file, which no table reads.
        ("name = '.mine'", "name = '.mine'; it is part of a file's name"),
        ("select = 'best'\nsingle_layers = false", "set single_layers = true"),
        ("hidden =", "own.toml: not TOML"),
    ],
)
def test_mistakes_in_it_are_named(tmp_path, text, said):
    path = tmp_path / "own.toml"
    path.write_text(text)
    with pytest.raises(ProbeError, match=said):
        preset(str(path))


HEAD_OF = {"learning_rates": "network", "strengths": "logistic", "neighbours": "knn"}


@pytest.mark.parametrize("field", fields(Protocol), ids=lambda field: field.name)
def test_every_field_is_checked_for_type_and_range(field):
    numbers = [
        -1,
        float("nan"),
        float("inf"),
        float("-inf"),
        2**63,
        True,
        "3",
        None,
        1e400,
        b"x",
        [1],
        "",
    ]
    wrong = {
        "int": [*numbers, 2.5],
        "float": numbers,
        "bool": [0, 1, "yes", None],
        "str": ["", "a/b", "..\\x", 3, None, "x" * 101],
    }.get(
        str(field.type),
        [[1e-3], (), *((1e-3, number) for number in numbers), (1e-3, 1e-3), (0,), (1e-3,) * 101],
    )
    if field.name in GRIDS:
        low, high = GRIDS[field.name]
        wrong += [
            (low, number) for number in (5e-324, np.nextafter(low, 0), np.nextafter(high, inf))
        ]
        assert Protocol(head=HEAD_OF[field.name], select="best", **{field.name: (low, high)})
    for value in wrong:
        with pytest.raises(ProbeError, match=field.name):
            Protocol(**{field.name: value})


def test_unknown_protocols_answer_with_what_is_close():
    with pytest.raises(ProbeError, match="unknown protocol 'marbel'; did you mean marble"):
        preset("marbel")
    with pytest.raises(ProbeError, match="none.toml: No such file"):
        preset("none.toml")


def fractions(task, clips, shares, seed=0, **changes):
    return [
        training_clips(clips, task, Protocol(train_fraction=share, **changes), seed)
        for share in shares
    ]


def test_fractions_are_nested_and_keep_the_classes_shares(tmp_path):
    path, clips = classes(tmp_path, n_classes=5, per_class=100)
    task = api.load_task(str(path))
    train = tuple(c for c in clips if c.split == "train")
    made = fractions(task, train, (0.01, 0.05, 0.25, 1.0))
    assert [len(some) for some in made] == [5, 15, 75, 300]
    for smaller, larger in zip(made, made[1:], strict=False):
        assert set(smaller) < set(larger)
    for some in made:
        assert len({sum(c.target == f"class{n}" for c in some) for n in range(5)}) == 1
        assert list(some) == [c for c in train if c in some]
    assert fractions(task, train, (0.05,))[0] == made[1]


def test_shuffled_labels_are_the_same_labels_on_other_clips(tmp_path):
    path, clips = classes(tmp_path, n_classes=5, per_class=100)
    task = api.load_task(str(path))
    train = tuple(c for c in clips if c.split == "train")
    (dealt,) = fractions(task, train, (1.0,), shuffle_labels=True)
    assert [c.id for c in dealt] == [c.id for c in train]
    assert sorted(c.target for c in dealt) == sorted(c.target for c in train)
    same = sum(a.target == b.target for a, b in zip(train, dealt, strict=True)) / len(train)
    assert same == pytest.approx(0.2, abs=0.08)
    some, more = fractions(task, train, (0.05, 0.25), shuffle_labels=True)
    assert set(some) < set(more) < set(dealt)


def test_the_command_takes_fractions_controls_and_a_file(tmp_path):
    toml, clips = classes(tmp_path)
    write_cache(tmp_path / "f", header(api.load_task(str(toml))), planted_states(clips, layer=2))
    (tmp_path / "mine.toml").write_text(
        "hidden = 8\nlearning_rates = [1e-2]\nseeds = 1\nmax_epochs = 2\n"
    )
    folders = ("--features", str(tmp_path / "f"), "--results", str(tmp_path / "r"))
    command = ["probe", "--task", str(toml), *folders, "--protocol", str(tmp_path / "mine.toml")]
    for more in (["--train-fraction", "0.1", "--train-fraction", "1"], ["--shuffle-labels"]):
        done = CliRunner().invoke(main, [*command, *more])
        assert done.exit_code == 0, done.output
    made = sorted(path.name.rsplit("-", 1)[0] for path in (tmp_path / "r").rglob("*.json"))
    assert made == ["mine", "mine-shuffled", "mine-train0.1"]
    wrong = CliRunner().invoke(main, [*command, "--train-fraction", "2"])
    assert (wrong.exit_code, "--train-fraction" in wrong.output) == (2, True)
    (tmp_path / "mine.toml").write_text("hiden = 8")
    wrong = CliRunner().invoke(main, command)
    assert (wrong.exit_code, "did you mean hidden?" in wrong.output) == (2, True)
