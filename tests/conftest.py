"""Options of the test run."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the longer forms of tests")
    parser.addoption("--rewrite", action="store_true", help="write golden files anew")
    parser.addoption("--statement", type=int, help="run one generated statement, by its number")
