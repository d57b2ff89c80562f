"""Transcripts of the tailer's state machine: each event, and the effects it has."""

from collections.abc import Mapping
from pathlib import Path

import pytest
from transcript import replay

from alder.v1 import leaf_pb2
from tailer import core

FILES = sorted((Path(__file__).parent / "tailer_core").glob("*.txt"))


class Machine:
    """Runs the commands of a transcript; one machine per file."""

    def __init__(self) -> None:
        self._state: core.PartitionState | None = None

    def run(self, name: str, arguments: Mapping[str, str]) -> str:
        """The effects of an event, a line each."""
        if name == "start":
            self._state, effects = core.start(self._map(arguments))
        else:
            assert self._state is not None
            self._state, effects = core.step(self._state, self._event(name, arguments))
        lines = [_show(effect) for effect in effects] or ["nothing"]
        if self._state.error:
            lines.append(f"error: {self._state.error}")
        return "\n".join(lines)

    def _event(self, name: str, arguments: Mapping[str, str]) -> core.Event:
        number = int(arguments.get("to", 0))
        match name:
            case "map":
                return core.MapChanged(self._map(arguments))
            case "positions":
                return core.Positions(number, _numbers(arguments["shards"]))
            case "records":
                begin, _, end = arguments["range"].partition("..")
                return core.RangeRead(number, core.Range(int(begin), int(end)))
            case "answer":
                return core.Pushed(number, _results(arguments["shards"]))
            case "lost":
                return core.PushFailed(number, "no answer came")
            case "tick":
                return core.WaitOver(number)
            case "observed":
                assert self._state is not None
                return core.Observed(self._state.sequence, _numbers(arguments["shards"]))
            case "refused":
                return core.Refused("the topic was created again")
        raise ValueError(name)

    def _map(self, arguments: Mapping[str, str]) -> core.ShardMap:
        leaves = dict(word.split(":") for word in arguments["shards"].split(","))
        leaf_of = {int(shard): leaf for shard, leaf in leaves.items()}
        return core.ShardMap(int(arguments["epoch"]), leaf_of)


def _numbers(text: str) -> dict[int, int]:
    return {int(key): int(value) for key, value in (word.split(":") for word in text.split(","))}


def _results(text: str) -> dict[int, core.ShardResult]:
    results = {}
    for word in text.split(","):
        shard, status, offset = word.split(":")
        value = leaf_pb2.ApplyStatus.Value(f"APPLY_STATUS_{status.upper()}")
        results[int(shard)] = core.ShardResult(value, int(offset))
    return results


def _show(effect: core.Effect) -> str:
    match effect:
        case core.Ask(number):
            return f"{number}: ask all leaves for positions"
        case core.Read(number, offset):
            return f"{number}: read from {offset}"
        case core.Push(number, leaf, pushed, slices):
            parts = ", ".join(f"shard {part.shard} from {part.begin}" for part in slices)
            return f"{number}: push {pushed.begin}..{pushed.end} to {leaf}: {parts}"
        case core.Wait(number, failures):
            return f"{number}: wait, failures in a row: {failures}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_transcript(path: Path, pytestconfig: pytest.Config) -> None:
    replay(path, Machine().run, pytestconfig.getoption("--rewrite"))
