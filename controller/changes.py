"""Changes of the catalog: what a commit consists of, and what a snapshot is after it. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from alder.catalog import Collection, Node, Snapshot
from alder.definitions import Definition
from alder.v1 import catalog_pb2


@dataclass(frozen=True, slots=True)
class PutCollection:
    """A collection that is new, or replaces the one of its name."""

    collection: Collection


@dataclass(frozen=True, slots=True)
class RemoveCollection:
    """A collection goes."""

    name: str


@dataclass(frozen=True, slots=True)
class PutNode:
    """A node that is new, or replaces the one of its id."""

    node: Node


@dataclass(frozen=True, slots=True)
class PutDefinition:
    """A view or saved query that is new, or replaces the one of its name."""

    definition: Definition


@dataclass(frozen=True, slots=True)
class RemoveDefinition:
    """A view or saved query goes."""

    name: str


Change = PutCollection | RemoveCollection | PutNode | PutDefinition | RemoveDefinition


@dataclass(frozen=True, slots=True)
class CatalogState:
    """A snapshot and the number that the next collection gets."""

    snapshot: Snapshot
    next_collection_id: int = 1

    def applied(self, changes: Sequence[Change]) -> "CatalogState":
        """The state after one commit: its revision is the next one."""
        collections = dict(self.snapshot.collections)
        nodes = dict(self.snapshot.nodes)
        definitions = dict(self.snapshot.definitions)
        next_collection_id = self.next_collection_id
        for change in changes:
            match change:
                case PutCollection(collection):
                    collections[collection.name] = collection
                    next_collection_id = max(next_collection_id, collection.collection_id + 1)
                case RemoveCollection(name):
                    collections.pop(name, None)
                case PutNode(node):
                    nodes[node.node_id] = node
                case PutDefinition(definition):
                    definitions[definition.name] = definition
                case RemoveDefinition(name):
                    definitions.pop(name, None)
        snapshot = Snapshot(self.snapshot.revision + 1, collections, nodes, definitions)
        assignment = self.snapshot.assignment
        if _tailers(snapshot) != _tailers(self.snapshot):
            assignment = max(assignment + 1, snapshot.revision)
        return CatalogState(replace(snapshot, assignment=assignment), next_collection_id)

    def with_liveness(self, live: Callable[[str], bool]) -> "CatalogState":
        """A loaded state with every node as live as ``live`` says of its id.

        Who had which partition until then is not stored, but no assignment had a higher number than
        the revision that is: the next one is newer than all of them.
        """
        nodes = {
            node_id: replace(node, live=live(node_id))
            for node_id, node in self.snapshot.nodes.items()
        }
        assignment = self.snapshot.revision + 1
        return replace(self, snapshot=replace(self.snapshot, nodes=nodes, assignment=assignment))


def _tailers(snapshot: Snapshot) -> list[Node]:
    return snapshot.live_nodes(catalog_pb2.NODE_ROLE_TAILER)
