"""What the rows share: the scratch folder, the files, our server and the peers, loaded once.

Nothing is loaded before a row asks for it, so a run of one row costs that row alone. Whatever
loads is timed, and B1, B9 and B11 report those loads.
"""

import shutil
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Final, TypeVar

from rich.console import Console
from rich.markup import escape

from bench.alder import Alder, Load
from bench.generators import jsonbench
from bench.options import Options
from bench.peers.base import MissingError, Peer
from bench.peers.kinds import KINDS

COLLECTION: Final = "bluesky"
T = TypeVar("T")


class World:
    """One run of the bench."""

    def __init__(
        self,
        options: Options,
        scratch: Path,
        files: Path,
        console: Console,
        invited: Collection[str],
    ) -> None:
        """``files`` keeps what is generated, ``invited`` names the peers that take part."""
        self.options = options
        self.scratch = scratch
        self.console = console
        self.missing = {name: "left out by --peers" for name in KINDS if name not in invited}
        """Peers that don't take part, with the reason."""
        self.loads: list[Load] = []
        """Our loads of the events from the file."""
        self.peer_load_s: dict[str, list[float]] = {}
        self.log_rate: float | None = None
        """Events per second that we took through the log, until visible."""
        self.files = files
        self._begun = time.monotonic()
        self._alder: Alder | None = None
        self._peers: dict[str, Peer] = {}

    def say(self, text: str) -> None:
        """Progress, with the time since the beginning."""
        self.console.print(f"[dim]{time.monotonic() - self._begun:7.1f} s[/]  {text}")

    def events(self, count: int) -> Path:
        """The file of that many events of JSONBench."""
        path = self.files / f"jsonbench-{count}.jsonl"
        if not path.exists():
            self.say(f"writing {count:,} events")
            jsonbench.write(path, count)
        return path

    @property
    def file(self) -> Path:
        """The events that most rows use."""
        return self.events(self.options.events)

    @property
    def alder(self) -> Alder:
        """Our server with the events loaded from the file."""
        return self._alder or self.load_alder()

    def load_alder(self) -> Alder:
        """A fresh server in place of the one before, with the events."""
        if self._alder is not None:
            self._alder.stop()
            shutil.rmtree(self.scratch / "alder")
        self._alder = Alder(self.scratch / "alder")
        paths = tuple(filter(None, self.options.cluster_by.split(",")))
        load = self._alder.load_file(self.file, self.options.events, COLLECTION, paths)
        self.loads.append(load)
        self.say(f"alder: {self.options.events / load.visible_s:,.0f} events/s from the file")
        return self._alder

    def peer(self, name: str) -> Peer | None:
        """A peer with the events loaded; None if it can't run here."""
        if name not in self._peers and name not in self.missing:
            self.load_peer(name)
        return self._peers.get(name)

    def load_peer(self, name: str) -> None:
        """A fresh peer in place of the one before, with the events."""
        folder = self.scratch / name.replace(" ", "-")
        if name in self._peers:
            self._peers.pop(name).close()
            shutil.rmtree(folder)
        peer = self.fresh_peer(name, folder)
        if peer is None:
            return
        begun = time.perf_counter()
        loaded = peer.load(self.file)
        taken_s = time.perf_counter() - begun
        if loaded != self.options.events:
            raise RuntimeError(f"{name} has {loaded} of {self.options.events} events")
        self.peer_load_s.setdefault(name, []).append(taken_s)
        self._peers[name] = peer
        self.say(f"{name}: {loaded / taken_s:,.0f} events/s")

    def fresh_peer(self, name: str, folder: Path) -> Peer | None:
        """An empty peer over a folder; None, with the reason kept, if it can't run here."""
        if name in self.missing:
            return None
        folder.mkdir(parents=True)
        try:
            return KINDS[name](folder)
        except MissingError as error:
            self.missing[name] = str(error)
            self.say(f"[bold yellow]{name} can't run here:[/] {escape(str(error))}")
            return None

    def reopened(self, name: str, work: Callable[[Path], T]) -> T:
        """Closes a peer, does the work over its folder, and opens it again."""
        folder = self.scratch / name.replace(" ", "-")
        self._peers.pop(name).close()
        try:
            return work(folder)
        finally:
            self._peers[name] = KINDS[name](folder)

    def more_parts(self, parts: int, events: int) -> list[Path]:
        """Files of the events that follow those of :attr:`file`, each of so many."""
        name = f"jsonbench-{self.options.events}-more"
        paths = [self.files / f"{name}-{events}-{number}.jsonl" for number in range(parts)]
        for number, path in enumerate(paths):
            jsonbench.write_more(path, self.options.events, number * events, events)
        return paths

    def peers(self, *names: str) -> Mapping[str, Peer]:
        """Those of the named peers that can run here, loaded; all if none is named."""
        found = {name: self.peer(name) for name in names or KINDS}
        return {name: peer for name, peer in found.items() if peer is not None}

    def release_all(self) -> None:
        """Ends ours and the peers, and frees their memory and files; who asks loads again."""
        for name in list(self._peers):
            self._peers.pop(name).close()
            shutil.rmtree(self.scratch / name.replace(" ", "-"))
        if self._alder is not None:
            self._alder.stop()
            shutil.rmtree(self.scratch / "alder")
        self._alder = None
