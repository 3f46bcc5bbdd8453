"""No model computes with memory that nobody wrote, in whatever process it is loaded.

Under transformers 5 the published code of some encoders does: it keeps positions outside its
weights and makes them where tensors have no memory yet, and what they get later is whatever lies
there.
"""

import json
import sys

import checkpoints
import poisoned
import pytest
from processes import CONTEXT
from test_own_models import TINY, write

from svuprobe.extractors.models.frontends import FAMILIES as OTHERS
from svuprobe.extractors.networks.table import FAMILIES

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="glibc alone fills memory"
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
    for byte in (42, 213):
        out = tmp_path_factory.mktemp("said") / "digests.json"
        process = CONTEXT.Process(target=poisoned.main, args=(byte, folder, out))
        process.start()
        process.join()
        assert process.exitcode == 0
        said.append(json.loads(out.read_text()))
    return said


def test_a_network_at_fault_is_told(digests):
    first, second = (each["a network at fault"] for each in digests)
    assert first != second


@pytest.mark.parametrize("what", EVERY)
def test_what_a_model_computes_is_the_same_in_every_process(digests, what):
    first, second = (each[what] for each in digests)
    assert first == second
