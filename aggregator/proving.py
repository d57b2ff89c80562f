"""Passes what is asked of a shard on to the leaf that serves it."""

from aggregator.execution.queries import Queries
from alder.errors import AlderError, Reason
from alder.interfaces import NodeDirectory, ProofClient
from alder.v1 import proof_pb2

Request = proof_pb2.DigestRequest | proof_pb2.ProbeRequest | proof_pb2.CheckStoredRequest


class Prover:
    """Implements :class:`alder.interfaces.ProofClient` for the shards of all leaves."""

    def __init__(self, queries: Queries, directory: NodeDirectory) -> None:
        self._queries = queries
        self._directory = directory

    async def digest(
        self, request: proof_pb2.DigestRequest, timeout_s: float | None = None
    ) -> proof_pb2.DigestResponse:
        """Digests of what a shard stores; see proof.proto."""
        return await (await self._leaf(request)).digest(request, timeout_s)

    async def probe(
        self, request: proof_pb2.ProbeRequest, timeout_s: float | None = None
    ) -> proof_pb2.ProbeResponse:
        """Which rows of a shard meet conditions; see proof.proto."""
        return await (await self._leaf(request)).probe(request, timeout_s)

    async def check_stored(
        self, request: proof_pb2.CheckStoredRequest, timeout_s: float | None = None
    ) -> proof_pb2.CheckStoredResponse:
        """Reads all that a shard stores; see proof.proto."""
        return await (await self._leaf(request)).check_stored(request, timeout_s)

    async def _leaf(self, request: Request) -> ProofClient:
        """Raises AlderError: UNKNOWN_COLLECTION, INVALID_ARGUMENT where there is no such shard."""
        collection = await self._queries.collection(request.collection)
        for shard in collection.shards:
            if shard.shard == request.shard and collection.collection_id == request.collection_id:
                return self._directory.prover(shard.leaf)
        raise AlderError(
            Reason.INVALID_ARGUMENT,
            f"{request.collection} has no shard {request.shard}, or is another one by now; "
            "look at its shards again",
        )
