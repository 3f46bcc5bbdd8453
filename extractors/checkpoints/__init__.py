"""Read published checkpoints: their files, their weights without running code, their architecture.

`source` says which files count, `files` what a file really is, `weight_files` which hold the
weights, `reading` reads them, `weights` picks the encoder's, `architecture` makes the encoder that
they fill, `revision` names it all; `refused` says what isn't loaded. What other rooms use is named
here.
"""

from svuprobe.extractors.checkpoints.architecture import (
    MODEL_TYPES,
    architecture,
    digest_state,
    empty,
    encoder_config,
    family_of,
    fill,
    sample_rate_of,
    waveform_of,
)
from svuprobe.extractors.checkpoints.files import read_json
from svuprobe.extractors.checkpoints.reading import entries_beside_weights, read_state
from svuprobe.extractors.checkpoints.refused import refuse_known
from svuprobe.extractors.checkpoints.revision import digest_files, folder_revision, revision_of
from svuprobe.extractors.checkpoints.source import (
    NESTED_SETTINGS,
    SETTINGS,
    Source,
    in_folder,
    on_hub,
    read_settings,
    refuse_adapter,
)
from svuprobe.extractors.checkpoints.weight_files import find_weights
from svuprobe.extractors.checkpoints.weights import (
    check_values,
    refuse_unused_language_adapters,
    select,
)

__all__ = [
    "MODEL_TYPES",
    "NESTED_SETTINGS",
    "SETTINGS",
    "Source",
    "architecture",
    "check_values",
    "digest_files",
    "digest_state",
    "empty",
    "encoder_config",
    "entries_beside_weights",
    "family_of",
    "fill",
    "find_weights",
    "folder_revision",
    "in_folder",
    "on_hub",
    "read_json",
    "read_settings",
    "read_state",
    "refuse_adapter",
    "refuse_known",
    "refuse_unused_language_adapters",
    "revision_of",
    "sample_rate_of",
    "select",
    "waveform_of",
]
