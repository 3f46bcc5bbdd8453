"""Sequences of symbols without times: texts and symbols, CTC, error rates, own data."""

import itertools
import json
import re
from dataclasses import replace

import checkpoints
import jiwer
import numpy as np
import pytest
import soundfile
import torch
from planted import header, write_cache, write_task
from test_finetune import NO_DROPOUT, tuned
from test_probe import features_of
from torch.nn import functional

from svuprobe import api
from svuprobe.probe import identity
from svuprobe.probe.clip_answers import clip_answers
from svuprobe.probe.protocol import ProbeError, Protocol
from svuprobe.probe.training.frames import FrameFeatures
from svuprobe.probe.training.train import fit
from svuprobe.tasks import find_clips, kinds, load
from svuprobe.tasks.data.doubts import too_long
from svuprobe.tasks.kinds import ctc
from svuprobe.tasks.kinds.prediction import Prediction
from svuprobe.tasks.kinds.sequence import SEQUENCE
from svuprobe.tasks.kinds.spelling import symbols_of, text_of
from svuprobe.tasks.manifest import labels_of
from svuprobe.tasks.types import Clip, TaskError

LETTERS = SEQUENCE.with_labels((" ", "a", "b", "c"))
PHONES = SEQUENCE.with_labels(("AA", "B", "CH"))
QUICK = Protocol(
    name="quick", hidden=0, learning_rates=(5e-2,), seeds=1, max_epochs=40, epoch_updates=2
)


# -- texts and symbols -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "unit", "casefold", "expected"),
    [
        ("  A\n b\t", "character", False, ("A", " ", "b")),
        ("Stra\u00dfe", "character", True, tuple("strasse")),
        ("e\u0301", "character", False, ("\u00e9",)),
        ("don't, 2!", "character", False, tuple("don't, 2!")),
        (" AA  B ", "token", False, ("AA", "B")),
        ("AA|B", "token", False, ("AA", "B")),
        ("AA | B", "token", False, ("AA", "|", "B")),
        ("", "token", False, ()),
        ("", "character", False, ()),
    ],
)
def test_a_text_is_its_symbols_and_nothing_else_is_changed(text, unit, casefold, expected):
    assert symbols_of(text, unit, casefold) == expected


def test_symbols_are_a_text_again():
    assert text_of(tuple(" a  b c "), LETTERS.labels_) == "a b c"
    assert text_of(("AA", "B"), PHONES.labels_) == "AA B"


# -- CTC -------------------------------------------------------------------------------------------


def rows_of(windows):
    parts = [ctc.rasterise(symbols, frames) for symbols, frames in windows]
    return torch.from_numpy(np.concatenate(parts)).long()


WINDOWS = [([1, 2, 2, 3], 10), ([], 4), ([4], 7), ([3, 3], 3), ([5, 1, 5, 1, 5], 5)]


def random_outputs(frames, heads=3, classes=6):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(heads, frames, classes, generator=generator) * 3


def test_the_loss_is_torch_s_own_of_each_window():
    targets = rows_of(WINDOWS)
    outputs = random_outputs(len(targets))
    expected, at = torch.zeros(3), 0
    for symbols, frames in WINDOWS:
        own = outputs[:, at : at + frames].log_softmax(-1).transpose(0, 1)
        at += frames
        sizes = torch.tensor([frames] * 3), torch.tensor([len(symbols)] * 3)
        wanted = torch.tensor([symbols or [0]] * 3)
        expected += functional.ctc_loss(own, wanted, *sizes, reduction="none")
    torch.testing.assert_close(SEQUENCE.loss(outputs, targets), expected / len(targets))


def test_the_loss_is_the_sum_over_all_ways_to_spell():
    outputs = random_outputs(5, heads=1, classes=3)
    ways = outputs[0].log_softmax(-1)
    total = 0.0
    for path in itertools.product(range(3), repeat=5):
        spelt = [a for a, _ in itertools.groupby(path) if a]
        if spelt == [1, 2, 2]:
            total += ways[range(5), path].sum().exp().item()
    loss = SEQUENCE.loss(outputs, rows_of([([1, 2, 2], 5)]))
    assert loss.item() == pytest.approx(-np.log(total) / 5, rel=1e-5)


def test_a_window_that_nothing_fits_teaches_nothing():
    """Of symbol, itself and another in three frames: the repeat wants a fourth."""
    alone = rows_of([([1, 2], 6)])
    both = rows_of([([1, 2], 6), ([1, 1, 2], 3)])
    outputs = random_outputs(len(both))
    gradient = SEQUENCE.gradient(outputs.clone(), both)
    assert not gradient[:, 6:].any()
    torch.testing.assert_close(
        SEQUENCE.loss(outputs, both) * 9, SEQUENCE.loss(outputs[:, :6], alone) * 6
    )


def test_parts_of_whole_windows_add_up_to_the_gradient_of_all():
    targets = rows_of(WINDOWS)
    outputs = random_outputs(len(targets))
    whole = SEQUENCE.gradient(outputs.clone(), targets)
    starts = [*ctc.window_starts(targets).tolist(), len(targets)]
    assert starts == [0, 10, 14, 21, 24, 29]
    for start, end in itertools.pairwise(starts):
        part = SEQUENCE.gradient(outputs[:, start:end].clone(), targets[start:end])
        torch.testing.assert_close(part * (end - start) / len(targets), whole[:, start:end])


def test_best_path_drops_repeats_and_blanks():
    said = [0, 1, 1, 0, 1, 2, 2, 2, 0, 3]
    logits = torch.eye(4)[said][None] * 5
    (found,) = ctc.best_path(logits, np.arange(10) / 10)
    np.testing.assert_allclose(found, [[0.15, 0], [0.4, 0], [0.6, 1], [0.9, 2]])
    (nothing,) = ctc.best_path(torch.eye(4)[[0, 0]][None], np.arange(2) / 10)
    assert nothing.shape == (0, 2)


# -- errors ----------------------------------------------------------------------------------------


def estimate_of(kind, symbols):
    return kind.as_events(tuple(symbols))


def test_what_is_right_scores_1_and_has_no_errors():
    for kind, symbols in ((LETTERS, "ab ca"), (PHONES, ["AA", "B", "AA"]), (LETTERS, "")):
        scores = kind.score(tuple(symbols), estimate_of(kind, symbols))
        expected = dict.fromkeys(("symbol_accuracy", "clip_accuracy"), 1.0)
        expected["symbol_error_rate"] = 0.0
        if kind is LETTERS:
            expected["word_error_rate"] = 0.0
        assert scores == expected


@pytest.mark.parametrize("seed", range(20))
def test_rates_are_jiwer_s(seed):
    rng = np.random.default_rng(seed)
    texts, tokens = [], []
    for _ in range(6):  # three pairs of reference and answer
        texts.append("".join(rng.choice(list("  abc"), rng.integers(0, 12))))
        tokens.append(list(rng.choice(PHONES.labels_, rng.integers(0, 12))))
    references = [symbols_of(text, "character") for text in texts[::2]]
    judged = [
        LETTERS.judged(reference, estimate_of(LETTERS, text))
        for reference, text in zip(references, texts[1::2], strict=True)
    ]
    rates = {}
    for name in ("symbol_error_rate", "word_error_rate"):
        wrong, size = np.sum([answer.ratios[name] for answer in judged], axis=0)
        rates[name] = wrong / size if size else None
    clean = [" ".join(text.split()) for text in texts]
    if rates["symbol_error_rate"] is not None:
        assert rates["symbol_error_rate"] == pytest.approx(jiwer.cer(clean[::2], clean[1::2]))
        assert rates["word_error_rate"] == pytest.approx(jiwer.wer(texts[::2], texts[1::2]))
    spoken = [" ".join(each) for each in tokens]
    judged = [
        PHONES.judged(tuple(a), estimate_of(PHONES, b))
        for a, b in zip(tokens[::2], tokens[1::2], strict=True)
    ]
    wrong, size = np.sum([answer.ratios["symbol_error_rate"] for answer in judged], axis=0)
    assert wrong / size == pytest.approx(jiwer.wer(spoken[::2], spoken[1::2]))


def test_the_empty_answer_misses_everything():
    scores = LETTERS.score(tuple("ab c"), LETTERS.chance(None, np.arange(3)))
    assert scores == {
        "symbol_accuracy": 0.0,
        "symbol_error_rate": 1.0,
        "word_error_rate": 1.0,
        "clip_accuracy": 0.0,
    }


# -- own data --------------------------------------------------------------------------------------


def own(tmp_path, texts, splits=("train", "valid", "test"), **keys):
    rows = [
        {"path": f"{n}.wav", "target": f'"{target}"', "split": split, "group": n}
        for n, (target, split) in enumerate(zip(texts, splits, strict=True))
    ]
    task = load(str(write_task(tmp_path, "words", "sequence", rows, **keys)))
    return task, find_clips(task, tmp_path)


def test_texts_stand_in_the_list_and_the_alphabet_is_of_training(tmp_path):
    task, clips = own(tmp_path, ["Ab a", "a b", "b\u00e9"])
    assert [clip.target for clip in clips] == [
        ("A", "b", " ", "a"),
        ("a", " ", "b"),
        ("b", "\u00e9"),
    ]
    assert labels_of(task, clips) == (" ", "A", "a", "b")
    assert task.metrics == (
        "symbol_accuracy",
        "symbol_error_rate",
        "clip_accuracy",
        "word_error_rate",
    )
    assert task.windowing.window_s == 30.0
    kind = kinds.of(task, labels_of(task, clips))
    assert list(kind.limits("test", clips[2:], {"2.wav": 9})) == [
        "symbols '\u00e9' of test clips are in no training clip: 1 error whatever a model hears"
    ]


def test_tokens_and_a_declared_alphabet(tmp_path):
    task, clips = own(tmp_path, ["AA B", "B|AA", ""], unit="token", alphabet="AA B CH")
    assert [clip.target for clip in clips] == [("AA", "B"), ("B", "AA"), ()]
    assert labels_of(task, clips) == ("AA", "B", "CH")
    assert "word_error_rate" not in task.metrics


@pytest.mark.parametrize("changed", [{"unit": "token"}, {"casefold": True}, {"alphabet": "AabB "}])
def test_other_symbols_are_another_task_or_other_clips(tmp_path, changed):
    made = []
    for keys in ({}, changed, changed):
        task, clips = own(tmp_path, ["Ab a", "a b", "Ba"], **keys)
        made.append((identity.of_task(task, labels_of(task, clips)), identity.of_clips(clips)))
    assert made[0] != made[1]
    assert made[1] == made[2]


def test_texts_may_be_files(tmp_path):
    (tmp_path / "a.txt").write_text("La\nla", encoding="utf-8")
    data = [
        {"time": 1.0, "duration": 0.5, "value": "la", "confidence": None},
        {"time": 0.0, "duration": 0.5, "value": "Tra", "confidence": None},
    ]
    body = {"annotations": [{"namespace": "lyrics", "data": data}]}
    (tmp_path / "b.jams").write_text(json.dumps(body), encoding="utf-8")
    _, clips = own(tmp_path, ["a.txt", "b.jams", "la"], casefold=True)
    assert [text_of(clip.target, (" ",)) for clip in clips] == ["la la", "tra la", "la"]


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"alphabet": "ab"}, "words.csv:2: 'c' not in the alphabet"),
        ({"alphabet": "   "}, "alphabet = '   ' has no symbol in it"),
        ({"targets": ["a"]}, "of symbols it is alphabet"),
        ({"unit": "word"}, "it is one of character, token"),
        ({"metric": "word_error_rate"}, "of which less is better"),
        ({"trim": True}, "trim and scored"),
    ],
)
def test_keys_and_texts_that_can_t_be_are_named(tmp_path, keys, said):
    with pytest.raises(TaskError, match=re.escape(said)):
        own(tmp_path, ["abc", "a", "b"], **keys)


def test_its_keys_are_refused_for_other_kinds(tmp_path):
    rows = [{"path": "a.wav", "target": "x"}]
    with pytest.raises(TaskError, match="casefold = True; the key is for kind = 'sequence'"):
        load(str(write_task(tmp_path, "words", "multiclass", rows, casefold=True)))


def test_what_is_written_comes_in_again(tmp_path):
    task = type("", (), {"name": "words", "kind": "sequence", "labels": LETTERS.labels_})()
    events = np.array([[0.0, 1], [0.2, 2], [0.3, 0], [0.5, 3]])  # ab c
    files = LETTERS.files(Prediction(tmp_path / "a.wav", task, 0.6, events=events))
    for suffix in (".txt", ".jams"):
        (tmp_path / f"a{suffix}").write_text(files[suffix], encoding="utf-8")
        assert SEQUENCE.events(tmp_path / f"a{suffix}") == tuple("ab c")
    assert files[".csv"] == "time_s,symbol\n0.000,a\n0.200,b\n0.300, \n0.500,c\n"
    (annotation,) = json.loads(files[".jams"])["annotations"]
    assert [(each["time"], each["duration"], each["value"]) for each in annotation["data"]] == [
        (0.0, 0.2, "ab"),
        (0.5, 0.0, "c"),
    ]


# -- from a cache ----------------------------------------------------------------------------------


def planted(tmp_path, frames=30, windows=1, **keys):
    """Texts that one of three layers spells: a symbol lasts two or three frames, then none."""
    rng = np.random.default_rng(0)
    splits = [("train", "train", "train", "valid", "test")[n % 5] for n in range(40)]
    texts = ["".join(rng.choice(list("abc "), 7)).strip() or "a" for _ in splits]
    task, clips = own(tmp_path, texts, splits, **keys)
    labels = (" ", "a", "b", "c")
    directions = rng.normal(size=(4, 8)) * 2
    states = {}
    for clip in clips:
        made = rng.normal(size=(frames, 3, 8))
        at = 0
        for symbol in clip.target:
            made[at : at + 2, 1] += directions[labels.index(symbol)]
            at += 2 + int(rng.integers(1, 3))
        states[clip.id] = [made] * windows
    write_cache(tmp_path / "f", header(task, layers=3, dim=8), states)
    return str(tmp_path / "words.toml"), clips


def probed(tmp_path, toml, protocol=QUICK, **options):
    (done,) = api.probe(
        [toml],
        features=tmp_path / "f",
        results=tmp_path / "r",
        protocol=protocol,
        options=api.RunOptions(**options),
    )
    return done


def test_planted_symbols_are_found_in_their_layer(tmp_path):
    toml, clips = planted(tmp_path)
    done = probed(tmp_path, toml)
    result = done.result
    assert result.ranked.mean > 0.85
    assert result.best_layer == "block01"
    assert max(result.layer_curve["input"][0], result.layer_curve["block02"][0]) < 0.4
    scores = result.scores
    assert scores["symbol_accuracy"].mean == pytest.approx(1 - scores["symbol_error_rate"].mean)
    assert result.chance == {
        "symbol_accuracy": 0.0,
        "symbol_error_rate": 1.0,
        "clip_accuracy": 0.0,
        "word_error_rate": 1.0,
    }
    # Over all symbols, not a mean over clips long and short.
    stored = np.load(done.path.with_suffix(".npz"))
    wrong, size = stored["parts_symbol_error_rate"][0].sum(axis=0)
    assert size == sum(len(clip.target) for clip in clips if clip.split == "test")
    assert scores["symbol_error_rate"].mean == wrong / size
    low, high = scores["symbol_accuracy"].ci95
    assert low < scores["symbol_accuracy"].mean < high


def test_streamed_and_in_memory_heads_are_the_same(tmp_path):
    toml, _ = planted(tmp_path)
    protocol = Protocol(
        hidden=0, learning_rates=(1e-2,), seeds=1, frame_batch_size=3, max_epochs=3, epoch_updates=1
    )
    made = []
    for resident in (True, False):
        # A block of 200 frames, so that a few windows make one.
        features, cache = features_of(tmp_path, toml, protocol, FrameFeatures, 8 * 200 * 2 * 3 * 8)
        assert not features.resident
        if resident:
            features.resident = True
            features._held = {s: features._held_block(s) for s in ("train", "valid")}
        made.append(fit(features, protocol, 8))
        assert len(list(features.epoch(0))) == (2 if resident else 6)
        cache.close()
    for held, streamed in zip(*made, strict=True):
        np.testing.assert_allclose(held.score, streamed.score, rtol=1e-5)
        torch.testing.assert_close(
            held.bank.parameters["weight"], streamed.bank.parameters["weight"]
        )


@pytest.mark.parametrize(
    ("frames", "windows", "said"),
    [
        (
            2,
            1,
            "of the training split every clip has more symbols than frames (as '0.wav', 6 and 2)",
        ),
        (800, 2, "40 of 40 clips are longer than a window, and symbols have no times to cut"),
    ],
)
def test_clips_that_can_t_be_spelt_are_refused_before_training(tmp_path, frames, windows, said):
    toml, _ = planted(tmp_path, frames, windows)
    with pytest.raises(ProbeError, match=re.escape(said)):
        probed(tmp_path, toml)


def test_clips_with_too_few_frames_are_counted():
    clips = [Clip(name, "a.wav", "train", ("a", "a"), "") for name in ("short", "long")]
    frames = {"short": 2, "long": 3}
    assert LETTERS.unfit(clips, frames) == ""
    assert list(LETTERS.limits("training", clips, frames)) == [
        "1 of 2 training clips have more symbols than frames (as 'short'): they can't be spelt, "
        "and teach nothing"
    ]


def test_clips_longer_than_a_window_are_refused_before_any_work(tmp_path):
    task, clips = own(tmp_path, ["a", "b", "a b"], window_s=2)
    for clip, seconds in zip(clips, (1.0, 2.0, 2.5), strict=True):
        soundfile.write(clip.path, np.zeros(round(16000 * seconds)), 16000)
    said = (
        "1 of 3 clips are longer than a window, and symbols have no times to cut them by; the "
        "longest, '2.wav', takes window_s = 3"
    )
    assert too_long(task, clips, {"0.wav": 1.0, "1.wav": 2.0, "2.wav": 2.5}) == said
    with pytest.raises(TaskError, match=re.escape(f"task words: {said}")):
        api.extract([task.source], ["logmel"], data=tmp_path, features=tmp_path / "f")
    assert not list((tmp_path / "f").glob("tasks/*"))  # nothing to be probed
    # As long as it says is enough.
    options = api.RunOptions(jobs=0)
    api.extract(
        [task.source],
        ["logmel"],
        data=tmp_path,
        features=tmp_path / "f",
        window_s=3,
        options=options,
    )


# -- from audio ------------------------------------------------------------------------------------


def test_tones_that_spell_are_read_from_audio_to_prediction(tmp_path):
    rng = np.random.default_rng(0)
    rows, rate = [], 16000
    for n in range(25):
        notes = [str(name) for name in rng.choice(["do", "mi", "sol"], 4)]
        sound = []
        for name in notes:
            hz = 300 * {"do": 1, "mi": 1.5, "sol": 2.25}[name]
            tone = 0.1 * np.sin(2 * np.pi * hz * np.arange(rate // 4) / rate)
            sound += [tone, np.zeros(rate // 10)]
        soundfile.write(tmp_path / f"{n}.wav", np.concatenate(sound), rate)
        split = ("train", "train", "train", "valid", "test")[n % 5]
        rows.append({"path": f"{n}.wav", "target": " ".join(notes), "split": split, "group": n})
    toml = str(write_task(tmp_path, "tune", "sequence", rows, unit="token"))
    here = api.RunOptions(jobs=0)
    api.extract([toml], ["logmel"], data=tmp_path, features=tmp_path / "f", options=here)
    done = probed(tmp_path, toml, replace(QUICK, learning_rates=(0.2,), max_epochs=20))
    assert done.result.ranked.mean > 0.8
    predictions = api.predict(done.path, [tmp_path / "4.wav"], options=here)
    ((prediction, files),) = api.save_predictions(predictions, tmp_path / "out", plots=True)
    assert {path.suffix for path in files} == {".txt", ".csv", ".png"}
    text = (tmp_path / "out" / "4.txt").read_text().split()
    (stored,) = [answer for answer in clip_answers(done.result, done.path) if answer.id == "4.wav"]
    assert text == stored.answer.split()
    assert prediction.activation.shape == (len(prediction.frame_times), 4)


def test_a_network_is_fine_tuned_by_whole_windows(tmp_path):
    model = f"hf:{checkpoints.write(tmp_path / 'tiny', 'wav2vec2', **NO_DROPOUT)}"
    seconds = np.arange(3200) / 16000
    rows = []
    for split in ("train", "valid", "test"):
        for text in ("ab", "ba", "b"):
            tones = [np.sin(2 * np.pi * {"a": 400, "b": 1500}[each] * seconds) for each in text]
            soundfile.write(tmp_path / f"{split}-{text}.wav", 0.2 * np.concatenate(tones), 16000)
            rows.append({"path": f"{split}-{text}.wav", "target": text, "split": split})
    toml = write_task(tmp_path, "spoken", "sequence", rows, window_s=1)
    one = tuned(toml, model, tmp_path / "r", frozen_epochs=0, epochs=2)
    assert set(one.result.scores) == set(load(str(toml)).metrics)
    assert np.isfinite(one.result.ranked.mean)
    toml = write_task(tmp_path, "spoken", "sequence", rows, window_s=0.3)
    with pytest.raises(ProbeError, match="6 of 9 clips are longer than a window"):
        tuned(toml, model, tmp_path / "r", frozen_epochs=0, epochs=1)
