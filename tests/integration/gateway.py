"""A TCP connection that tests can cut: what listens behind it can't be reached any more."""

import socket
import threading
from contextlib import suppress
from typing import Final

PIECE_BYTES: Final = 1 << 16


class Gateway:
    """Forwards connections to ``target`` (host:port), between :meth:`open` and :meth:`close`."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._lock = threading.Lock()
        self._is_cut = False
        self._threads = [threading.Thread(target=self._accept, daemon=True)]

    @property
    def address(self) -> str:
        """host:port for those whose connection is to be cut."""
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def open(self) -> None:
        """Takes connections from now on."""
        self._threads[0].start()

    def cut(self) -> None:
        """Ends all connections; new ones end at once until :meth:`mend`."""
        with self._lock:
            self._is_cut = True
            for connection in self._connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Forwards again."""
        with self._lock:
            self._is_cut = False

    def close(self) -> None:
        """Ends everything."""
        self.cut()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                if self._is_cut:
                    near.close()
                    continue
                far = socket.create_connection(self._target, 5)
                self._connections += [near, far]
            for source, sink in ((near, far), (far, near)):
                thread = threading.Thread(target=_forward, args=(source, sink), daemon=True)
                thread.start()
                self._threads.append(thread)


def _forward(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(PIECE_BYTES):
            sink.sendall(data)
    for end in (source, sink):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
