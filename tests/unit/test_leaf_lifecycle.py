"""Rows go when no answer can hold them any more; when exactly shows in none.

A plain model says which rows an answer as of a vector has, and which vectors are refused. Replicas
that are fed, sealed, merged, purged and restarted at different times agree with it and each other.
"""

import random
from pathlib import Path

import pytest
from leaf_model import merge_now
from lifecycle_model import SETTINGS, Model, Replica, content, rows_of, seal_now

from alder.catalog import CollectionSettings
from leaf import purge
from leaf.pieces import holders
from leaf.shard import Shard
from leaf.view import ShardView

ROWS = 300


def floors(view: ShardView) -> dict[tuple[str, int], int]:
    return dict(
        zip(view.streams, view.streams.offsets_of(view.log_time.floor()).tolist(), strict=True)
    )


def rows_stored(shard: Shard) -> int:
    return sum(holder.rows for holder in holders(shard.view))


@pytest.mark.parametrize(
    ("kept", "keyed"),
    [(SETTINGS[0], True), (SETTINGS[1], False), (SETTINGS[1], True), (SETTINGS[2], True)],
)
def test_replicas_agree_with_the_model_whenever_rows_go(
    tmp_path: Path, kept: CollectionSettings, keyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(purge, "DEATHS_PER_BLOCK", 7)
    chance = random.Random(f"{kept}{keyed}")
    model = Model(rows_of(chance, 2, ROWS, keyed), kept, keyed)
    replicas = [Replica(tmp_path / name, model, chance) for name in "ab"]
    refused = answered = 0
    for _ in range(60):
        for replica in replicas:
            if chance.random() < 0.7:
                replica.step()
        if chance.random() < 0.5:
            cut = tuple(
                chance.randrange(min(ends) + 1)
                if chance.random() < 0.2
                else max(0, min(ends) - chance.randrange(12))
                for ends in zip(*(replica.positions for replica in replicas), strict=True)
            )
            for replica in replicas:
                found = replica.ask(cut)
                refuses = model.refuses(tuple(replica.positions), cut)
                assert (found is None) == refuses, (replica.positions, cut)
                refused, answered = refused + refuses, answered + (not refuses)
                if found is not None:
                    assert found == model.answer(cut)
    for replica in replicas:
        while min(replica.positions) < ROWS:
            replica.push(60)
            replica.shard.compaction.purge()
        assert content(replica.shard.view) == model.answer((ROWS, ROWS))
    first, second = (replica.shard for replica in replicas)
    assert first.view.counters.digest == second.view.counters.digest
    assert first.view.counters.rows_late == second.view.counters.rows_late
    assert floors(first.view) == floors(second.view)
    assert min(refused, answered) >= 5, (refused, answered)
    for replica in replicas:
        seal_now(replica.shard)
        replica.shard.compaction.purge()
        while merge_now(replica.shard):
            replica.shard.compaction.purge()
        if keyed or kept.retain_us:
            assert rows_stored(replica.shard) < 0.8 * replica.shard.view.counters.rows_born
        assert content(replica.shard.view) == model.answer((ROWS, ROWS))
        replica.shard.close()
        replica.shard = replica.opened()
        assert content(replica.shard.view) == model.answer((ROWS, ROWS))
        replica.shard.close()
