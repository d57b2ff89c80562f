"""What clients find wrong with their connections, which the calls that fail for it don't tell.

A call that gets no answer says that it timed out. Why there was no connection (a certificate, a
login, nobody at that port) a client tells beside it, once.
"""

from typing import Final

from confluent_kafka import KafkaError

_OF_SETTINGS: Final = frozenset({KafkaError._SSL, KafkaError._AUTHENTICATION})


class Complaints:
    """The last complaint of all clients of some brokers. For use from any thread."""

    def __init__(self) -> None:
        self._last: KafkaError | None = None

    @property
    def of_settings(self) -> bool:
        """True if clients made by other settings may do better."""
        return self._last is not None and self._last.code() in _OF_SETTINGS

    def heard(self, error: KafkaError) -> None:
        """For ``error_cb`` of a client."""
        # That all are down follows from what was told of each.
        if error.code() != KafkaError._ALL_BROKERS_DOWN:
            self._last = error

    def answered(self) -> None:
        """What was wrong is over."""
        self._last = None

    def beside(self, why: str) -> str:
        """Why a call failed, with what is known besides."""
        return why if self._last is None else f"{why} ({self._last.str()})"
