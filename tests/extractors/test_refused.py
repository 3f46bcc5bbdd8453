"""Checkpoints of models that svuprobe knows of and doesn't load: each is told by its name."""

import json

import pytest

from svuprobe.extractors.base import ExtractError
from svuprobe.extractors.checkpoints.refused import REFUSED, refuse_known
from svuprobe.extractors.checkpoints.source import Source
from svuprobe.extractors.loading import load

TYPES = [(kind, refused) for refused in REFUSED for kind in refused.model_types]


@pytest.mark.parametrize(("model_type", "refused"), TYPES, ids=[kind for kind, _ in TYPES])
def test_a_model_type_is_told_by_what_it_is_and_why(tmp_path, model_type, refused):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": model_type}))
    with pytest.raises(ExtractError) as caught:
        load(f"hf:{tmp_path}")
    message = str(caught.value)
    assert f"this is {refused.what}, which svuprobe doesn't load: {refused.why}; " in message
    assert "supported are" not in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("place", "beginning"),
    [
        ("xeus_checkpoint_old.pth", "XEUS"),
        ("weights_clamp3_c2_h_size_768_t_model_FacebookAI_xlm-roberta-base.pth", "CLaMP 3"),
        ("m2d_vit_base-80x608p16x16-221006-mr7/checkpoint-300.pth", "M2D"),
        ("passt-s-f128-p16-s10-ap.476-swa.pt", "PaSST"),
        ("mule/mule.keras", "MULE"),
        ("SSLAM_Pretrained.pt", "SSLAM"),
    ],
)
def test_a_file_without_config_json_is_told_by_its_name(tmp_path, place, beginning):
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.touch()
    with pytest.raises(ExtractError, match=rf"this is {beginning},? .*which svuprobe doesn't load"):
        refuse_known(Source("hf:it", path.parent))


@pytest.mark.parametrize(
    "hub", ["worstchan/EAT-base_epoch30_pretrain", "espnet/xeus", "marcoyang/spear-xlarge"]
)
def test_a_repository_is_told_by_its_name(hub):
    with pytest.raises(ExtractError, match="which svuprobe doesn't load"):
        refuse_known(Source(f"hf:{hub}", hub=hub, commit=40 * "0", files=("README.md",)))


def test_what_is_loaded_is_never_told_by_its_name(tmp_path):
    """A name counts only where nothing says what the checkpoint is."""
    folder = tmp_path / "mule"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "wavlm"}))
    with pytest.raises(ExtractError, match="the checkpoint has neither"):
        load(f"hf:{folder}")


def test_each_pattern_can_match_and_none_is_of_two_models():
    for refused in REFUSED:
        assert refused.names
        assert all(name == name.lower() for name in refused.names)
    kinds = [kind for kind, _ in TYPES]
    assert len(set(kinds)) == len(kinds)
