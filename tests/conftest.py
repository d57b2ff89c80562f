"""Options of the test run, and which tests one worker runs as a whole."""

import re
from typing import Final

import pytest
from xdist.scheduler import LoadScopeScheduling

_PLACE: Final = re.compile(
    r"\[(?:standalone|cluster|one-leaf|four-leaves)(?:-sealed|-unsealed|-half)?\b"
)
"""The deployment of a test in a module that has several."""
_BROKER: Final = re.compile(r"integration/test_kafka\w*\.py")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the longer forms of tests")
    parser.addoption("--rewrite", action="store_true", help="write golden files anew")
    parser.addoption("--seed", type=int, help="repeat what a test of chance did by this seed")
    parser.addoption("--statement", type=int, help="run one generated statement, by its number")


def scope_of(node_id: str) -> str:
    """What a test shares with others: the broker, or the fixtures of its module."""
    if _BROKER.search(node_id):
        return "broker"
    place = _PLACE.search(node_id)
    return node_id.partition("::")[0] + (place[0] if place else "")


class Scopes(LoadScopeScheduling):
    """Gives each worker whole scopes, so that what a scope needs is started once."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> Scopes:
    return Scopes(config, log)
