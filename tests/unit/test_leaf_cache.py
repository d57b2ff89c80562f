"""Decoded blocks stay while they fit."""

from leaf.cache import CacheUsage, PageCache


def test_the_least_recently_used_block_goes_first() -> None:
    cache = PageCache(30)
    loaded: list[str] = []

    def get(key: str, size: int = 10) -> str:
        def load() -> str:
            loaded.append(key)
            return key * size

        assert cache.get(key, load, len) == key * size
        return key

    for key in "abcaad":
        get(key)
    assert loaded == ["a", "b", "c", "d"]
    assert cache.size_bytes == 30
    get("a")
    get("c")
    assert loaded == ["a", "b", "c", "d"]
    get("b")
    assert loaded[-1] == "b", "it made room for d"
    get("e", 31)
    assert cache.size_bytes == 30, "a block larger than the budget is not kept"


def test_what_was_found_is_counted() -> None:
    cache = PageCache(30)
    for key in "abcaadb":
        cache.get(key, str, lambda _: 10)
    assert cache.usage() == CacheUsage(30, 30, hits=2, misses=5, evictions=2)


def test_scopes_differ() -> None:
    cache = PageCache(1)
    assert cache.scope() != cache.scope()


def test_blocks_are_found_together_as_one_by_one() -> None:
    cache = PageCache(30)
    for key in "abc":
        cache.put(key, key * 10, 10)
    assert cache.find_all(["c", "x", "a", "x"]) == ["c" * 10, None, "a" * 10, None]
    cache.put("d", "d" * 10, 10)
    assert cache.find_all("abcd") == ["a" * 10, None, "c" * 10, "d" * 10], "b was asked for least"
    assert cache.usage() == CacheUsage(30, 30, hits=5, misses=3, evictions=1)
