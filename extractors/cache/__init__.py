"""Keep features on disk: immutable HDF5 shards, the index that joins them, and checks of both.

`format` says what lies where; `plan`, `shards` and `index` write it; `reader` reads it;
`checksums`, `changed`, `verify` and `manage` keep it whole. What other rooms use is named here.
"""

from svuprobe.extractors.cache.changed import ShardClips, changed_shards
from svuprobe.extractors.cache.format import (
    Header,
    Row,
    find,
    folder_name,
    misplaced,
    require_place,
)
from svuprobe.extractors.cache.index import join
from svuprobe.extractors.cache.manage import (
    CacheInfo,
    cache_folders,
    cache_info,
    delete_cache,
    empty_folders,
    prune,
    size_of,
    tidy,
)
from svuprobe.extractors.cache.plan import made_with, plan_shards
from svuprobe.extractors.cache.reader import FeatureCache, JoinedFeatures
from svuprobe.extractors.cache.shards import ShardWriter, claim, delete_shard, read_shards
from svuprobe.extractors.cache.verify import Damage, verify

__all__ = [
    "CacheInfo",
    "Damage",
    "FeatureCache",
    "Header",
    "JoinedFeatures",
    "Row",
    "ShardClips",
    "ShardWriter",
    "cache_folders",
    "cache_info",
    "changed_shards",
    "claim",
    "delete_cache",
    "delete_shard",
    "empty_folders",
    "find",
    "folder_name",
    "join",
    "made_with",
    "misplaced",
    "plan_shards",
    "prune",
    "read_shards",
    "require_place",
    "size_of",
    "tidy",
    "verify",
]
