"""No stored block is trusted unseen: damage, absence and unknown formats of each are found."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from leaf_model import Document, rows_bytes

from alder.catalog import CollectionSettings
from alder.errors import AlderError, Reason
from alder.rocks import Store
from leaf import layout
from leaf.cache import PageCache
from leaf.core import PushHeader
from leaf.format.meta import META_SUFFIX
from leaf.seal import seal
from leaf.settings import LeafSettings
from leaf.shard import Shard

ROWS = 80
KEPT = CollectionSettings(cluster_by_paths=("few",))


def opened(path: Path) -> Shard:
    return Shard(path, 1, True, LeafSettings(), PageCache(0), kept=KEPT)


def document(n: int) -> Document:
    return {
        "few": f"s{n % 3}",
        "many": f"text number {n}",
        "n": n * n,
        "flag": n % 2 == 0,
        "f": n / 7,
        "tags": ["a", f"t{n % 5}"],
    }


def filled(path: Path) -> Shard:
    """One segment of many kinds of columns, and a live tail."""
    made = opened(path)
    for begin in (0, ROWS):
        rows = {n: document(n) for n in range(begin, begin + ROWS)}
        header = PushHeader(1, 1, "log", 0, "t", begin, begin + ROWS)
        keys = {n: f"k{n % 50}" for n in rows}
        assert made.apply(header, 1, rows_bytes(rows, keys), b"", False).accepted
        if not begin:
            plan = made.begin_seal()
            assert plan is not None
            tables = [chunk.table for chunk in plan.tail]
            made.publish_seal(plan, seal(tables, plan.cluster_by))
            made.end_seal(plan)
    return made


@pytest.fixture
def shard(tmp_path: Path) -> Iterator[Shard]:
    made = filled(tmp_path / "0")
    yield made
    made.close()


def blocks_of(shard: Shard) -> list[tuple[str, bytes, bytes]]:
    families = layout.SEGMENT_FAMILIES
    return [(f, key, value) for f in families for key, value in shard._replica.store.scan(f)]


def put(shard: Shard, family: str, key: bytes, value: bytes | None) -> None:
    batch = shard._replica.store.batch()
    if value is None:
        batch.delete(family, key)
    else:
        batch.put(family, key, value)
    shard._replica.store.write(batch)


def test_damage_and_absence_of_every_block_are_found(shard: Shard) -> None:
    chance = random.Random(1)
    assert shard.damage() == ""
    blocks = blocks_of(shard)
    assert len(blocks) > 15
    for family, key, value in blocks:
        place = chance.randrange(1, len(value))
        broken = bytearray(value)
        broken[place] ^= 1 << chance.randrange(8)
        put(shard, family, key, bytes(broken))
        assert "is damaged" in shard.damage(), (family, key, place)
        put(shard, family, key, value[: len(value) // 2])
        assert "is damaged" in shard.damage(), (family, key)
        put(shard, family, key, None)
        assert "is missing" in shard.damage(), (family, key)
        put(shard, family, key, value)
        assert shard.damage() == ""


def test_damage_of_the_stored_live_tail_is_told_and_no_reason_to_build_again(shard: Shard) -> None:
    assert list(shard.scrub().damages_everywhere()) == []
    store = shard._replica.store
    ((key, value),) = store.scan(layout.TAIL, layout.number_key(1))
    put(shard, layout.TAIL, key, value[:-1] + bytes([value[-1] ^ 1]))
    (damage,) = shard.scrub().damages_everywhere()
    assert "block 1 of shard" in damage
    assert "wrong checksum" in damage
    assert shard.damage() == ""
    put(shard, layout.TAIL, key, value)


def test_another_version_of_every_block_is_refused_by_its_number(shard: Shard) -> None:
    for family, key, value in blocks_of(shard):
        put(shard, family, key, bytes([99]) + value[1:])
        with pytest.raises(AlderError, match="format 99") as raised:
            shard.damage()
        assert raised.value.reason is Reason.UNSUPPORTED
        put(shard, family, key, value)
    assert shard.damage() == ""


@pytest.mark.parametrize("what", ["description", "tail", "store"])
def test_a_shard_of_another_version_does_not_open_and_stays(tmp_path: Path, what: str) -> None:
    shard = filled(tmp_path / "0")
    family, key = {
        "description": (layout.COLUMNS, layout.number_key(0) + META_SUFFIX),
        "tail": (layout.TAIL, layout.number_key(1)),
        "store": (layout.META, layout.FORMAT_KEY),
    }[what]
    value = shard._replica.store.get(family, key)
    assert value is not None
    put(shard, family, key, b"99" if what == "store" else bytes([99]) + value[1:])
    shard.close()
    with pytest.raises(AlderError, match="format 99") as raised:
        opened(tmp_path / "0")
    assert raised.value.reason is Reason.UNSUPPORTED
    store = Store(tmp_path / "0", layout.FAMILIES)
    assert store.get(family, key) is not None
    store.close()
