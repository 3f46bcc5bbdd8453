"""Read published checkpoints: their files, their weights without running code, their architecture.

`source` says which files count, `files` what a file really is, `parts` which part of a larger model
is wanted, `weight_files` which files hold it, `reading` reads them, `weights` picks the encoder's,
`architecture` makes the encoder that they fill, `feature_extractors` what makes its input,
`revision` names it all; `refused` says what isn't loaded. What other rooms use is named here.
"""

from svuprobe.extractors.checkpoints.architecture import (
    MODEL_TYPES,
    architecture,
    current_key,
    digest_state,
    empty,
    encoder_config,
    family_of,
    fill,
    older_key,
    sample_rate_of,
    waveform_of,
)
from svuprobe.extractors.checkpoints.feature_extractors import check_bands, feature_extractor
from svuprobe.extractors.checkpoints.files import read_json
from svuprobe.extractors.checkpoints.parts import part_of
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
    BATCH_COUNT,
    check_values,
    refuse_unused_language_adapters,
    select,
)

__all__ = [
    "BATCH_COUNT",
    "MODEL_TYPES",
    "NESTED_SETTINGS",
    "SETTINGS",
    "Source",
    "architecture",
    "check_bands",
    "check_values",
    "current_key",
    "digest_files",
    "digest_state",
    "empty",
    "encoder_config",
    "entries_beside_weights",
    "family_of",
    "feature_extractor",
    "fill",
    "find_weights",
    "folder_revision",
    "in_folder",
    "older_key",
    "on_hub",
    "part_of",
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
