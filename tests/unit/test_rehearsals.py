"""What is rehearsed is what queries do: plans of both classes, the kernels and the engine."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

from aggregator.execution.engine import Engine as Finisher
from aggregator.execution.engine import EngineSettings
from aggregator.execution.rehearsal import rehearse as rehearse_plans
from aggregator.planning.plans import Plans
from alder.v1 import leaf_pb2
from leaf.engine import Engine
from leaf.fragmentmodel import FragmentTools
from leaf.kernels.kernels import Kernels
from leaf.partials import Partials
from leaf.rehearsal import rehearse


def test_a_leaf_rehearses_both_of_its_engines() -> None:
    engine, partials = Engine(1 << 28), Partials(1 << 20)
    kernels = Kernels(engine, partials, 1 << 20, 1 << 20)
    by_kernels, by_engine = rehearse(FragmentTools(engine, kernels, partials, 1 << 20))
    engine.close()
    assert [scan.engine for scan in by_kernels.scans] == [leaf_pb2.FRAGMENT_ENGINE_KERNELS]
    assert [scan.engine for scan in by_engine.scans] == [leaf_pb2.FRAGMENT_ENGINE_DUCKDB]
    assert by_kernels.table.num_rows == by_engine.table.num_rows == 1
    assert by_kernels.table.to_pylist() == by_engine.table.to_pylist()


def test_an_aggregator_rehearses_plans_and_the_finish() -> None:
    async def run() -> set[str]:
        plans, engine = Plans(10, lambda: 0), Finisher(EngineSettings())
        with ThreadPoolExecutor(1) as finishing:
            planned = await rehearse_plans(plans, engine, finishing)
        await plans.close()
        engine.close()
        return {plan.plan_class for plan in planned}

    assert asyncio.run(run()) == {"a", "e"}
