"""What builds the rows of a collection, by its definition."""

from collections.abc import Iterable

from alder.catalog import Collection
from alder.paths import RECORD_FIELDS
from alder.transformation import Transformation
from tailer.batch import Builder, RowBuilder, RowSpec
from tailer.decode import JsonDecoder
from tailer.settings import TailerSettings
from tailer.transforming import TransformingBuilder


def builder_of(
    collection: Collection,
    source: str,
    partition: int,
    settings: TailerSettings,
    paths: Iterable[str],
) -> Builder:
    """A builder for a partition of a source of a collection, whose ``paths`` have columns.

    Raises AlderError for a transformation that this version can't run.
    """
    kept = collection.settings
    spec = RowSpec(
        source,
        partition,
        collection.key_path,
        collection.time_path,
        collection.shard_by_path,
        kept.version_path,
        kept.deleted_path,
        kept.merge,
        kept.envelope,
    )
    known = sorted(set(paths).difference(RECORD_FIELDS))
    rows = RowBuilder(spec, settings, JsonDecoder(settings.decode, known))
    if not kept.transform_sql:
        return rows
    transformation = Transformation(kept.transform_sql, kept.ordinal_bits)
    numbered = kept.ordinal_bits > 0
    return TransformingBuilder(source, partition, transformation, settings, rows, numbered)
