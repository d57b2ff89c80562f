"""Shards built from a part of a log, beside shards built from all of it: no server needed."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest
from log_records import Record, answered

from alder.catalog import Collection, Shard, Source, SourcePartition
from alder.cli.proof.compare import Limits, ShardComparison
from alder.cli.proof.coverage import Wanted, coverage_of
from alder.cli.proof.model import Coverage, Kind, Range, ShardProof
from alder.cli.proof.scratch import TAILER_SETTINGS, built
from alder.errors import AlderError, Reason
from alder.interfaces import CatalogClient, ProofClient
from alder.positions import PositionVector
from alder.v1 import log_pb2, proof_pb2
from leaf.proving import Prover

ROWS = 9_000
KEY = ("log", 0)
NOBODY = cast(CatalogClient, None)
LIMITS = Limits(seed=1, conditions=8, timeout_s=30.0)


@dataclass
class Log:
    """One partition of made-up records, of which the first ones may be gone."""

    begin: int = 0
    altered: int = -1
    reads: int = 0
    begin_after_reads: int = 0

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> log_pb2.ReadResponse:
        self.reads += 1
        if self.begin_after_reads and self.reads > self.begin_after_reads:
            self.begin = ROWS
        if request.offset < self.begin:
            raise AlderError(Reason.OUT_OF_RANGE, "gone", begin_offset=str(self.begin))
        numbers = range(request.offset, min(ROWS, request.offset + 700))
        records = [Record(self._value(number), timestamp_us=number + 1) for number in numbers]
        return log_pb2.ReadResponse(
            offset=request.offset, records=answered(records), end_offset=ROWS
        )

    def _value(self, number: int) -> bytes:
        text = "other" if number == self.altered else f"text {number % 100}"
        return json.dumps({"k": f"k{number % 50}", "n": number, "s": text}).encode()


def collection_of(keyed: bool = False) -> Collection:
    return Collection(
        "c", 1, key_path="k" if keyed else "",
        sources=(Source("log", "log", "topic", (SourcePartition(0),)),),
        shards=(Shard(0, 0, 2048, "a"), Shard(1, 2048, 4096, "b")),
    )  # fmt: skip


def covered(wanted: Wanted | None = None, begin: int = 0, keyed: bool = False) -> Coverage:
    at = PositionVector({KEY: ROWS})
    return coverage_of(collection_of(keyed), at, {KEY: begin}, {}, wanted or Wanted())


def rebuilt(
    collection: Collection,
    coverage: Coverage,
    log: Log,
    directory: Path,
    size_bytes_max: int = 1 << 30,
) -> AbstractAsyncContextManager[Prover]:
    return built(
        collection, coverage, NOBODY, log, TAILER_SETTINGS, directory, size_bytes_max, ignore
    )


def compared(
    directory: Path, serving: Log, log: Log, coverage: Coverage, keyed: bool = False
) -> list[ShardProof]:
    """What all of one log makes, beside what a coverage of another makes."""
    collection = collection_of(keyed)

    async def with_both(mine: Prover, other: Prover) -> list[ShardProof]:
        return [
            await ShardComparison(collection, shard, coverage, mine, other, LIMITS).run()
            for shard in coverage.shards
        ]

    async def main() -> list[ShardProof]:
        places = directory / "serving", directory / "log"
        for place in places:
            place.mkdir()
        whole = covered(keyed=keyed)
        async with (
            rebuilt(collection, whole, serving, places[0]) as mine,
            rebuilt(collection, coverage, log, places[1]) as other,
        ):
            return await with_both(mine, other)

    return asyncio.run(main())


def ignore(offsets: int) -> None:
    """Nobody waits."""


@pytest.mark.parametrize(
    ("coverage", "rows"),
    [
        (covered(), ROWS),
        (covered(begin=4_500), 4_500),
        (covered(Wanted(fraction=0.4, seed=5)), 4_096 + ROWS - 8_192),
    ],
)
def test_what_is_left_or_chosen_of_a_log_makes_the_same_rows(
    tmp_path: Path, coverage: Coverage, rows: int
) -> None:
    proofs = compared(tmp_path, Log(), Log(begin=coverage.ranges[0].begin), coverage)
    assert [proof.findings for proof in proofs] == [(), ()]
    assert sum(proof.rows for proof in proofs) == rows
    assert all(proof.taken_in == coverage.whole for proof in proofs)
    assert any(proof.conditions for proof in proofs)


def test_without_the_beginning_documents_of_keys_are_compared_and_deaths_are_not(
    tmp_path: Path,
) -> None:
    coverage = covered(begin=4_500, keyed=True)
    proofs = compared(tmp_path, Log(altered=8_000), Log(begin=4_500), coverage, keyed=True)
    (finding,) = [one for proof in proofs for one in proof.findings]
    assert (finding.kind, finding.row, finding.row_id) == (Kind.ALTERED, "log/0/8000", "k0")
    assert sum(proof.rows for proof in proofs) == 4_500
    assert all(proof.conditions == 0 for proof in proofs)


def test_one_altered_document_shows_in_the_total_too(tmp_path: Path) -> None:
    proofs = compared(tmp_path, Log(altered=8_999), Log(), covered())
    kinds = [one.kind for proof in proofs for one in proof.findings if one.kind is not Kind.ANSWER]
    assert sorted(kinds) == [Kind.ALTERED, Kind.TOTAL]


class Lying:
    """Tells of one condition that another row meets it."""

    def __init__(self, honest: Prover) -> None:
        self.digest = honest.digest
        self.check_stored = honest.check_stored
        self._honest = honest

    async def probe(
        self, request: proof_pb2.ProbeRequest, timeout_s: float | None = None
    ) -> proof_pb2.ProbeResponse:
        response = await self._honest.probe(request, timeout_s)
        response.answers[0].digest = "0" * 32
        return response


def test_an_answer_with_other_rows_is_named(tmp_path: Path) -> None:
    async def main() -> ShardProof:
        collection, coverage = collection_of(), covered()
        async with rebuilt(collection, coverage, Log(), tmp_path) as log:
            made = [await log.conditions("c", (1, shard), 1, 1) for shard in coverage.shards]
            shard = coverage.shards[0] if made[0] else coverage.shards[1]
            lying = cast(ProofClient, Lying(log))
            return await ShardComparison(collection, shard, coverage, lying, log, LIMITS).run()

    proof = asyncio.run(main())
    (finding,) = proof.findings
    assert finding.kind is Kind.ANSWER
    assert "finds other rows, a scan of the log" in finding.detail
    assert proof.conditions == LIMITS.conditions


async def _refused(build: Callable[[], Awaitable[None]], reason: Reason, words: str) -> None:
    with pytest.raises(AlderError, match=words) as raised:
        await build()
    assert raised.value.reason is reason


@pytest.mark.parametrize(
    ("log", "size_bytes_max", "reason", "words"),
    [
        (Log(), 1, Reason.LIMIT, "--scratch-mb"),
        (Log(begin_after_reads=3), 1 << 30, Reason.OUT_OF_RANGE, "gone"),
    ],
)
def test_a_building_that_cant_go_on_says_why(
    tmp_path: Path, log: Log, size_bytes_max: int, reason: Reason, words: str
) -> None:
    async def build() -> None:
        coverage = covered()
        async with rebuilt(collection_of(), coverage, log, tmp_path, size_bytes_max):
            raise AssertionError("it was built")

    asyncio.run(_refused(build, reason, words))


def test_a_range_says_where_it_is() -> None:
    assert str(Range(KEY, 3, 9)) == "log/0 offsets 3 to 8"
