"""The Star Schema Benchmark, flat: every line of an order with its customer, supplier and part.

Sizes and distributions are those of O'Neil, O'Neil, Chen, "Star Schema Benchmark" (2009): uniform
draws, 6,000,000 lines, 30,000 customers, 2,000 suppliers and 200,000 parts at scale 1, orders from
1992-01-01 to 1998-08-02. Columns are those of the flat table that ClickHouse's documentation asks
the thirteen queries of, without the ones that no query reads and that are unique per line.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.generators.strings import Numbers

LINES: Final = 6_000_000
_CHUNK_LINES: Final = 500_000
_DAYS: Final = 2406
_FIRST_DAY: Final = np.datetime64("1992-01-01")
_NATIONS: Final = {
    "AFRICA": ("ALGERIA", "ETHIOPIA", "KENYA", "MOROCCO", "MOZAMBIQUE"),
    "AMERICA": ("ARGENTINA", "BRAZIL", "CANADA", "PERU", "UNITED STATES"),
    "ASIA": ("CHINA", "INDIA", "INDONESIA", "JAPAN", "VIETNAM"),
    "EUROPE": ("FRANCE", "GERMANY", "ROMANIA", "RUSSIA", "UNITED KINGDOM"),
    "MIDDLE EAST": ("EGYPT", "IRAN", "IRAQ", "JORDAN", "SAUDI ARABIA"),
}
_PRIORITIES: Final = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECI", "5-LOW")
_MODES: Final = ("AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK")
_COLORS: Final = ("almond", "azure", "beige", "black", "blue", "brown", "coral", "cream", "cyan")


def lines(scale: float) -> int:
    """Rows at a scale."""
    return round(LINES * scale)


def write(path: Path, scale: float, seed: int = 1) -> Path:
    """The Parquet file at a scale, made unless it is there."""
    if path.exists():
        return path
    rng = np.random.default_rng(seed)
    dimensions = _Dimensions(rng, scale)
    unfinished = path.with_suffix(".unfinished")
    total = lines(scale)
    writer = None
    for first in range(0, total, _CHUNK_LINES):
        table = dimensions.flat(rng, first, min(_CHUNK_LINES, total - first))
        writer = writer or pq.ParquetWriter(unfinished, table.schema, compression="zstd")
        writer.write_table(table)
    if writer is not None:
        writer.close()
    unfinished.rename(path)
    return path


class _Dimensions:
    """Customers, suppliers and parts, as columns by their keys."""

    def __init__(self, rng: np.random.Generator, scale: float) -> None:
        self._customers = _places(rng, max(round(30_000 * scale), 100))
        self._suppliers = _places(rng, max(round(2_000 * scale), 100))
        parts = max(round(200_000 * (1 + np.log2(max(scale, 1)))) if scale >= 1 else
                    round(200_000 * scale), 1000)  # fmt: skip
        makers = rng.integers(1, 6, parts)
        categories = makers * 10 + rng.integers(1, 6, parts)
        brands = categories * 100 + rng.integers(1, 41, parts)
        self._parts = {
            "p_mfgr": _numbered("MFGR#", makers),
            "p_category": _numbered("MFGR#", categories),
            "p_brand": _numbered("MFGR#", brands),
            "p_color": pa.array(_COLORS).take(pa.array(rng.integers(0, len(_COLORS), parts))),
            "p_size": pa.array(rng.integers(1, 51, parts)),
        }
        self._prices = rng.integers(90_000, 210_000, parts)

    def flat(self, rng: np.random.Generator, first: int, count: int) -> pa.Table:
        """Lines ``first`` and following; an order has four."""
        numbers = np.arange(first, first + count)
        orders = numbers // 4
        orders_from = orders[0]
        of_order = np.random.default_rng([int(orders_from), 9]).integers(
            0, 1 << 40, (3, int(orders[-1] - orders_from) + 1)
        )[:, orders - orders_from]
        days = of_order[0] % _DAYS
        customers = pa.array(of_order[1] % len(self._customers["nation"]))
        suppliers = pa.array(rng.integers(0, len(self._suppliers["nation"]), count))
        parts = rng.integers(0, len(self._prices), count)
        quantity, discount = rng.integers(1, 51, count), rng.integers(0, 11, count)
        price = self._prices[parts] * quantity // 10
        columns = {
            "lo_orderkey": pa.array(orders + 1),
            "lo_linenumber": pa.array(numbers % 4 + 1),
            "lo_orderdate": pa.array(_FIRST_DAY + days.astype("timedelta64[D]")),
            "lo_orderpriority": _chosen(_PRIORITIES, of_order[2]),
            "lo_quantity": pa.array(quantity),
            "lo_extendedprice": pa.array(price),
            "lo_discount": pa.array(discount),
            "lo_revenue": pa.array(price * (100 - discount) // 100),
            "lo_supplycost": pa.array(6 * self._prices[parts] // 100),
            "lo_tax": pa.array(rng.integers(0, 9, count)),
            "lo_shipmode": _chosen(_MODES, rng.integers(0, 1 << 20, count)),
        }
        columns |= {f"c_{name}": of.take(customers) for name, of in self._customers.items()}
        columns |= {f"s_{name}": of.take(suppliers) for name, of in self._suppliers.items()}
        columns |= {name: of.take(pa.array(parts)) for name, of in self._parts.items()}
        return pa.table(columns)


def _places(rng: np.random.Generator, count: int) -> dict[str, pa.StringArray]:
    """City, nation and region of each customer or supplier: ten cities a nation."""
    pairs = [(nation, region) for region, nations in _NATIONS.items() for nation in nations]
    codes = rng.integers(0, len(pairs), count)
    digits = rng.integers(0, 10, count)
    nations = [pairs[code][0] for code in codes]
    cities = [f"{nation:9.9}{digit}" for nation, digit in zip(nations, digits, strict=True)]
    return {
        "city": pa.array(cities),
        "nation": pa.array(nations),
        "region": pa.array([pairs[code][1] for code in codes]),
    }


def _numbered(prefix: str, numbers: Numbers) -> pa.StringArray:
    return pa.array([f"{prefix}{number}" for number in numbers])


def _chosen(names: tuple[str, ...], numbers: Numbers) -> pa.StringArray:
    return pa.array(names).take(pa.array(numbers % len(names)))
