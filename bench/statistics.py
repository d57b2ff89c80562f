"""What figures are made of: percentiles over all samples, means of ratios, interleaving."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

RUNS_MIN: Final = 3
K = TypeVar("K")
T = TypeVar("T")


def percentile(samples: Sequence[float], share: float) -> float:
    """The smallest sample that at least ``share`` (0..1) of all are not above: nearest rank.

    Raises ValueError without samples.
    """
    if not samples:
        raise ValueError("no samples")
    ordered = sorted(samples)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]


def median(samples: Sequence[float]) -> float:
    """The 50th percentile."""
    return percentile(samples, 0.5)


def geometric_mean(values: Sequence[float]) -> float:
    """The geometric mean; all values must be above 0."""
    return math.exp(math.fsum(map(math.log, values)) / len(values))


def timed_s(run: Callable[[], T]) -> tuple[float, T]:
    """Wall time of one call in seconds, and what it returned."""
    begun = time.perf_counter()
    result = run()
    return time.perf_counter() - begun, result


@dataclass(slots=True)
class Run(Generic[T]):
    """One system's samples of one piece of work: seconds, and the answers in the same order."""

    samples_s: list[float]
    answers: list[T]

    @property
    def p50_ms(self) -> float:
        """The median in milliseconds."""
        return median(self.samples_s) * 1e3


def interleaved(
    systems: Mapping[str, Callable[[K], T]], tasks: Sequence[K], budget_s: float, warm_up: bool
) -> dict[str, Run[T]]:
    """Every system does every task, in turns, so that what disturbs one disturbs all.

    A system whose samples took ``budget_s`` together does no further task after its first
    ``RUNS_MIN``: the slow ones give fewer samples, never the fast ones. With ``warm_up`` each does
    the first task once before, unmeasured. The order of the systems changes with every task.
    """
    runs: dict[str, Run[T]] = {name: Run([], []) for name in systems}
    if warm_up:
        for work in systems.values():
            work(tasks[0])
    names = list(systems)
    for number, task in enumerate(tasks):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            run = runs[name]
            if len(run.samples_s) >= RUNS_MIN and sum(run.samples_s) >= budget_s:
                continue
            taken_s, answer = timed_s(lambda name=name, task=task: systems[name](task))
            run.samples_s.append(taken_s)
            run.answers.append(answer)
    return runs
