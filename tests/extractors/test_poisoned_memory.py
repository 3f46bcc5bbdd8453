"""No model computes with memory that nobody wrote, in whatever process it is loaded.

Under transformers 5 the published code of some encoders does: it keeps positions outside its
weights and makes them where tensors have no memory yet, and what they get later is whatever lies
there.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import checkpoints
import poisoned
import pytest
from test_own_models import TINY, write

from svuprobe.extractors.models.frontends import FAMILIES as OTHERS
from svuprobe.extractors.networks.table import FAMILIES

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="MALLOC_PERTURB_ is glibc's"
)
EVERY = [
    *(f"computed of {family}" for family in FAMILIES),
    *(f"states of {family}" for family in poisoned.SMALL),
    *(f"states of {kind}" for kind in (*checkpoints.LAYOUTS, *OTHERS)),
]


@pytest.fixture(scope="module")
def digests(tmp_path_factory):
    """What two processes with other bytes in fresh memory say of every model."""
    folder = tmp_path_factory.mktemp("models")
    for kind in checkpoints.LAYOUTS:
        checkpoints.write(folder / kind, kind)
    for kind in TINY:
        write(folder / kind, kind)
    said = []
    for byte in ("42", "213"):
        environment = os.environ | {"MALLOC_PERTURB_": byte, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [sys.executable, Path(poisoned.__file__), folder],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        said.append(json.loads(done.stdout.splitlines()[-1]))
    return said


def test_a_network_at_fault_is_told(digests):
    first, second = (each["a network at fault"] for each in digests)
    assert first != second


@pytest.mark.parametrize("what", EVERY)
def test_what_a_model_computes_is_the_same_in_every_process(digests, what):
    first, second = (each[what] for each in digests)
    assert first == second
