"""Which rows of a shard meet some conditions, as a count and a digest of their births.

Two replicas at the same cut are asked the same, so that what their indexes find can be compared
without the rows: one through its indexes, the other, which is built anew, by a scan.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import numpy as np
import pyarrow as pa

from alder.errors import AlderError, Reason
from alder.fieldtypes import column_name, sql_type
from alder.positions import PositionVector
from alder.v1 import leaf_pb2, proof_pb2
from leaf import births
from leaf.digest import group_sums, origins, pair_hashes, seeds_of, to_hex
from leaf.engine import Cancellation
from leaf.fragment import run_fragment
from leaf.fragmentmodel import FragmentMode, FragmentTools
from leaf.pieces import Piece, holders, stored_column
from leaf.probes import PROBE_COLUMN, probe_of, probes
from leaf.ranges import Places, Range
from leaf.view import ShardView
from leaf.visibility import Births

ROWS_LOOKED_AT: Final = 64
"""Rows of which the values of conditions are taken."""
VALUES_PER_PATH: Final = 2
CONDITIONS_MAX: Final = 256
"""Conditions of one call."""
_NAMES: Final = ("_source", "_partition", "_offset")
_TYPES: Final = ("VARCHAR", "INTEGER", "BIGINT")
_CHOSEN: Final = ("s", "p", "o")
_UNANSWERABLE: Final = frozenset(
    {Reason.SCHEMA_CHANGED, Reason.WRONG_TYPE, Reason.INVALID_ARGUMENT, Reason.LIMIT}
)
"""Why a condition has no answer: other types are at its path, or it leaves too many rows."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one path, as it is asked and as people read it (``told``)."""

    path: str
    types: tuple[str, ...]
    operator: str
    values_json: tuple[str, ...]
    told: str

    def to_proto(self) -> proof_pb2.ProbeCondition:
        """The condition as it travels."""
        return proof_pb2.ProbeCondition(
            path=self.path,
            types=self.types,
            operator=self.operator,
            values_json=self.values_json,
        )


@dataclass(frozen=True, slots=True)
class Probing:
    """What conditions are asked with; ``scan`` does without indexes. No ranges: all rows count."""

    view: ShardView
    keyed: bool
    at: PositionVector
    ranges: Sequence[Range]
    scan: bool
    tools: FragmentTools
    cancellation: Cancellation

    def answer(self, condition: proof_pb2.ProbeCondition) -> proof_pb2.ProbeAnswer:
        """The rows that meet a condition. Raises AlderError, but not where there is none."""
        fragment = self._fragment(condition)
        try:
            mine = self._births(self._matching(fragment))
        except AlderError as error:
            if error.reason not in _UNANSWERABLE:
                raise
            return proof_pb2.ProbeAnswer(refused=error.message)
        streams = self.view.streams
        if self.ranges:
            mine = mine[Places(streams, self.ranges).of(mine) >= 0]
        origin = origins(streams)[births.streams_of(mine)]
        seeds = seeds_of(births.places_of(mine), origin)
        (digest,) = group_sums(pair_hashes(seeds, seeds), np.zeros(len(mine), np.int64), 1)
        return proof_pb2.ProbeAnswer(rows=len(mine), digest=to_hex(digest))

    def _fragment(self, condition: proof_pb2.ProbeCondition) -> leaf_pb2.Fragment:
        binding, probe = probe_of(
            condition.path, condition.types, condition.operator, condition.values_json
        )
        binding.overflow = bool(binding.types) and self.view.schema.overflow
        columns = [
            leaf_pb2.ColumnBinding(name=name, path=path, sql_type=kind)
            for name, path, kind in zip(_CHOSEN, _NAMES, _TYPES, strict=True)
        ]
        fragment = leaf_pb2.Fragment(
            sql=f"SELECT {', '.join(_CHOSEN)} FROM rows WHERE {probe.sql}",
            columns=[binding, *columns],
        )
        if not self.scan:
            fragment.terms.append(probe.term)
            fragment.terms_exact = probe.exact
            fragment.selection.columns.extend(_CHOSEN)
        return fragment

    def _matching(self, fragment: leaf_pb2.Fragment) -> pa.Table:
        views = {0: self.view}
        return run_fragment(
            views, fragment, self.at, self.keyed, self.tools, self.cancellation, FragmentMode()
        ).table

    def _births(self, rows: pa.Table) -> Births:
        sources, partitions, offsets = (rows.column(name).combine_chunks() for name in _CHOSEN)
        encoded = sources.dictionary_encode()
        codes = encoded.indices.to_numpy() if len(encoded) else np.empty(0, dtype=np.int64)
        names = encoded.dictionary.to_pylist()
        numbers = {key: number for number, key in enumerate(self.view.streams)}
        pairs, places = np.unique(
            np.stack([codes, partitions.to_numpy()], axis=1), axis=0, return_inverse=True
        )
        streams = [numbers[names[code], partition] for code, partition in pairs.tolist()]
        mine = np.asarray(streams, dtype=np.int64)[places.reshape(-1)] << births.PLACE_BITS
        found: Births = mine | self.view.streams.first_places(offsets.to_numpy())
        return found


def conditions_of(view: ShardView, keyed: bool, seed: int, count: int) -> list[Condition]:
    """Conditions on every path that the shard has, made of values in it; ``count`` at most.

    Which ones is decided by the seed. Raises AlderError(CORRUPT).
    """
    chance = Random(seed)
    pieces = [
        Piece(holder, np.sort(chance.sample(range(holder.rows), min(holder.rows, ROWS_LOOKED_AT))))
        for holder in holders(view)
        if holder.rows
    ]
    if not pieces:
        return []
    paths = [(path, tuple(sorted(tags))) for path, tags in view.schema.fields.items()]
    made: list[Condition] = []
    for path, types in [*paths, ("_id", ()), ("_time", ())]:
        piece = chance.choice(pieces)
        names = [column_name(tag, path) for tag in types]
        names = names or [path if path == "_time" else "_key" if keyed else "_birth"]
        columns = {name: stored_column(piece, name) for name in names}
        kind = sql_type(types) if types else {"_id": "VARCHAR", "_time": "TIMESTAMP"}[path]
        binding = leaf_pb2.ColumnBinding(name=PROBE_COLUMN, path=path, sql_type=kind, types=types)
        for probe in probes(binding, columns, view.streams, VALUES_PER_PATH, seed):
            values = tuple(probe.term.values_json)
            made.append(Condition(path, types, probe.term.operator, values, probe.told))
    return made if len(made) <= count else chance.sample(made, count)
