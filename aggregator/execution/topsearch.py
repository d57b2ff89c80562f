"""Asks leaves for the first groups by an aggregate in as many rounds as it takes.

What is asked next is decided in :mod:`aggregator.execution.threshold`. All rounds read one cut;
where leaves are asked for their newest rows, which may be others a moment later, or the search
would not save anything, all groups are asked for at once.
"""

from collections.abc import Awaitable, Callable, Container, Mapping
from dataclasses import replace
from typing import Final

from aggregator.execution.gathered import Gathered, LeafAnswer
from aggregator.execution.threshold import Ask, Part, Rounds, TooManyCandidates
from aggregator.planning.spread import TopSearch
from alder.arrow import to_bytes
from alder.v1 import leaf_pb2

_ALL: Final = leaf_pb2.WantedGroups(all=True)
_FIRST: Final = leaf_pb2.WantedGroups()
Call = Callable[[leaf_pb2.WantedGroups, Container[str] | None], Awaitable[Gathered]]
"""Asks some leaves (None: all) for groups beside their first ones."""


async def first_groups(call: Call, search: TopSearch, one_cut: bool) -> Gathered:
    """What the leaves have of all groups that can be among the first ones. Raises AlderError."""
    if not one_cut:
        return await call(_ALL, None)
    rounds = Rounds(search)
    first = answers = await call(_FIRST, None)
    told: list[str] = []
    leaves = {leaf.leaf: leaf for leaf in first.leaves}
    while True:
        rounds.take(_parts(answers))
        try:
            ask = rounds.ask()
        except TooManyCandidates:
            whole = await call(_ALL, None)
            return replace(whole, told=(*told, "then all groups, since too many could be first"))
        if ask is None:
            break
        answers = await call(_wanted(ask), ask.leaves)
        told.append(_sentence(ask, answers))
        leaves |= {one.leaf: _together(leaves[one.leaf], one) for one in answers.leaves}
    return Gathered(rounds.groups(), first.scans, tuple(leaves.values()), tuple(told))


def _parts(answers: Gathered) -> Mapping[str, Part]:
    parts = {}
    begin = 0
    for leaf in answers.leaves:
        groups = answers.rows.slice(begin, leaf.rows)
        parts[leaf.leaf] = Part(groups, leaf.groups_worst is not None, leaf.groups_worst or 0)
        begin += leaf.rows
    return parts


def _wanted(ask: Ask) -> leaf_pb2.WantedGroups:
    keys = b"" if ask.keys is None else to_bytes(ask.keys)
    return leaf_pb2.WantedGroups(threshold=ask.threshold, keys=keys)


def _together(before: LeafAnswer, after: LeafAnswer) -> LeafAnswer:
    """The part of a leaf in two rounds."""
    return replace(
        after,
        elapsed_us=before.elapsed_us + after.elapsed_us,
        waited_us=before.waited_us + after.waited_us,
        rows=before.rows + after.rows,
        size_bytes=before.size_bytes + after.size_bytes,
    )


def _sentence(ask: Ask, answers: Gathered) -> str:
    leaves = "1 leaf" if len(ask.leaves) == 1 else f"{len(ask.leaves)} leaves"
    what = f"groups from {ask.threshold} on"
    if ask.keys is not None:
        what = f"the {ask.keys.num_rows} groups that can be first"
    return f"then {leaves} for {what}: {answers.rows.num_rows} groups"
