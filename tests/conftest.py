"""Options of the test run, and what of it one worker does as a whole."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="run the longer forms of tests")
    parser.addoption("--rewrite", action="store_true", help="write golden files anew")
    parser.addoption("--statement", type=int, help="run one generated statement, by its number")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keeps the tests of a module in one worker, for what its fixtures start is dear.

    Unless the module says itself which of its tests belong together.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
