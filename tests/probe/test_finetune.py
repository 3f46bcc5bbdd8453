"""Fine-tuning: exact padded batches, what trains, that it learns, that a killed run ends as an
undisturbed one.
"""

import json
import signal
import time

import checkpoints
import numpy as np
import pytest
import soundfile
import torch
from click.testing import CliRunner
from planted import write_task
from processes import CONTEXT
from safetensors import safe_open
from safetensors.torch import load_file

from svuprobe import api, cli
from svuprobe.extractors.loading import load as load_model
from svuprobe.extractors.models.trainable import TrainableEncoder
from svuprobe.probe.asked_protocol import preset as probe_preset
from svuprobe.probe.finetune.data import Recordings, data_of
from svuprobe.probe.finetune.distributed import Runtime
from svuprobe.probe.finetune.loop import Training
from svuprobe.probe.finetune.model import build
from svuprobe.probe.finetune.protocol import RANGES, FinetuneProtocol, RecipeProtocol, preset
from svuprobe.probe.predict import predict
from svuprobe.probe.protocol import ProbeError
from svuprobe.probe.results import result_file
from svuprobe.tasks.manifest import ClipList, labels_of

SMALL = {
    "hidden": 0,
    "dropout": 0.0,
    "seeds": 1,
    "head_learning_rate": 1e-2,
    "encoder_learning_rate": 6e-3,
}
NO_DROPOUT = {
    "hidden_dropout": 0.0,
    "attention_dropout": 0.0,
    "activation_dropout": 0.0,
    "feat_proj_dropout": 0.0,
}


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A transformer of three blocks without dropout."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    return f"hf:{checkpoints.write(folder, 'wav2vec2', **NO_DROPOUT)}"


def tones(folder, kind, n=16, seconds=0.25, **keys):
    """A task whose three splits are the same clips: two sines each and a target that has nothing to
    do with them.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    time_s = np.arange(round(16000 * seconds)) / 16000
    targets = {
        "multiclass": lambda n: f"c{n % 4}",
        "multilabel": lambda n: "|".join(
            tag for k, tag in enumerate("abc") if n >> k & 1 or n == 8 * k
        ),
        "regression": lambda n: "|".join(f"{v:.3f}" for v in rng.normal(3.0, 5.0, 2)),
    }
    rows = []
    for clip in range(n):
        low, high = rng.uniform(100, 3000, 2)
        wave = 0.2 * np.sin(2 * np.pi * low * time_s) + 0.1 * np.sin(2 * np.pi * high * time_s)
        soundfile.write(folder / f"{clip}.wav", wave, 16000)
        target = targets[kind](clip)
        rows += [
            {
                "path": f"{clip}.wav",
                "id": f"{s}{clip}",
                "target": target,
                "split": s,
                "group": f"{s}{clip}",
            }
            for s in ("train", "valid", "test")
        ]
    return write_task(folder, f"own-{kind}", kind, rows, **keys)


def tuned(
    task, model, results, start=None, resume=False, overwrite=False, checkpoint_steps=0, **changes
):
    """The result of fine-tuning on one task, and where it is."""
    options = api.FinetuneOptions(
        device="cpu", jobs=0, resume=resume, overwrite=overwrite, checkpoint_steps=checkpoint_steps
    )
    protocol = FinetuneProtocol(**SMALL | changes)
    (one,) = api.finetune(
        [str(task)],
        [model],
        data=results,
        results=results,
        protocols=[protocol],
        start=start,
        options=options,
    )
    return one


# -- the forward -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", checkpoints.LAYOUTS)
@pytest.mark.parametrize("learns", [False, True])
def test_a_padded_batch_is_each_clip_alone(tmp_path, kind, learns):
    extractor = load_model(f"hf:{checkpoints.write(tmp_path / 'm', kind)}")
    generator = torch.Generator().manual_seed(0)
    audio, lengths = (
        0.1 * torch.randn(3, 6000, generator=generator) + 0.02,
        torch.tensor([6000, 3003, 4000]),
    )
    alone = [
        extractor(audio[n : n + 1, :size], lengths[n : n + 1])[0][0]
        for n, size in enumerate(lengths.tolist())
    ]
    encoder = TrainableEncoder(extractor).eval().requires_grad_(learns)
    states, frames = encoder(audio, lengths)
    for state, n, one in zip(states, frames.tolist(), alone, strict=True):
        assert (state[:, :n] - one).norm() < 1e-5 * one.norm()
    assert states.requires_grad == learns


def test_frozen_convolutions_are_prepared_once_and_again_when_they_change(model):
    encoder = TrainableEncoder(load_model(model)).eval()
    audio, lengths = (
        torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)),
        torch.tensor([4000, 3000]),
    )
    with torch.no_grad():
        before = encoder(audio, lengths)[0]
        prepared = encoder._frozen_features()
        assert torch.equal(encoder(audio, lengths)[0], before)
        assert encoder._frozen_features() is prepared
    convolutions = list(encoder.model.feature_extractor.parameters())
    for step in range(2):  # of an optimiser that writes all weights in one go, too
        encoder.requires_grad_(True)
        optimiser = torch.optim.Adam(convolutions, lr=1e-3, fused=bool(step))
        encoder(audio, lengths)[0].square().mean().backward()
        optimiser.step()
        encoder.requires_grad_(False)
        with torch.no_grad():
            after = encoder(audio, lengths)[0]
        assert after.isfinite().all()
        assert not torch.equal(after, before)
        fresh = TrainableEncoder(load_model(model)).eval()
        fresh.load_state_dict(encoder.state_dict())
        with torch.no_grad():
            assert torch.equal(fresh(audio, lengths)[0], after)
        before = after


def test_only_what_learns_is_in_training(model):
    """A frozen encoder drops nothing; of the last block's neighbours only that one is set to
    training.
    """
    encoder = TrainableEncoder(load_model(model)).requires_grad_(False)
    parts = [module for part in encoder.train().parts() for module in part]
    assert not any(m.training for part in parts for m in part.modules())
    encoder.model.encoder.layers[-1].requires_grad_(True)
    encoder.train()
    assert [block.training for block in encoder.model.encoder.layers] == [False, False, True]
    assert not encoder.model.feature_extractor.training


def test_gradient_checkpointing_layerdrop_and_masking(model):
    extractor = load_model(model)
    audio, lengths = (
        torch.randn(2, 4000, generator=torch.Generator().manual_seed(0)),
        torch.tensor([4000, 3000]),
    )
    found = {}
    for kept in (False, True):
        encoder = TrainableEncoder(extractor, checkpointing=kept).requires_grad_(True).train()
        encoder.zero_grad()
        encoder(audio, lengths)[0].square().mean().backward()
        found[kept] = [p.grad.clone() for p in encoder.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(*found.values(), strict=True))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        encoder = TrainableEncoder(extractor, layerdrop=0.999).requires_grad_(True).train()
        states, _ = encoder(audio, lengths)
        assert len(states[0]) == 4  # a dropped block passes on what came in
        assert torch.equal(states[:, 0], states[:, -1])
        plain = encoder.eval()(audio, lengths)[0]
        masked = TrainableEncoder(extractor, spec_augment=True).requires_grad_(True)
        assert torch.equal(masked.eval()(audio, lengths)[0], plain)
        assert not torch.equal(
            masked.train()(audio.repeat(64, 1), lengths.repeat(64))[0], plain.repeat(64, 1, 1, 1)
        )


# -- what trains -----------------------------------------------------------------------------------


def changed(task, model, folder, **changes):
    """Names of the weights of the transformer that training changed, of those there are; and what
    it saw.
    """
    loaded = api.load_task(str(task))
    clips = loaded.clips(folder)
    listed = ClipList(loaded, tuple(clips), labels_of(loaded, clips), False)
    protocol = FinetuneProtocol(**SMALL | {"batch_size": 8, "select": "last"} | changes)
    network = build(model, loaded, listed.labels, protocol)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    recordings = Recordings(listed, network.input_spec, network.shortest, folder)
    data = data_of(recordings, listed, network)
    training = Training(
        network, data, seed=0, runtime=Runtime(), checkpoint=folder / "checkpoint", run=""
    )
    state = training.run()
    names = {
        name for name, value in network.state_dict().items() if not torch.equal(value, before[name])
    }
    assert names <= set(training.trained)  # what is kept of a network
    prefix = "encoder.model."
    return {name.removeprefix(prefix) for name in names if name.startswith(prefix)}, state


def test_stage_one_leaves_every_weight_of_the_transformer_as_it_was(tmp_path, model):
    names, state = changed(
        tones(tmp_path, "multiclass"), model, tmp_path, frozen_epochs=2, epochs=0
    )
    assert names == set()
    (stage,) = state.stages
    assert stage.trainable == 4 + 32 * 4 + 4  # layer weights and a linear layer for four classes
    assert not np.allclose(stage.layer_weights, 1 / 4)


ADAPTATIONS = {
    "transformer": ({}, lambda name: not name.startswith("feature_extractor")),
    "everything": ({"train_convolutions": True}, lambda name: True),
    "last block": ({"last_k": 1}, lambda name: name.startswith("encoder.layers.2.")),
    "bitfit": (
        {"bitfit": True},
        lambda name: name.endswith("bias") and not name.startswith("feature_extractor"),
    ),
}


@pytest.mark.parametrize("adaptation", ADAPTATIONS)
def test_an_adaptation_changes_its_weights_and_no_others(tmp_path, model, adaptation):
    changes, mine = ADAPTATIONS[adaptation]
    names, _ = changed(
        tones(tmp_path, "multiclass"), model, tmp_path, frozen_epochs=0, epochs=2, **changes
    )
    # The keys' biases shift all scores of a query alike,
    # so the softmax leaves them next to no gradient.
    every = {
        name for name in load_model(model).model.state_dict() if not name.endswith("k_proj.bias")
    }
    assert {name for name in names if not name.endswith("k_proj.bias")} == set(filter(mine, every))
    assert all(map(mine, names))


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
def test_lora_changes_only_its_adapters(tmp_path, kind):
    """Of WavLM too, whose own forward goes past them."""
    model = f"hf:{checkpoints.write(tmp_path / 'm', kind)}"
    names, _ = changed(
        tones(tmp_path, "multiclass"), model, tmp_path, frozen_epochs=1, epochs=2, lora_rank=2
    )
    assert len(names) == 2 * 4 * 3  # A and B of four projections in three blocks
    assert all("lora_A" in name or "lora_B" in name for name in names)


def test_parts_of_a_batch_add_up_to_it(tmp_path, model):
    """Class weights make the mean over a batch no mean of the means of its parts."""
    task = tones(tmp_path, "multiclass", n=10, class_weight_alpha=1.0)
    weights, losses = [], []
    rates = {"head_learning_rate": 1e-3, "encoder_learning_rate": 1e-4}
    for accumulate in (1, 3):
        options = api.FinetuneOptions(device="cpu", jobs=0, accumulate=accumulate)
        protocol = preset(
            "yamamoto2023", **SMALL | rates | {"frozen_epochs": 1, "epochs": 1, "batch_size": 10}
        )
        (one,) = api.finetune(
            [str(task)],
            [model],
            data=tmp_path,
            results=tmp_path / f"r{accumulate}",
            protocols=[protocol],
            options=options,
        )
        weights.append(load_file(one.path.with_suffix("") / "seed0.safetensors"))
        losses.append([epoch.loss for epoch in one.result.model.finetune.epochs[0]])
    np.testing.assert_allclose(losses[1], losses[0], rtol=1e-5)
    for name, value in weights[0].items():
        torch.testing.assert_close(weights[1][name], value, rtol=0, atol=2e-5)


# -- that it learns --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "epochs"), [("multiclass", 15), ("multilabel", 25), ("regression", 30)]
)
def test_sixteen_clips_are_learnt_by_heart(tmp_path, model, kind, epochs):
    task = tones(tmp_path, kind)
    one = tuned(task, model, tmp_path / "r", frozen_epochs=1, epochs=epochs, batch_size=16)
    score = one.result.ranked.mean
    assert score > 0.95 if kind == "regression" else score == 1.0
    assert one.result.chance[one.result.task.ranked] < 0.7
    # What is kept answers as it was scored.
    predictor = predict.load_predictor(one.path)
    paths = [tmp_path / f"{n}.wav" for n in range(16)]
    found = list(predict.predict(predictor, paths, jobs=0))
    if kind == "multiclass":
        assert [p.ranking[0][0] for p in found] == [f"c{n % 4}" for n in range(16)]
    if kind == "regression":
        with np.load(one.path.with_suffix(".npz")) as kept:
            order = [list(kept["clip_id"]).index(f"test{n}") for n in range(16)]
            np.testing.assert_allclose(
                [p.outputs for p in found], kept["outputs"][0][order], rtol=1e-4, atol=1e-4
            )


def songs(folder, n=4, seconds=3.0):
    """Songs of sines with vibrato-free notes; the three splits are the same."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, rows = np.random.default_rng(0), []
    for song in range(n):
        wave, lines, at = np.zeros(round(16000 * seconds)), ["onset_s,offset_s,midi"], 0.2
        while at + 0.5 < seconds:
            end, midi = at + float(rng.uniform(0.25, 0.4)), int(rng.integers(48, 72))
            a, b = round(at * 16000), round(end * 16000)
            wave[a:b] = 0.3 * np.sin(
                2 * np.pi * 440 * 2 ** ((midi - 69) / 12) * np.arange(b - a) / 16000
            )
            lines.append(f"{at:.3f},{end:.3f},{midi}")
            at = end + 0.15
        soundfile.write(folder / f"{song}.wav", wave, 16000)
        (folder / f"{song}.csv").write_text("\n".join(lines) + "\n")
        rows += [
            {
                "path": f"{song}.wav",
                "id": f"{s}{song}",
                "target": f"{song}.csv",
                "split": s,
                "group": f"{s}{song}",
            }
            for s in ("train", "valid", "test")
        ]
    return write_task(folder, "songs", "notes", rows, window_s=1.0)


def test_four_songs_are_transcribed_after_training_on_them(tmp_path, model):
    task = songs(tmp_path)
    one = tuned(task, model, tmp_path / "r", frozen_epochs=0, epochs=30, frame_batch_size=4)
    assert one.result.task.ranked == "conpoff_f"
    assert one.result.ranked.mean > 0.95
    predictor = predict.load_predictor(one.path)
    (found,) = predict.predict(predictor, [tmp_path / "0.wav"], jobs=0)
    with np.load(one.path.with_suffix(".npz")) as kept:
        table = kept["estimate"]
        first = list(kept["clip_id"]).index("test0")
    np.testing.assert_allclose(found.events, table[table[:, 0] == first][:, 2:])


@pytest.fixture(scope="module")
def vocalset(tmp_path_factory, sung_once):
    root = tmp_path_factory.mktemp("vocalset")
    api.synth(["technique"], root, clips=60)
    return root


def test_two_stages_beat_the_frozen_one_on_singing_techniques(tmp_path, vocalset, model):
    """The frozen one is the first of the two, so it has fewer epochs: no claim that others would be
    better spent.
    """
    scores = {}
    for epochs in (0, 8):
        protocol = FinetuneProtocol(
            **SMALL | {"frozen_epochs": 2, "epochs": epochs, "batch_size": 16}
        )
        (one,) = api.finetune(
            ["technique"],
            [model],
            data=vocalset,
            results=tmp_path,
            protocols=[protocol],
            options=api.FinetuneOptions(device="cpu", jobs=0),
        )
        scores[epochs] = one.result.ranked.mean
    assert scores[8] > scores[0] + 0.15
    assert one.result.task.synthetic
    assert one.path.parent.name == "technique.synthetic"
    text = api.leaderboard(tmp_path, tmp_path / "leaderboard.md")
    assert "*(fine-tuned)*" in text
    stages = one.result.model.finetune.stages[0]
    assert [stage.epochs for stage in stages] == [2, 8]
    assert stages[0].trainable < stages[1].trainable


# -- where it starts -------------------------------------------------------------------------------


def test_it_starts_from_a_probes_head_and_says_the_same(tmp_path, model):
    task = tones(tmp_path, "regression")
    options = api.RunOptions(device="cpu", dtype="float32", jobs=0)
    api.extract([str(task)], [model], data=tmp_path, features=tmp_path / "f", options=options)
    quick = probe_preset(
        "svuprobe", hidden=16, max_epochs=20, seeds=2, learning_rates=(1e-2,), single_layers=False
    )
    options = api.RunOptions(device="cpu")
    (probed,) = api.probe(
        [str(task)],
        [model],
        features=tmp_path / "f",
        results=tmp_path / "r",
        protocol=quick,
        options=options,
    )
    still = {"frozen_epochs": 1, "epochs": 0, "head_learning_rate": 1e-9, "mix_learning_rate": 1e-9}
    one = tuned(task, model, tmp_path / "r", start=probed.path, **still | {"seeds": 2})
    np.testing.assert_allclose(
        one.result.ranked.per_seed, probed.result.ranked.per_seed, atol=0.01
    )  # cached features are float16
    assert one.result.protocol.fields["start"] == f"svuprobe {quick.hash}"
    with pytest.raises(ProbeError, match="more than that with --seeds"):
        tuned(task, model, tmp_path / "r", start=probed.path, seeds=3)
    with pytest.raises(ProbeError, match="its model is"):
        tuned(task, "random:wav2vec2-tiny", tmp_path / "r", start=probed.path)


# -- interruptions ---------------------------------------------------------------------------------

INTERRUPTED = {"frozen_epochs": 2, "epochs": 6, "batch_size": 4, "dropout": 0.3, "hidden": 16}


def standing(folder):
    """Steps done according to a checkpoint; -1 without one."""
    paths = list(folder.rglob("*-checkpoint.safetensors"))
    if not paths:
        return -1
    with safe_open(paths[0], "pt") as file:
        about = json.loads(file.metadata()["about"])
        state = json.loads(about["state"])
    return len(state["epochs"]) * 4 + state["step"]


def test_a_killed_run_ends_as_an_undisturbed_one(tmp_path):
    """Dropout on, in the head and in the blocks, and the weights that were best on validation."""
    model = f"hf:{checkpoints.write(tmp_path / 'm', 'wav2vec2')}"
    task = tones(tmp_path, "multiclass")
    whole = tuned(task, model, tmp_path / "whole", **INTERRUPTED)
    at = int(np.random.default_rng().integers(1, 28))
    words = (task, model, tmp_path / "killed")
    process = CONTEXT.Process(
        target=tuned, args=words, kwargs={"checkpoint_steps": 1, **INTERRUPTED}
    )
    process.start()
    deadline = time.monotonic() + 300
    while standing(tmp_path / "killed") < at and process.is_alive() and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert 0 < standing(tmp_path / "killed") < 32
    with pytest.raises(ProbeError, match="--resume"):
        tuned(task, model, tmp_path / "killed", **INTERRUPTED)
    again = tuned(task, model, tmp_path / "killed", resume=True, **INTERRUPTED)
    assert again.result.scores == whole.result.scores
    assert again.result.model.finetune.epochs == whole.result.model.finetune.epochs
    files = [one.path.with_suffix("") / "seed0.safetensors" for one in (whole, again)]
    weights = [load_file(file) for file in files]
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    assert not list((tmp_path / "killed").rglob("*checkpoint*"))
    assert tuned(task, model, tmp_path / "killed", **INTERRUPTED).cached


def test_another_run_does_not_go_on_from_a_checkpoint(tmp_path, model):
    task = tones(tmp_path, "multiclass", n=4)
    one = tuned(task, model, tmp_path / "r", frozen_epochs=1, epochs=0)
    one.path.unlink()
    (tmp_path / "own-multiclass.csv").write_text(
        (tmp_path / "own-multiclass.csv").read_text().replace("0.wav,train0,c0", "0.wav,train0,c1")
    )
    with pytest.raises(ProbeError, match="other data, weights or options"):
        tuned(task, model, tmp_path / "r", resume=True, frozen_epochs=1, epochs=0)
    assert not tuned(task, model, tmp_path / "r", overwrite=True, frozen_epochs=1, epochs=0).cached


def test_a_loss_that_is_not_finite_says_where(tmp_path, model, monkeypatch):
    # No rate that may be asked for does it so surely.
    monkeypatch.setitem(RANGES, "head_learning_rate", (0, 1e38))
    task = tones(tmp_path, "multiclass", n=4)
    with pytest.raises(ProbeError) as caught:
        tuned(
            task,
            model,
            tmp_path / "r",
            frozen_epochs=3,
            epochs=0,
            batch_size=2,
            head_learning_rate=1e37,
            mix_learning_rate=1.0,
        )
    text = str(caught.value)
    assert "stage 1, epoch 1, step 2, seed 0" in text
    assert "'train" in text
    assert "lower learning rate" in text


# -- baselines -------------------------------------------------------------------------------------


def test_a_baseline_trains_through_the_same_command(tmp_path):
    task = tones(tmp_path, "multiclass", n=4, seconds=3.0)
    words = (
        f"finetune --task {task} --model cnn1d --results {tmp_path / 'r'} --epochs 2 --seeds 1 "
        "--jobs 0"
    )
    done = CliRunner().invoke(cli.main, words.split())
    assert done.exit_code == 0, done.output
    ((result, _),) = result_file.read_all(tmp_path / "r")[0]
    assert result.model.name == "cnn1d"
    assert result.model.parameters == 298_514 - 33 * 6  # four classes for ten
    assert "rmsprop" in result.model.recipe
    assert result.layer_weights.softmax == ((1.0,),)
    assert "fine-tuned" not in api.leaderboard(tmp_path / "r", tmp_path / "leaderboard.md")


@pytest.mark.parametrize(("asked", "trained"), [(0, [200, 10]), (3, [3, 3]), (50, [50, 50])])
def test_epochs_take_the_place_of_those_of_every_stage_of_a_recipe(asked, trained):
    network = build(
        "dcnn-crt", api.load_task("technique"), ("a", "b"), RecipeProtocol(epochs=asked)
    )
    assert [stage.epochs for stage in network.plan.stages] == trained


@pytest.mark.parametrize("name", ["jdcnote", "efficientnet-svt"])
def test_a_transcription_baseline_has_its_own_frames_and_labels(tmp_path, name):
    task = api.load_task(str(songs(tmp_path, n=1, seconds=1.5)))
    listed = ClipList(task, tuple(task.clips(tmp_path)), (), False)
    network = build(name, task, (), RecipeProtocol())
    recordings = Recordings(listed, network.input_spec, network.shortest, tmp_path)
    data = data_of(recordings, listed, network)
    rows = data.splits["train"].row
    # A window's last frame may begin just before the next window's first.
    steps = np.diff(data.times["train"][0])
    assert (
        (steps > 0) & (steps <= network.baseline.hop / network.baseline.sample_rate + 1e-9)
    ).all()
    windows = [recordings.window(row)[: 9 * network.baseline.hop - n] for n, row in enumerate(rows)]
    assert [len(logits) for logits in Runtime().logits(network, windows)] == [9] * len(rows)
    batch = data.batch(rows, None)
    longest = max(network.n_frames(samples) for samples in batch.lengths.tolist())
    outputs = torch.zeros(len(rows), longest, network.baseline.n_outputs)
    assert data.loss(outputs, batch, None) > 0
    assert batch.weight == len(batch.targets) == sum(map(len, data.train_targets.values()))


# -- mistakes --------------------------------------------------------------------------------------

MISTAKES = {
    "unknown model": ("--model crn", 2, "unknown model 'crn'"),
    "unknown preset": ("--model crnn --preset yamamoto", 2, "did you mean yamamoto2023"),
    "not a transformer": ("--model logmel", 1, "logmel can't be fine-tuned"),
    "two adaptations": ("--model random:wav2vec2-tiny --lora 4 --bitfit", 1, "choose one"),
    "more blocks than there are": ("--model random:wav2vec2-tiny --last-k 13", 1, "has 12 blocks"),
    "an option that a recipe has not": ("--model crnn --lora 4", 2, "is trained by its recipe"),
    "a baseline of another kind": (
        "--model jdcnote",
        1,
        "baseline jdcnote learns notes, not multiclass",
    ),
    "no epochs": (
        "--model random:wav2vec2-tiny --epochs 0 --one-stage",
        1,
        "nothing would be trained",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(tmp_path, mistake):
    words, code, told = MISTAKES[mistake]
    task = tones(tmp_path, "multiclass", n=4)
    done = CliRunner().invoke(
        cli.main, ["finetune", "--task", str(task), "--results", str(tmp_path), *words.split()]
    )
    assert done.exit_code == code, done.output
    assert told in done.output.splitlines()[-1]


def test_presets_are_those_of_the_paper_and_of_its_code():
    paper, code = preset("yamamoto2023"), preset("released-code")
    assert (
        paper.frozen_epochs,
        paper.epochs,
        paper.head_learning_rate,
        paper.encoder_learning_rate,
    ) == (
        2,
        8,
        3e-4,
        5e-5,
    )
    assert (code.frozen_epochs, code.epochs, code.layers, code.select) == (0, 10, "last", "last")
    assert code.train_convolutions
    assert paper.file_name == "yamamoto2023"
    assert len({p.hash for p in (paper, code, FinetuneProtocol(seeds=2), RecipeProtocol())}) == 4
