"""Finds the rows in which two replicas differ: pure decisions over digests of ranges.

Ranges that differ are cut into parts until they are short enough to be asked for row by row. Only a
bounded number is followed at a time; what is left over is counted, not forgotten.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from alder.cli.proof.model import Finding, Kind, Range
from alder.v1 import proof_pb2

PARTS: Final = 32
"""Into so many parts a range that differs is cut."""
OFFSETS_SINGLE_MAX: Final = 64
"""Ranges of at most so many offsets are asked for row by row."""
RANGES_FOLLOWED_MAX: Final = 32
"""Ranges that differ and are followed at the same time, so that one call names few rows."""


def cut_up(one: Range, parts: int, offsets_min: int = 1) -> list[Range]:
    """A range in at most so many parts of about the same size, each of at least so many offsets."""
    count = max(1, min(parts, one.offsets // offsets_min))
    bounds = [one.begin + one.offsets * part // count for part in range(count + 1)]
    return [Range(one.key, begin, end) for begin, end in pairwise(bounds)]


def same(a: proof_pb2.RangeDigest, b: proof_pb2.RangeDigest, deaths: bool) -> bool:
    """True if two digests are equal, those of deaths only where they count."""
    if (a.deaths, a.deaths_digest) != (b.deaths, b.deaths_digest) and deaths:
        return False
    return (a.rows, a.rows_digest, a.quarantined, a.quarantined_digest) == (
        b.rows,
        b.rows_digest,
        b.quarantined,
        b.quarantined_digest,
    )


@dataclass(frozen=True, slots=True)
class Step:
    """What to ask next: digests of ``ranges``, and the rows of ``single``."""

    ranges: tuple[Range, ...] = ()
    single: tuple[Range, ...] = ()
    left_over: int = 0
    """Ranges that differ and are not followed."""


def next_step(
    asked: Sequence[Range],
    log: Sequence[proof_pb2.RangeDigest],
    serving: Sequence[proof_pb2.RangeDigest],
    deaths: bool,
) -> Step:
    """What to ask after the digests of some ranges."""
    pairs = zip(asked, log, serving, strict=True)
    differing = [one for one, a, b in pairs if not same(a, b, deaths)]
    followed = differing[:RANGES_FOLLOWED_MAX]
    long = [one for one in followed if one.offsets > OFFSETS_SINGLE_MAX]
    return Step(
        ranges=tuple(part for one in long for part in cut_up(one, PARTS, OFFSETS_SINGLE_MAX // 2)),
        single=tuple(one for one in followed if one.offsets <= OFFSETS_SINGLE_MAX),
        left_over=len(differing) - len(followed),
    )


def findings_of(
    shard: int,
    log: Sequence[proof_pb2.StoredRow],
    serving: Sequence[proof_pb2.StoredRow],
    unreadable: Sequence[proof_pb2.DamagedRows],
    deaths: bool,
) -> list[Finding]:
    """The rows of one shard that differ, by source, partition and offset."""
    expected, found = _by_place(log), _by_place(serving)
    made = []
    for place in sorted({*expected, *found}):
        a, b = expected.get(place), found.get(place)
        finding = _finding(shard, a, b, unreadable, deaths)
        if finding is not None:
            made.append(finding)
    return made


_Place = tuple[str, int, int, int, bool]


def _by_place(rows: Sequence[proof_pb2.StoredRow]) -> Mapping[_Place, proof_pb2.StoredRow]:
    return {
        (row.source, row.partition, row.offset, row.ordinal, bool(row.quarantined)): row
        for row in rows
    }


def _finding(
    shard: int,
    log: proof_pb2.StoredRow | None,
    serving: proof_pb2.StoredRow | None,
    unreadable: Sequence[proof_pb2.DamagedRows],
    deaths: bool,
) -> Finding | None:
    some = log or serving
    if some is None:
        return None
    if serving is None and _is_unreadable(some, unreadable):
        return None
    if log is None or serving is None:
        kind, detail = _MISSING[bool(some.quarantined), log is None]
    elif log.digest != serving.digest:
        kind, detail = _OTHER[bool(some.quarantined)]
    elif deaths and list(log.killers) != list(serving.killers):
        kind, detail = Kind.DEATHS, f"by the log {_died(log)}, in what serves {_died(serving)}"
    else:
        return None
    where = f"{some.source}/{some.partition}/{some.offset}"
    if some.HasField("ordinal"):
        where += f"/{some.ordinal}"
    return Finding(
        kind,
        shard,
        detail,
        where,
        some.key or where,
        None if log is None else _document(log),
        None if serving is None else _document(serving),
    )


_MISSING: Final = {
    (False, False): (Kind.LOST, "the log has this row, what serves does not"),
    (False, True): (Kind.EXTRA, "what serves has this row, by the log it has none"),
    (True, False): (Kind.QUARANTINE, "by the log this record is in quarantine, it is not there"),
    (True, True): (Kind.QUARANTINE, "this record is in quarantine, by the log it is not"),
}
_OTHER: Final = {
    False: (Kind.ALTERED, "the document that serves is not that of the log"),
    True: (Kind.QUARANTINE, "the record in quarantine, or its reason, is not that of the log"),
}


def _is_unreadable(row: proof_pb2.StoredRow, unreadable: Sequence[proof_pb2.DamagedRows]) -> bool:
    """True if it can be one of those that can't be read, which are told together.

    Of some not even where they were born can be read.
    """
    if any(not damage.births for damage in unreadable):
        return True
    return any(
        (one.source, one.partition) == (row.source, row.partition)
        and one.begin_offset <= row.offset < one.end_offset
        for damage in unreadable
        for one in damage.births
    )


def _died(row: proof_pb2.StoredRow) -> str:
    return f"it died at {', '.join(row.killers)}" if row.killers else "it is alive"


def _document(row: proof_pb2.StoredRow) -> str:
    cut_off = row.document_bytes > len(row.document.encode())
    return f"{row.document}… ({row.document_bytes} bytes)" if cut_off else row.document
