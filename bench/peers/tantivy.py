"""tantivy, embedded: every field in one indexed JSON field, the documents stored."""

import threading
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import ClassVar, Final

from bench.peers.base import NO_LIMIT_S, MissingError, Terms, tree_bytes

_HEAP_BYTES: Final = 512 << 20
_MARK: Final = '"time_us":'
_CLOCK_LINES: Final = 10_000


class Tantivy:
    """One index for the events, one for a stream of other documents."""

    name: ClassVar[str] = "tantivy"
    indexes_every_field: ClassVar[bool] = True
    note: ClassVar[str] = "one JSON field, stored, raw terms; time_us also as a fast field"

    def __init__(self, folder: Path) -> None:
        try:
            import tantivy
        except ImportError as error:
            raise MissingError(str(error)) from error
        self._tantivy = tantivy
        self._folder = folder / "tantivy"
        builder = tantivy.SchemaBuilder()
        builder.add_json_field("doc", stored=True, tokenizer_name="raw", index_option="basic")
        builder.add_integer_field("time_us", fast=True)
        self._schema = builder.build()
        self._index = self._made("events")
        self._stream = self._made("stream")
        self._stream_writer = None
        self._lock = threading.Lock()

    def load(self, path: Path, seconds_max: float = NO_LIMIT_S) -> int:
        """One commit, merges awaited."""
        writer = self._index.writer(heap_size=_HEAP_BYTES, num_threads=2)
        begun = perf_counter()
        loaded = 0
        with path.open() as lines:
            for line in lines:
                document = self._tantivy.Document()
                document.add_json("doc", line)
                document.add_integer("time_us", _time_us(line))
                writer.add_document(document)
                loaded += 1
                if loaded % _CLOCK_LINES == 0 and perf_counter() - begun > seconds_max:
                    break
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        return self._index.searcher().num_docs

    def count(self, terms: Terms) -> int:
        """The intersection of the postings."""
        return self._index.searcher().search(self._query(terms), limit=1).count

    def newest(self, terms: Terms, limit: int) -> list[int]:
        """By the fast field; each document is read."""
        searcher = self._index.searcher()
        hits = searcher.search(
            self._query(terms), limit=limit, count=False, order_by_field="time_us"
        ).hits
        return [searcher.doc(address).to_dict()["doc"][0]["time_us"] for _, address in hits]

    def server_ms(self, terms: Terms) -> float:
        """A count: there is no way there to leave out."""
        begun = perf_counter()
        self.count(terms)
        return (perf_counter() - begun) * 1e3

    def append(self, documents: Sequence[bytes]) -> None:
        """One commit, and a reload that shows it."""
        with self._lock:
            if self._stream_writer is None:
                self._stream_writer = self._stream.writer(heap_size=_HEAP_BYTES, num_threads=1)
            for text in documents:
                document = self._tantivy.Document()
                document.add_json("doc", text.decode())
                self._stream_writer.add_document(document)
            self._stream_writer.commit()
            self._stream.reload()

    def appended(self) -> int:
        """Counts."""
        return self._stream.searcher().num_docs

    def size_bytes(self) -> int:
        """Size of the index's folder."""
        return tree_bytes(self._folder / "events")

    def close(self) -> None:
        """Ends the stream's writer."""
        self._stream_writer = None

    def _made(self, name: str) -> object:
        folder = self._folder / name
        folder.mkdir(parents=True)
        return self._tantivy.Index(self._schema, path=str(folder))

    def _query(self, terms: Terms) -> object:
        text = " AND ".join(f'doc.{path}:"{value}"' for path, value in terms)
        return self._index.parse_query(text, ["doc"])


def _time_us(line: str) -> int:
    start = line.index(_MARK) + len(_MARK)
    return int(line[start : line.index(",", start)])
