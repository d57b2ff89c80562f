"""`alder verify` as people and programs read it."""

import pytest
from click.testing import CliRunner

from alder.cli.proof.model import Coverage, Finding, Kind, Range, Refusal, Report, ShardProof
from alder.cli.verify import _as_json, _print, verify
from alder.positions import PositionVector

LOST = Finding(Kind.LOST, 2, "it is gone", "log/0/17", "k4", '{"k":"k4"}')
REFUSAL = Refusal("log/0 offsets 0 to 4", "the log begins at offset 5")


def report(*findings: Finding, refusals: tuple[Refusal, ...] = ()) -> Report:
    at = PositionVector({("log", 0): 20})
    ranges = (Range(("log", 0), 5 if refusals else 0, 20),)
    coverage = Coverage(at, (2,), ranges, not refusals, refusals=refusals)
    shard = ShardProof(2, 20, 19, 3, 1, 64, 12, taken_in=True, findings=findings)
    return Report("c", 7, coverage, 4, (shard,), index_checks=5, elapsed_s=1.25)


@pytest.mark.parametrize(
    ("made", "code", "verdict", "last"),
    [
        (report(), 0, "equal", "c is what its log makes of it"),
        (report(LOST), 3, "different", "c differs"),
        (report(LOST, refusals=(REFUSAL,)), 3, "different", "c differs"),
        (
            report(refusals=(REFUSAL,)),
            4,
            "not proven",
            "c is not proven: a part of its log is gone, and what is left is equal",
        ),
    ],
)
def test_verdicts(
    made: Report, code: int, verdict: str, last: str, capsys: pytest.CaptureFixture[str]
) -> None:
    _print(made)
    lines = capsys.readouterr().out.splitlines()
    assert made.exit_code == code
    assert lines[-1] == last
    assert "1 of 4 shards, 64 conditions, 5 access paths; seed 7" in lines[-3]
    assert lines[-2] == "as of log/0:20"
    told = _as_json(made)
    assert isinstance(told, dict)
    assert told["verdict"] == verdict


def test_a_row_is_named_with_both_documents(capsys: pytest.CaptureFixture[str]) -> None:
    _print(report(LOST, refusals=(REFUSAL,)))
    lines = capsys.readouterr().out.splitlines()
    place = lines.index("lost: log/0/17 (_id k4, shard 2): it is gone")
    assert lines[place + 1 : place + 3] == ['  log:     {"k":"k4"}', "  serving: (none)"]
    assert "not proven: log/0 offsets 0 to 4: the log begins at offset 5" in lines


@pytest.mark.parametrize("text", ["log/0", "log:3", "log/x:3", "log/0:-1", "/0:1"])
def test_positions_that_are_none_are_refused(text: str) -> None:
    done = CliRunner().invoke(verify, ["c", "--at", text])
    assert done.exit_code == 2
    assert "write log/0:12, log/1:7" in done.output
