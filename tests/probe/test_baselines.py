"""Supervised baselines: their published sizes, exact padding, a deformable convolution, and that
they learn.
"""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from baselines_against_chance import RUNS

from svuprobe.probe.baselines import TABLE, build, find
from svuprobe.probe.baselines.deformable import DeformableConv2d, deform_conv2d
from svuprobe.probe.baselines.frontends import ConstantQ, Mel, decibel
from svuprobe.probe.baselines.jdcnote import JdcNote, RunningScale, estimate_tempo, refine
from svuprobe.probe.protocol import ProbeError
from svuprobe.tasks import TABLE as TASKS, kinds, load
from svuprobe.tasks.kinds import transcription as svt
from svuprobe.tasks.kinds.multiclass import MULTICLASS
from svuprobe.tasks.kinds.notes import NOTES

# Parameters with the outputs of the task each was published for, and where the number is from.
PARAMETERS = {
    "crnn": (20, 397_204),  # the released code
    "crnn-released": (20, 393_108),  # the released port
    "cnn1d": (10, 298_514),  # the released port
    "oblong-cnn": (10, 337_510),  # the author's code
    # Released: plain, offsets and modulation, biases it lacks.
    "dcnn-crt": (10, 401_776 + 46_710 - (128 + 256)),
    # EfficientNet-b0, other ends
    "efficientnet-svt": (20, 5_288_548 - 2 * 32 * 9 - 1281 * 1000 + 1281 * 20),
    # The released code in Keras; LSTMs have two biases in torch.
    "jdcnote": (20, 4_333_637 + 2 * 4 * (256 + 32)),
    "wav2vec2-large-last": (20, 1024 * 20 + 20),
}
SMALLEST = {"efficientnet-svt": 11 * 1024, "jdcnote": 31 * 80, "wav2vec2-large-last": 3200}


class Encoder(torch.nn.Module):
    """Hidden states of two layers of width 1024 from frames of 400 samples every 320."""

    def __init__(self):
        super().__init__()
        self.project = torch.nn.Linear(400, 1024)

    def forward(self, audio, lengths):
        states = self.project(audio.unfold(1, 400, 320)).tanh()
        return torch.stack([torch.zeros_like(states), states], dim=1), 1 + (lengths - 400) // 320


@pytest.fixture(autouse=True)
def _seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


@pytest.fixture(params=TABLE)
def name(request):
    return request.param


def made(name, n_outputs=None):
    cls = find(name)
    encoder = Encoder() if cls.needs_encoder else None
    return build(
        name,
        "notes" if cls.level == "frame" else "multiclass",
        n_outputs or PARAMETERS[name][0],
        encoder,
    )


def samples(model):
    """The length of a test clip: short, or what the network needs."""
    return SMALLEST.get(model.name, model.shortest)


def logits(model, audio, lengths):
    out = model(audio, torch.tensor(lengths))
    return out if model.level == "clip" else out[0]


def test_size_is_the_published_one(name):
    model = made(name)
    own = [p for part, p in model.named_parameters() if not part.startswith("encoder.")]
    assert sum(p.numel() for p in own) == PARAMETERS[name][1]


def test_names_and_shapes(name):
    model = made(name).eval()
    assert model.name == name
    assert model.recipe.task in TASKS
    assert kinds.of(load(model.recipe.task)).level == model.level
    length = samples(model)
    audio = torch.randn(2, length)
    with torch.no_grad():
        out = model(audio, torch.tensor([length, length]))
    if model.level == "clip":
        assert out.shape == (2, model.n_outputs)
        return
    out, frames = out
    assert out.shape == (2, int(frames[0]), model.n_outputs)
    times = model.times(int(frames[0]))
    assert (
        0
        <= times[0]
        <= times[-1]
        < length / model.sample_rate
        <= times[-1] + 1.6 * model.hop / model.sample_rate
    )


def test_a_clip_does_not_see_its_batch(name):
    model = made(name).eval()
    length = samples(model)
    short = length // 2 if model.level == "clip" else length
    long = length if model.longest else length + length // 2
    audio = torch.randn(2, long)
    with torch.no_grad():
        batch = logits(model, audio, [long, short])[1]
        alone = logits(model, audio[1:, :short], [short])[0]
    assert torch.allclose(batch[: len(alone)], alone, atol=1e-4 * float(alone.abs().max()))
    assert model.level == "clip" or not batch[len(alone) :].any()


def tones_and_noise(model):
    """Four clips of two classes, two where time is dear."""
    n = 2 if model.name in ("cnn1d", "dcnn-crt") else 4
    t = torch.arange(model.shortest) / model.sample_rate
    pitch = torch.linspace(300, 400, n // 2)[:, None]
    return torch.cat(
        [torch.sin(2 * torch.pi * pitch * t), torch.randn(n // 2, len(t))]
    ), torch.arange(n) * 2 // n


def songs(model):
    """Two songs of a note each, and the labels of their frames."""
    seconds = SMALLEST[model.name] / model.sample_rate
    t = torch.arange(SMALLEST[model.name]) / model.sample_rate
    sung = (t >= 0.3 * seconds) & (t < 0.7 * seconds)
    frames = {"wav2vec2-large-last": 9}.get(model.name, -(-len(t) // model.hop))
    audio, labels = [], []
    for midi in (55, 67):
        audio.append(torch.sin(2 * torch.pi * 440 * 2 ** ((midi - 69) / 12) * t) * sung)
        labels.append(model.targets([(0.3 * seconds, 0.7 * seconds, midi)], model.times(frames)))
    return torch.stack(audio), torch.tensor(np.stack(labels))


def test_it_learns_a_few_clips_and_every_parameter_takes_part(name):
    model = made(name, 2 if find(name).level == "clip" else None).train()
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0  # a few steps are too few to average over what it draws
    audio, target = tones_and_noise(model) if model.level == "clip" else songs(model)
    lengths = torch.full((len(audio),), audio.shape[1])

    def loss():
        if model.level == "clip":
            return MULTICLASS.loss(model(audio, lengths)[None], target)[0]
        out, frames = model(audio, lengths)
        return model.loss(out, target, frames)

    adam = torch.optim.Adam(model.parameters(), lr=5e-4 if name == "cnn1d" else 3e-3)
    losses = []
    for _ in range(18 if name == "dcnn-crt" else 6):
        adam.zero_grad()
        value = loss()
        value.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        adam.step()
        losses.append(float(value.detach()))
    assert min(losses) < 0.75 * losses[0]


def test_recipes_name_parameters_and_freeze_the_others(name):
    model = made(name)
    for stage in model.recipe.stages:
        groups = model.groups(stage)
        assert all(group["params"] for group in groups)
        trained = {id(p) for group in groups for p in group["params"]}
        assert {id(p) for p in model.parameters() if p.requires_grad} == trained
        assert model.recipe.optimiser in ("adam", "rmsprop")


def test_classifier_retraining_trains_the_last_layer_alone():
    model = made("dcnn-crt")
    first, second = model.recipe.stages
    assert len(model.groups(first)[0]["params"]) == len(list(model.parameters()))
    (group,) = model.groups(second)
    assert [p.shape for p in group["params"]] == [(10, 50), (10,)]
    assert group["lr"] == 1e-5
    assert (first.class_weight_alpha, second.class_weight_alpha) == (0.0, 0.2)


def test_fine_tuning_gives_head_and_encoder_their_own_rate():
    model = made("wav2vec2-large-last")
    probe, all_of_it = model.recipe.stages
    assert [g["lr"] for g in model.groups(probe)] == [3e-4]
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert [g["lr"] for g in model.groups(all_of_it)] == [3e-4, 5e-5]
    assert all(p.requires_grad for p in model.parameters())


def deformed(x, weight, padding, offset=(0, 0), modulation=1.0):
    taps = weight.shape[2] * weight.shape[3]
    size = F.conv2d(x, weight, padding=padding).shape[2:]
    moved = torch.tensor(offset, dtype=x.dtype).view(1, 1, 2, 1, 1).expand(len(x), taps, 2, *size)
    return deform_conv2d(x, moved, torch.full((len(x), taps, *size), modulation), weight, padding)


@pytest.mark.parametrize(("size", "padding"), [((3, 3), 1), ((3, 3), 0), ((1, 5), 2)])
def test_deformable_without_offsets_is_a_convolution(size, padding):
    x, weight = torch.randn(2, 4, 7, 9), torch.randn(5, 4, *size)
    plain = F.conv2d(x, weight, padding=padding)
    assert torch.allclose(deformed(x, weight, padding), plain, atol=1e-4)
    assert torch.allclose(deformed(x, weight, padding, modulation=0.5), plain / 2, atol=1e-4)


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -2), (-1, 3)])
def test_deformable_with_integer_offsets_is_a_shifted_convolution(down, right):
    x, weight = torch.randn(2, 4, 7, 9), torch.randn(5, 4, 3, 3)
    padded = F.pad(x, (5, 5, 5, 5))
    plain = F.conv2d(torch.roll(padded, (-down, -right), (2, 3)), weight, padding=1)[
        ..., 5:-5, 5:-5
    ]
    assert torch.allclose(deformed(x, weight, 1, (down, right)), plain, atol=1e-4)


def test_deformable_interpolates_between_pixels():
    x, weight = torch.randn(1, 2, 6, 6), torch.randn(3, 2, 3, 3)
    half = deformed(x, weight, 1, (0.5, 0))
    around = deformed(x, weight, 1, (0, 0)) + deformed(x, weight, 1, (1, 0))
    assert torch.allclose(half, around / 2, atol=1e-4)


def test_a_deformable_layer_begins_as_a_convolution_and_can_move():
    layer, x = DeformableConv2d(4, 5), torch.randn(2, 4, 7, 9)
    assert torch.allclose(layer(x), F.conv2d(x, layer.weight, padding=1), atol=1e-4)
    layer(x).square().sum().backward()
    assert layer.offset.weight.grad.any()
    assert layer.modulation.weight.grad.any()


@pytest.mark.parametrize("htk", [False, True])
def test_mel_bands_are_librosas(htk):
    import librosa

    y = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    ours = decibel(Mel(16000, 2048, 512, 128, htk)(torch.from_numpy(y)[None]), top_db=80)[0]
    power = librosa.feature.melspectrogram(
        y=y,
        sr=16000,
        n_fft=2048,
        hop_length=512,
        n_mels=128,
        htk=htk,
        norm=None if htk else "slaney",
    )
    assert ours == pytest.approx(librosa.power_to_db(power), abs=1e-2)


def test_constant_q_is_librosas_and_finds_a_tone():
    import librosa

    sr, hop, lowest = 44100, 1024, float(librosa.midi_to_hz(36))
    t = np.arange(sr) / sr
    a4 = np.sin(2 * np.pi * 440 * t)
    y = (a4 + 0.1 * np.random.default_rng(0).standard_normal(len(t))).astype(np.float32)
    ours = ConstantQ(sr, hop, lowest, octaves=7, bins=24)(
        torch.from_numpy(y)[None], 1 + len(y) // hop
    )[0].numpy()
    theirs = np.abs(
        librosa.cqt(y, sr=sr, hop_length=hop, fmin=lowest, n_bins=168, bins_per_octave=24)
    )
    assert ours.shape == theirs.shape
    assert np.abs(ours - theirs).max() < 0.01 * theirs.max()
    assert (ours[:, 5:-5].argmax(0) == 2 * (69 - 36)).all()


def test_running_scale_knows_the_valid_frames_of_all_batches():
    scale = RunningScale(3)
    first, second = 5 + torch.randn(2, 3, 7), 2 * torch.randn(1, 3, 4)
    assert torch.equal(scale.eval()(first, torch.tensor([7, 7])), first)
    scale.train()
    scale(first, torch.tensor([7, 3]))
    scale(second, torch.tensor([4]))
    seen = torch.cat([first[0], first[1, :, :3], second[0]], dim=1)
    expected = (seen - seen.mean(1, keepdim=True)) / (
        seen.std(1, correction=0, keepdim=True) + 1e-4
    )
    assert torch.allclose(scale.eval()(seen[None], torch.tensor([14]))[0], expected, atol=1e-4)


def test_jdcnote_decodes_its_own_labels():
    model = JdcNote()
    song = [(0.5, 1.2, 60), (1.2, 2.0, 64), (2.5, 3.1, 95), (3.2, 3.9, 40)]
    times = model.times(450)
    classes = torch.from_numpy(model.targets(song, times)).long()
    outputs = F.pad(F.one_hot(classes, 57), (0, 2)) * 9.0
    assert svt.score(song, model.decode(outputs, times)) == dict.fromkeys(svt.METRICS, 1.0)
    assert model.decode(outputs[:40], times[:40]).shape == (0, 3)  # silence


def test_jdcnote_leaves_what_it_cannot_name_unvoiced():
    assert not JdcNote().targets([(0.0, 1.0, 39), (0.0, 1.0, 96)], np.arange(50) / 100).any()


def test_the_picture_of_jdcnote_shows_where_it_hears_a_voice():
    model = JdcNote()
    outputs = torch.zeros(4, 59)
    outputs[:2, 0], outputs[2:, 20] = 9.0, 9.0  # unvoiced, then a pitch
    name, voiced = model.activation(outputs.numpy())
    assert name == "P(voiced)"
    assert (voiced[:2] < 0.01).all()
    assert (voiced[2:] > 0.99).all()
    assert find("efficientnet-svt")().activation(np.zeros((1, 20)))[0] == "P(onset)"


def track(*parts):
    return np.concatenate([np.full(frames, midi) for midi, frames in parts])


@pytest.mark.parametrize(
    ("found", "refined"),
    [
        # 120 beats a minute: an eighth of a beat is 6 frames, a quarter 12.
        ([(0, 30), (60, 40), (0, 40)], [(0, 30), (60, 40), (0, 40)]),
        ([(0, 30), (60, 20), (61, 2), (60, 20), (0, 40)], [(0, 30), (60, 42), (0, 40)]),  # a glitch
        ([(0, 30), (60, 5), (0, 40)], [(0, 75)]),  # too short for a note
        # Short and alone.
        ([(60, 40), (0, 40), (62, 11), (0, 40), (64, 40)], [(60, 40), (0, 91), (64, 40)]),
        # An octave error.
        ([(0, 30), (62, 40), (74, 20), (62, 40), (0, 30)], [(0, 30), (62, 100), (0, 30)]),
        (
            [(0, 30), (62, 40), (69, 20), (62, 40), (0, 30)],
            [(0, 30), (62, 40), (69, 20), (62, 40), (0, 30)],
        ),
    ],
)
def test_pitch_tracks_are_quantised_as_published(found, refined):
    assert refine(track(*found), tempo=120.0).tolist() == track(*refined).tolist()


def test_tempo_of_a_click_track():
    audio = torch.zeros(8000 * 12)
    for click in range(24):
        audio[click * 4000 : click * 4000 + 80] = torch.randn(80)
    assert estimate_tempo(audio, 8000) == pytest.approx(120, rel=0.03)


def test_transcription_outputs_and_task_agree():
    model = made("efficientnet-svt")
    assert model.n_outputs == NOTES.n_outputs(())
    times = model.times(100)
    song = [(0.3, 0.9, 60), (1.0, 1.7, 64)]
    onset, silence, octave, pitch_class = model.targets(song, times).T
    hot = [
        onset[:, None] * 2 - 1,
        silence[:, None] * 2 - 1,
        np.eye(5)[octave],
        np.eye(13)[pitch_class],
    ]
    outputs = torch.tensor(np.concatenate(hot, axis=1) * 9.0)
    assert svt.score(song, model.decode(outputs, times))["conpoff_f"] == 1.0


def test_mistakes_are_told_in_one_line():
    with pytest.raises(ProbeError, match="unknown baseline 'cnn'; did you mean crnn?"):
        find("cnn")
    with pytest.raises(ProbeError, match="unknown baseline 'x'; there are crnn, "):
        find("x")
    with pytest.raises(
        ProbeError, match="baseline crnn learns multiclass.*, not notes; efficientnet-svt, jdcnote"
    ):
        build("crnn", "notes", 20)
    with pytest.raises(ProbeError, match="jdcnote learns notes, not beats; no baseline can"):
        build("jdcnote", "beats", 1)
    with pytest.raises(ProbeError, match="is a head and needs an encoder"):
        build("wav2vec2-large-last", "notes", 20)
    with pytest.raises(ProbeError, match="crnn takes no encoder"):
        build("crnn", "multiclass", 20, Encoder())
    model = made("cnn1d")
    with pytest.raises(ProbeError, match="cnn1d reads 3 s, not 4 s: set the task's window_s = 3"):
        model(torch.zeros(1, 4 * 44100), torch.tensor([4 * 44100]))
    with pytest.raises(ProbeError, match="cnn1d: a clip of 0 samples"):
        model(torch.zeros(1, 44100), torch.tensor([0]))


def test_shapes_that_no_caller_should_pass_are_refused():
    model = made("cnn1d")
    with pytest.raises(ValueError, match="lengths"):
        model(torch.zeros(2, 44100), torch.tensor([44100]))
    with pytest.raises(ValueError, match="n_outputs = 10"):
        JdcNote(10)


def test_the_table_needs_no_torch():
    code = "import sys, svuprobe.probe.baselines; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
        == "False"
    )


def test_the_check_against_chance_has_every_baseline_on_its_own_task(name):
    assert set(RUNS) == set(TABLE)
    assert RUNS[name].task == find(name).recipe.task
