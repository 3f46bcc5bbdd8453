"""An option that can't have an effect is refused in one line that names it and says what to do."""

from dataclasses import replace

import pytest
from click.testing import CliRunner

import svuprobe
from svuprobe import cli
from svuprobe.api.arguments import probe_protocol
from svuprobe.pretrain.presets import PRESETS as RECIPES
from svuprobe.pretrain.recipe import PretrainError
from svuprobe.probe.asked_protocol import preset
from svuprobe.probe.finetune.protocol import preset as finetune_preset
from svuprobe.probe.protocol import PRESETS, ProbeError, Protocol
from svuprobe.probe.protocol_fields import FOREIGN

# What is asked of which preset, and the field that is said to change nothing.
IDLE = [
    ("logistic", {"seeds": 5}, "seeds"),
    ("knn", {"seeds": 2}, "seeds"),
    ("marble", {"max_epochs": 3}, "max_epochs"),
    ("marble", {"max_epochs": 100}, "max_epochs"),
    ("marble", {"patience": 3}, "patience"),
    ("ma2023", {"plateau_patience": 2}, "plateau_patience"),
    ("ma2023", {"own_scale": 0.5}, "own_scale"),
    ("ma2023", {"widen": 2}, "widen"),
    ("ma2023", {"margin": 1.0}, "margin"),
    ("linear", {"dropout": 0.2}, "dropout"),
    ("linear", {"search": "halving", "learning_rates": (1e-2,)}, "search"),
    ("linear", {"search": "halving", "max_epochs": 7}, "search"),
    ("logistic", {"widen": 1, "strengths": (1.0,)}, "widen"),
    ("knn", {"margin": 1.0, "neighbours": (5.0,)}, "margin"),
]


@pytest.mark.parametrize(("name", "changes", "field"), IDLE)
def test_a_field_of_a_protocol_that_cannot_act_is_refused(name, changes, field):
    with pytest.raises(ProbeError, match=f"^{field} = .* changes nothing: "):
        preset(name, **changes)


ACTING = [
    ("logistic", {"seeds": 5, "train_fraction": 0.5}),
    ("knn", {"seeds": 5, "shuffle_labels": True}),
    ("knn", {"seeds": 1}),
    ("marble", {"max_epochs": 3, "stopping": "own"}),
    ("ma2023", {"plateau_patience": 2, "plateau_factor": 0.5}),
    ("linear", {"dropout": 0.2, "hidden": 8}),
    ("linear", {"hidden": 0}),
    ("linear", {"search": "halving", "max_epochs": 8}),
    ("linear", {"learning_rates": (1e-2,)}),
    ("linear", {"learning_rates": (1e-2,), "widen": 0}),
]


@pytest.mark.parametrize(("name", "changes"), ACTING)
def test_a_field_that_acts_beside_the_others_is_taken(name, changes):
    made = preset(name, **changes)
    assert {field: getattr(made, field) for field in changes} == changes


@pytest.mark.parametrize("base", PRESETS)
@pytest.mark.parametrize("head", ["network", "logistic", "knn"])
def test_another_head_leaves_what_only_the_presets_head_has(tmp_path, base, head):
    select = "sum" if head == "network" else "best"
    (tmp_path / "mine.toml").write_text(f'base = "{base}"\nhead = "{head}"\nselect = "{select}"\n')
    made = preset(str(tmp_path / "mine.toml"))
    assert (made.head, made.select) == (head, select)
    if head != PRESETS[base].head:
        assert all(getattr(made, f) == getattr(Protocol(), f) for f in FOREIGN[head])
    # What was written is refused as ever.
    with (tmp_path / "mine.toml").open("a") as file:
        file.write("pca = 4\n" if head == "network" else "hidden = 0\n")
    with pytest.raises(ProbeError, match="has none"):
        preset(str(tmp_path / "mine.toml"))


def test_a_file_and_python_are_held_to_the_same(tmp_path):
    (tmp_path / "mine.toml").write_text('base = "marble"\nmax_epochs = 3\n')
    with pytest.raises(ProbeError, match=r'mine\.toml: max_epochs = 3.*stopping = "own"'):
        preset(str(tmp_path / "mine.toml"))
    (tmp_path / "own.toml").write_text('base = "marble"\nstopping = "own"\nmax_epochs = 3\n')
    assert preset(str(tmp_path / "own.toml")).max_epochs == 3
    for made in (
        Protocol(head="knn", select="best", seeds=3),
        replace(PRESETS["marble"], patience=2),
    ):
        with pytest.raises(ProbeError, match="changes nothing"):
            probe_protocol(made)
    for made in PRESETS.values():
        assert probe_protocol(made) == made


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("yamamoto2023", {"epochs": 0, "encoder_learning_rate": 1e-4}, "encoder_learning_rate"),
        ("yamamoto2023", {"epochs": 0, "spec_augment": True}, "spec_augment"),
        ("yamamoto2023", {"hidden": 0, "dropout": 0.1}, "dropout"),
        ("released-code", {"mix_learning_rate": 1e-2}, "mix_learning_rate"),
    ],
)
def test_so_is_one_of_fine_tuning(name, changes, field):
    with pytest.raises(ProbeError, match=f"^{field} = .* changes nothing: "):
        finetune_preset(name, **changes)


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("music2vec", {"temperature": 0.2}, "temperature"),
        ("music2vec", {"targets": ["mfcc39:5"]}, "targets"),
        ("musichubert", {"top_layers": 3}, "top_layers"),
        ("musichubert", {"hold": 0.1}, "hold"),
        ("musichubert", {"teacher": "hf:m"}, "teacher"),
        ("small", {"label_dim": 8}, "label_dim"),
        ("small", {"mix_least_db": 1.0}, "mix_least_db"),
        ("small", {"feature_penalty": 1.0}, "feature_penalty"),
    ],
)
def test_so_is_one_of_a_recipe(name, changes, field):
    with pytest.raises(PretrainError, match=f"^{field} = .* changes nothing: "):
        RECIPES[name].changed(changes)


HANDMADE = ("extract", "--task", "starter-digits", "--model", "logmel")
TUNED = ("finetune", "--task", "technique")
COMMANDS = [
    ((*HANDMADE, "--dtype", "bfloat16"), "--dtype bfloat16 changes nothing in logmel"),
    ((*HANDMADE, "--compile"), "--compile changes nothing in logmel"),
    ((*HANDMADE, "--jobs", "0", "--decode-timeout", "5"), "--decode-timeout changes nothing"),
    ((*HANDMADE, "--data", "vocalst=x"), "no dataset 'vocalst'; did you mean vocalset"),
    ((*HANDMADE, "--data", "vocalset=x"), "of none of the tasks; they are on starter"),
    (("probe", "--protocol", "knn", "--dtype", "float32"), "--dtype float32 changes nothing"),
    (("probe", "--protocol", "logistic", "--seeds", "5"), "seeds = 5 changes nothing"),
    ((*TUNED, "--model", "crnn", "--preset", "released-code"), "--preset changes nothing"),
    ((*TUNED, "--model", "crnn", "--gradient-checkpointing"), "changes nothing in baseline crnn"),
    ((*TUNED, "--model", "crnn", "--one-stage"), "frozen_epochs changes nothing"),
    (
        (*TUNED, "--model", "wav2vec2-base", "--one-stage", "--frozen-epochs", "2"),
        "--one-stage leaves out the epochs that --frozen-epochs counts",
    ),
    (
        (*TUNED, "--model", "wav2vec2-base", "--from", ".", "--hidden", "8"),
        "--hidden changes nothing with --from",
    ),
    (
        ("export", "--format", "csv", "--out", "x", "--spread", "none"),
        "--spread changes nothing in --format csv; it is of latex",
    ),
    (
        ("export", "--format", "csv", "--out", "x", "--hub-dataset", "a/b"),
        "--hub-dataset changes nothing in --format csv; it is of eval-results",
    ),
    (("predict", "--run", ".", "--audio", "a", "--format", "csv", "--json"), "two forms"),
    (("cache", "prune", "--yes"), "--yes changes nothing with no --model"),
]


@pytest.mark.parametrize(("words", "message"), COMMANDS)
def test_so_is_an_option_of_a_command(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(cli.main, list(words))
    assert done.exit_code in (1, 2)
    last = done.output.splitlines()[-1]
    assert last.startswith("Error: ")
    assert message in last
    assert not list(tmp_path.iterdir())


def test_that_features_in_memory_go_with_the_process_is_said(monkeypatch):
    pytest.importorskip("fsspec")
    monkeypatch.setattr("svuprobe.api.extract", lambda *_, **__: [])
    words = ["extract", "--task", "starter-digits", "--model", "logmel", "--features"]
    done = CliRunner().invoke(cli.main, [*words, "memory://gone/features"])
    assert done.exit_code == 0
    said = "memory://gone/features: is memory of this process; what is put there goes with it"
    assert said in done.output.splitlines()
    assert svuprobe.cache_list("memory://gone/features") == []
