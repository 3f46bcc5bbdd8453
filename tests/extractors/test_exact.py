"""A clip's features are its own: a padded batch equals one by one, in every layout and by both ways
to compute it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import checkpoints
import pytest
import torch

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints import digest_state
from svuprobe.extractors.models import feature_encoder
from svuprobe.extractors.models.context_network import ContextNetwork, Span
from svuprobe.extractors.models.encoder import Encoder
from svuprobe.extractors.models.feature_encoder import FeatureEncoder, zero_mean_unit_variance
from svuprobe.extractors.models.transformer import TransformerExtractor

KINDS = list(checkpoints.LAYOUTS)
# With a group norm over time.
BASE = ["wav2vec2", "wavlm", "hubert", "mert-v0", "mert-v1", "mert-330m"]
# Samples at 16 kHz: 0.3 to 5 s, two of one length, two
# of as many frames, one that just makes another frame.
LENGTHS = [80000, 4800, 16000, 16000, 16100, 16079, 16080, 50123]
DTYPES = [torch.float32, torch.bfloat16]
Way = Callable[[Encoder, torch.Tensor, list[int]], torch.Tensor]


def packed(encoder: Encoder, audio: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """The way of a CPU."""
    return encoder.packed(audio, lengths, pooled=False)


def padded(encoder: Encoder, audio: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """The way of an accelerator."""
    mixed = any(samples != audio.shape[1] for samples in lengths)
    return encoder.padded(audio, torch.tensor(lengths) if mixed else None, pooled=False)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.inference_mode():
        yield


def clips(lengths: list[int] = LENGTHS) -> torch.Tensor:
    """(clips, samples) of tones in noise, with an offset; what follows a clip is loud, and must not
    matter.
    """
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(max(lengths)) / 16000
    hz = 110.0 * 2.0 ** torch.arange(len(lengths))[:, None].div(3)
    audio = 0.1 * torch.sin(2 * torch.pi * hz * time) + 0.02
    audio += 0.05 * torch.randn(audio.shape, generator=generator)
    for clip, samples in zip(audio, lengths, strict=True):
        clip[samples:] = 3.0
    return audio


def encoder_of(folder: Path, kind: str, dtype: torch.dtype = torch.float32) -> Encoder:
    extractor = TransformerExtractor.from_folder(checkpoints.write(folder / kind, kind))
    extractor.to("cpu", dtype)
    return Encoder(extractor.model, extractor.normalization != "none")


def frames_of(samples: int) -> int:
    return 1 + (samples - 400) // 320


def worst_error(
    encoder: Encoder, way: Way, alone: Way = packed, lengths: list[int] = LENGTHS
) -> float:
    """Largest relative difference, over clips and layers, between a batch and each clip alone."""
    audio = clips(lengths)
    worst = 0.0
    for clip, states, samples in zip(audio, way(encoder, audio, lengths), lengths, strict=True):
        expected = alone(encoder, clip[None, :samples], [samples])[0].double()
        own = states[:, : frames_of(samples)].double()
        error = (own - expected).norm(dim=(1, 2)) / expected.norm(dim=(1, 2))  # of each layer
        worst = max(worst, float(error.max()))
    return worst


# -- golden ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", [packed, padded])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_one_by_one_in_float32(tmp_path: Path, kind: str, way: Way) -> None:
    bound = 2e-5 if kind in ("data2vec", "music2vec") else 1e-5
    assert worst_error(encoder_of(tmp_path, kind), way) < bound


@pytest.mark.parametrize("way", [packed, padded])
@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_equals_one_by_one_in_bfloat16(tmp_path: Path, kind: str, way: Way) -> None:
    assert worst_error(encoder_of(tmp_path, kind, torch.bfloat16), way) < 2e-2


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", KINDS)
def test_both_ways_are_one_for_a_clip_alone(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    encoder = encoder_of(tmp_path, kind, dtype)
    assert worst_error(encoder, padded, alone=packed, lengths=[50123]) < (
        2e-5 if dtype == torch.float32 else 2e-2
    )


@pytest.mark.parametrize("kind", BASE)
def test_a_norm_over_padding_would_be_seen(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The golden test can fail: the same with statistics over all frames is off by more than 1
    %.
    """
    encoder = encoder_of(tmp_path, kind)
    over_own = FeatureEncoder._under_first_kernel
    monkeypatch.setattr(
        FeatureEncoder,
        "_under_first_kernel",
        lambda self, audio, lengths: over_own(self, audio, None),
    )
    assert worst_error(encoder, padded) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_padding_before_a_positional_convolution_would_be_seen(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(tmp_path, kind)
    monkeypatch.setattr(Span, "zeroed", lambda self, x: x)
    assert worst_error(encoder, padded) > 1e-2


@pytest.mark.parametrize("kind", KINDS)
def test_attention_to_padding_would_be_seen(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = encoder_of(tmp_path, kind)
    masks = ContextNetwork.masks
    monkeypatch.setattr(
        ContextNetwork,
        "masks",
        lambda self, *given: [(None, bias) for _, bias in masks(self, *given)],
    )
    assert worst_error(encoder, padded) > 1e-3


@pytest.mark.parametrize("way", [packed, padded])
@pytest.mark.parametrize("kind", KINDS)
def test_what_follows_a_clip_is_zero(tmp_path: Path, kind: str, way: Way) -> None:
    states = way(encoder_of(tmp_path, kind), clips(), LENGTHS)
    assert states.shape == (len(LENGTHS), checkpoints.LAYERS, frames_of(max(LENGTHS)), 32)
    for own, samples in zip(states, LENGTHS, strict=True):
        assert (own[:, frames_of(samples) :] == 0).all()
        assert (own[:, : frames_of(samples)].abs().amax(dim=-1) > 0).all()


@pytest.mark.parametrize("kind", ["hubert", "wavlm-large", "data2vec"])
def test_the_order_of_a_batch_does_not_matter(tmp_path: Path, kind: str) -> None:
    encoder, order = encoder_of(tmp_path, kind), [4, 2, 7, 1, 0, 6, 3, 5]
    shuffled = packed(encoder, clips()[order], [LENGTHS[i] for i in order])
    torch.testing.assert_close(
        shuffled, packed(encoder, clips(), LENGTHS)[order], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("way", [packed, padded])
def test_a_long_clip_in_pieces_equals_it_in_one(
    tmp_path: Path, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, audio = encoder_of(tmp_path, "hubert"), clips([50123])
    whole = way(encoder, audio, [50123])
    monkeypatch.setattr(feature_encoder, "_PIECE", 7)
    torch.testing.assert_close(packed(encoder, audio, [50123]), whole, rtol=1e-4, atol=1e-5)


# -- against transformers --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["wavlm", "wavlm-large"])
@pytest.mark.parametrize("samples", [4800, 50123])
def test_wavlm_equals_transformers(tmp_path: Path, kind: str, samples: int) -> None:
    """Over distances beyond the last bucket of its position bias, too (80 frames here)."""
    encoder = encoder_of(tmp_path, kind)
    plain = checkpoints.plain_model(tmp_path / kind, kind)
    audio = clips([samples])
    scaled = zero_mean_unit_variance(audio) if encoder.features.normalize else audio
    expected = torch.stack(plain(scaled, output_hidden_states=True).hidden_states, dim=1)
    for way in (packed, padded):
        error = (way(encoder, audio, [samples]) - expected).norm(dim=(2, 3)) / expected.norm(
            dim=(2, 3)
        )
        assert error.max() < 1e-5


OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("Hubert", {"conv_pos_batch_norm": True}),
    ("Hubert", {"feat_proj_layer_norm": False}),
    ("Hubert", {"feat_extract_norm": "layer", "conv_bias": True}),
    ("Hubert", {"conv_bias": True}),
    ("Hubert", {"conv_kernel": [10, 3, 4, 3, 1, 2, 2], "conv_stride": [5, 2, 3, 1, 2, 2, 2]}),
    ("Wav2Vec2", {"do_stable_layer_norm": True, "adapter_attn_dim": 8}),
    ("Wav2Vec2", {"hidden_act": "relu", "feat_extract_activation": "gelu_new"}),
    ("WavLM", {"num_conv_pos_embeddings": 15}),
    (
        "Data2VecAudio",
        {"num_conv_pos_embeddings": 2, "conv_pos_kernel_size": 6, "do_stable_layer_norm": True},
    ),
]


@pytest.mark.parametrize(("family", "options"), OPTIONS)
def test_options_that_no_layout_here_has_equal_transformers(
    family: str, options: dict[str, Any]
) -> None:
    import transformers

    config = getattr(transformers, f"{family}Config")(
        **{**checkpoints.TINY, "layerdrop": 0.0, **options}
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        model = getattr(transformers, f"{family}Model")(config).eval()
        for weights in model.parameters():
            weights.add_(0.1 * torch.randn(weights.shape))
    audio = clips([16000])
    expected = torch.stack(model(audio, output_hidden_states=True).hidden_states, dim=1)
    encoder = Encoder(model, normalize=False)
    torch.testing.assert_close(packed(encoder, audio, [16000]), expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(padded(encoder, audio, [16000]), expected, rtol=1e-4, atol=1e-4)


# -- the extractor ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hubert", "wavlm-large", "data2vec"])
def test_pooled_features_are_means_and_deviations_over_own_frames(
    tmp_path: Path, kind: str
) -> None:
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path / kind, kind))
    states, frames = extractor(clips(), torch.tensor(LENGTHS))
    assert frames.tolist() == [frames_of(samples) for samples in LENGTHS]
    own = [state[:, :n].double() for state, n in zip(states, frames, strict=True)]
    expected = torch.stack([torch.stack([o.mean(1), o.std(1, correction=0)]) for o in own]).float()
    moments = extractor.moments(clips(), torch.tensor(LENGTHS))
    assert moments.dtype == torch.float32
    torch.testing.assert_close(moments, expected, rtol=1e-4, atol=1e-5)
    encoder = Encoder(extractor.model, extractor.normalization != "none")
    torch.testing.assert_close(
        encoder.padded(clips(), torch.tensor(LENGTHS), True), expected, rtol=1e-4, atol=1e-5
    )


def test_moments_are_float32_sums_also_in_bfloat16(tmp_path: Path) -> None:
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "hubert"))
    extractor.to("cpu", torch.bfloat16)
    states, _ = extractor(clips([192000]), torch.tensor([192000]))
    means, deviations = extractor.moments(clips([192000]), torch.tensor([192000]))[0]
    assert means.dtype == torch.float32
    own = states[0].double()  # of a clip alone, in the rounding of its bfloat16
    torch.testing.assert_close(means, own.mean(dim=1).float(), rtol=1e-5, atol=1e-6)
    exact = own.std(dim=1, correction=0).float()
    torch.testing.assert_close(deviations, exact, rtol=1e-5, atol=1e-6)


def test_the_compiled_forward_is_one_graph_and_equal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Traced as a whole; code for it and symbolic shapes are left out, because they take
    minutes.
    """
    compiler = torch.compile
    torch._dynamo.reset()
    monkeypatch.setattr(
        torch, "compile", lambda function, **_: compiler(function, backend="eager", fullgraph=True)
    )
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "wavlm"))
    lengths = torch.tensor([16000, 9000, 4800])
    audio = clips(lengths.tolist())
    expected = extractor.moments(audio, lengths)
    extractor.compile()
    longer = torch.nn.functional.pad(audio, (0, 2000))  # a bucket is longer than its clips
    torch.testing.assert_close(extractor.moments(longer, lengths), expected, rtol=1e-4, atol=1e-5)


def test_a_forward_leaves_the_weights_as_they_are(tmp_path: Path) -> None:
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "wavlm"))
    extractor(clips([4800]), torch.tensor([4800]))
    assert digest_state(extractor.model) == extractor.digest


def test_moved_weights_are_taken_again(tmp_path: Path) -> None:
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "hubert"))
    first = extractor(clips([4800]), torch.tensor([4800]))[0]
    extractor.to("cpu", torch.bfloat16)
    assert extractor(clips([4800]), torch.tensor([4800]))[0].dtype == torch.bfloat16
    extractor.to("cpu", torch.float32)
    rounded = extractor(clips([4800]), torch.tensor([4800]))[0]
    assert 1e-4 < (rounded - first).norm() / first.norm() < 0.05


@pytest.mark.parametrize("kind", ["hubert", "wavlm-large", "data2vec"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_silence_beside_sound_stays_finite(tmp_path: Path, kind: str, dtype: torch.dtype) -> None:
    encoder = encoder_of(tmp_path, kind, dtype)
    audio = torch.cat([clips([4800]), torch.zeros(1, 4800), torch.full((1, 4800), 0.7)])
    for way in (packed, padded):
        assert way(encoder, audio, [4800, 4800, 3200]).isfinite().all()


def test_one_clip_too_short_is_named(tmp_path: Path) -> None:
    extractor = TransformerExtractor.from_folder(checkpoints.write(tmp_path, "hubert"))
    message = (
        r"a clip of 399 samples \(number 2 of 3 in the batch\) is shorter than one frame, "
        r"400 samples at 16000 Hz"
    )
    with pytest.raises(ExtractError, match=message):
        extractor(clips([4800, 399, 400]), torch.tensor([4800, 399, 400]))
    with pytest.raises(
        ValueError, match=r"lengths \(batch,\) at most samples, not \(1, 4800\) and \[4801\]"
    ):
        extractor(clips([4800]), torch.tensor([4801]))
