"""The seams between tiers.

Each protocol has the service itself as one implementation (called directly within a process) and a
gRPC client in ``alder.remote`` as the other; callers can't tell which one they hold. Requests and
responses are the messages of the contract. Every method raises AlderError and no other error, and
takes the time that the caller is ready to wait, in seconds (None: no limit).
"""

from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alder.catalog import Collection
from alder.fragments import FragmentAnswer, Take
from alder.push import PushFields
from alder.reads import ReadFields
from alder.v1 import (
    catalog_pb2,
    common_pb2,
    leaf_pb2,
    log_pb2,
    proof_pb2,
    quarantine_pb2,
    query_pb2,
    tailer_pb2,
)


class DocumentColumns(Protocol):
    """What a tailer makes of documents, for the leaf that has put them together."""

    @property
    def size_bytes_max(self) -> int:
        """The longest document."""
        ...

    @property
    def fields_max(self) -> int:
        """The most keys of a document, at every depth."""
        ...

    def columns(
        self, documents: pa.Array, log_times_us: NDArray[np.int64]
    ) -> tuple[pa.Table, bool]:
        """``_time`` and the columns of fields of JSON texts (string, no nulls), one row for each.

        And whether some of their paths have no column.
        """
        ...


class MakeDocumentColumns(Protocol):
    """Makes :class:`DocumentColumns` for a shard."""

    def __call__(self, time_path: str, known_paths: Iterable[str], /) -> DocumentColumns:
        """For the path of the event time, and those that have columns."""
        ...


class CatalogClient(Protocol):
    """The control plane."""

    async def create_collection(
        self, request: catalog_pb2.CreateCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.CreateCollectionResponse: ...

    async def drop_collection(
        self, request: catalog_pb2.DropCollectionRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DropCollectionResponse: ...

    async def define(
        self, request: catalog_pb2.DefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.DefineResponse: ...

    async def undefine(
        self, request: catalog_pb2.UndefineRequest, timeout_s: float | None = None
    ) -> catalog_pb2.UndefineResponse: ...

    async def accelerate(
        self, request: catalog_pb2.AccelerateRequest, timeout_s: float | None = None
    ) -> catalog_pb2.AccelerateResponse: ...

    async def rebuild(
        self, request: catalog_pb2.RebuildRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RebuildResponse: ...

    async def register_partitions(
        self, request: catalog_pb2.RegisterPartitionsRequest, timeout_s: float | None = None
    ) -> catalog_pb2.RegisterPartitionsResponse: ...

    async def change_sources(
        self, request: catalog_pb2.ChangeSourcesRequest, timeout_s: float | None = None
    ) -> catalog_pb2.ChangeSourcesResponse: ...

    async def heartbeat(
        self, request: catalog_pb2.HeartbeatRequest, timeout_s: float | None = None
    ) -> catalog_pb2.HeartbeatResponse: ...

    def watch(
        self, request: catalog_pb2.WatchRequest, timeout_s: float | None = None
    ) -> AsyncIterator[catalog_pb2.CatalogSnapshot]: ...


class LogReader(Protocol):
    """A log as those see it who only read."""

    async def read(
        self, request: log_pb2.ReadRequest, timeout_s: float | None = None
    ) -> ReadFields: ...


class LogClient(LogReader, Protocol):
    """The embedded log."""

    async def create_topic(
        self, request: log_pb2.CreateTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.CreateTopicResponse: ...

    async def delete_topic(
        self, request: log_pb2.DeleteTopicRequest, timeout_s: float | None = None
    ) -> log_pb2.DeleteTopicResponse: ...

    async def append(
        self, requests: AsyncIterator[log_pb2.AppendRequest], timeout_s: float | None = None
    ) -> log_pb2.AppendResponse: ...

    async def offsets(
        self, request: log_pb2.OffsetsRequest, timeout_s: float | None = None
    ) -> log_pb2.OffsetsResponse: ...


class PushClient(Protocol):
    """A leaf as those see it who push."""

    async def apply(
        self, request: PushFields, timeout_s: float | None = None
    ) -> leaf_pb2.ApplyResponse: ...

    async def positions(
        self, request: leaf_pb2.PositionsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.PositionsResponse: ...

    async def redrive(
        self, request: quarantine_pb2.LeafRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafRedriveResponse: ...


class LeafClient(PushClient, Protocol):
    """A leaf."""

    @property
    def shares_memory(self) -> bool:
        """True if it hands tables over within this process, at no cost per row."""
        ...

    def execute(
        self, request: leaf_pb2.FragmentRequest, timeout_s: float | None = None
    ) -> AsyncIterator[leaf_pb2.FragmentResponse]: ...

    async def answer(
        self,
        request: leaf_pb2.FragmentRequest,
        take: Take,
        timeout_s: float | None = None,
        unfinished: bool = False,
    ) -> FragmentAnswer:
        """What ``execute`` says, put together; ``unfinished``: the caller can run the fragment."""
        ...

    def list_quarantine(
        self, request: quarantine_pb2.ShardQuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]: ...

    async def drop_quarantined(
        self, request: quarantine_pb2.LeafDropRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.LeafDropResponse: ...

    async def describe(
        self, request: leaf_pb2.DescribeLeafRequest, timeout_s: float | None = None
    ) -> leaf_pb2.DescribeLeafResponse: ...

    async def check_index(
        self, request: leaf_pb2.CheckIndexRequest, timeout_s: float | None = None
    ) -> leaf_pb2.CheckIndexResponse: ...

    async def keep_partials(
        self, request: leaf_pb2.KeepPartialsRequest, timeout_s: float | None = None
    ) -> leaf_pb2.KeepPartialsResponse: ...


class TailerClient(Protocol):
    """A tailer."""

    async def describe(
        self, request: tailer_pb2.DescribeTailerRequest, timeout_s: float | None = None
    ) -> tailer_pb2.DescribeTailerResponse: ...

    async def redrive(
        self, request: quarantine_pb2.TailerRedriveRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.RedriveResponse: ...

    async def reach(
        self, request: tailer_pb2.ReachRequest, timeout_s: float | None = None
    ) -> tailer_pb2.ReachResponse: ...


class SourceReach(Protocol):
    """Tells what topics and files still have."""

    async def missing(self, collection: Collection, timeout_s: float | None) -> str:
        """What of them can't be read from its beginning any more; empty if all can.

        Raises AlderError where nobody can tell.
        """
        ...


class QueryService(Protocol):
    """An aggregator."""

    def execute(
        self, request: query_pb2.ExecuteRequest, timeout_s: float | None = None
    ) -> AsyncIterator[query_pb2.ExecuteResponse]: ...

    async def describe_collection(
        self, request: query_pb2.DescribeCollectionRequest, timeout_s: float | None = None
    ) -> query_pb2.DescribeCollectionResponse: ...

    def list_quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> AsyncIterator[common_pb2.QuarantinedRecord]: ...

    async def redrive_quarantine(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.RedriveResponse: ...

    async def drop_quarantined(
        self, request: quarantine_pb2.QuarantineRequest, timeout_s: float | None = None
    ) -> quarantine_pb2.DropQuarantinedResponse: ...

    async def status(
        self, request: query_pb2.StatusRequest, timeout_s: float | None = None
    ) -> query_pb2.StatusResponse: ...

    async def list_queries(
        self, request: query_pb2.ListQueriesRequest, timeout_s: float | None = None
    ) -> query_pb2.ListQueriesResponse: ...

    async def cancel_query(
        self, request: query_pb2.CancelQueryRequest, timeout_s: float | None = None
    ) -> query_pb2.CancelQueryResponse: ...


class ProofClient(Protocol):
    """What can be compared of shards: those of a leaf, or of all leaves through an aggregator."""

    async def digest(
        self, request: proof_pb2.DigestRequest, timeout_s: float | None = None
    ) -> proof_pb2.DigestResponse: ...

    async def probe(
        self, request: proof_pb2.ProbeRequest, timeout_s: float | None = None
    ) -> proof_pb2.ProbeResponse: ...

    async def check_stored(
        self, request: proof_pb2.CheckStoredRequest, timeout_s: float | None = None
    ) -> proof_pb2.CheckStoredResponse: ...


class PushDirectory(Protocol):
    """Finds the leaves to push to."""

    def leaf(self, node_id: str) -> PushClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such leaf."""
        ...


class NodeDirectory(Protocol):
    """Finds the client of a node: direct where it shares the process, gRPC elsewhere."""

    def leaf(self, node_id: str) -> LeafClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such leaf."""
        ...

    def prover(self, node_id: str) -> ProofClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such leaf."""
        ...

    def tailer(self, node_id: str) -> TailerClient:
        """Raises AlderError(UNAVAILABLE) if the catalog knows no such tailer."""
        ...
