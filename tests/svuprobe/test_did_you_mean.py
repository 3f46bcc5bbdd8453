"""A name that is not known is answered with the one that is most like it."""

import pytest

from svuprobe._errors import did_you_mean
from svuprobe.tasks import TABLE


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("GTZAN", "gtzan"),
        ("MERT-v1-95M", "mert-v1-95m"),
        ("Vocal-Set", "vocalset"),
        ("ReLu", "relu"),
    ],
)
def test_capitals_hide_no_name(typed, meant):
    assert did_you_mean(typed, ["mert-v1-95m", "gtzan", "vocalset", "relu"]) == (
        f"did you mean {meant}?"
    )


def test_a_name_is_offered_as_it_is_written():
    assert did_you_mean("cached", ["Cache", "other"]) == "did you mean Cache?"
    assert did_you_mean("xyzzy", ["A", "b"]) == "there are A, b"


@pytest.mark.parametrize("name", TABLE)
def test_every_task_is_found_in_capitals(name):
    assert name in did_you_mean(name.upper(), TABLE)
