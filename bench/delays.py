"""How late delayed commands leave when many are due in one second.

    python bench/delays.py --log sqlite
    python bench/delays.py --log kafka --bootstrap 127.0.0.1:9092

``--messages`` commands are due evenly in one second, or all at its beginning with ``--at-once``. Lateness is from the
time a command is due until a reader of its queue has it. Engine and producer in one process, the reader in another,
like a worker. ``processor_s`` is of the first. One JSON line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from multiprocessing import get_context
from time import process_time, time

from pydantic import BaseModel

from sagaline.client import Producer
from sagaline.orchestrator.kernel import Registry
from sagaline.orchestrator.settings import Settings
from sagaline.orchestrator.wiring import engine, open_base, prepare_topics, running, tune_interpreter
from sagaline.sagas import Contract

IN_FLIGHT = 500


class Remind(BaseModel):
    due_s: float


class Reminded(BaseModel):
    pass


remind = Contract("remind", Remind, Reminded, queue="reminders")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--log", choices=("sqlite", "kafka"), default="sqlite")
    parser.add_argument("--bootstrap", default="127.0.0.1:9092")
    parser.add_argument("--partitions", type=int, default=1)
    parser.add_argument("--messages", type=int, default=10_000)
    parser.add_argument("--after", type=float, default=40.0, help="seconds until the first is due")
    parser.add_argument("--at-once", action="store_true")
    return parser.parse_args()


def read(settings: Settings, count: int) -> list[float]:
    """How late each command came to its queue, in milliseconds."""

    async def reading() -> list[float]:
        late = list[float]()
        async with open_base(settings) as base:
            tail = await base.log.tail([base.topics.commands(remind.queue)], "earliest")
            while len(late) < count:
                found = await tail.poll(max_records=1_000, timeout=1.0)
                now = time()
                late += [(now - json.loads(each.value or b"")["due_s"]) * 1e3 for each in found]
                await asyncio.sleep(0)
            await tail.close()
        return late

    return asyncio.run(reading())


async def main() -> None:
    options = arguments()
    count = options.messages
    with tempfile.TemporaryDirectory(dir=".") as folder:
        settings = Settings(
            log=f"kafka://{options.bootstrap}" if options.log == "kafka" else f"sqlite:///{folder}/log.db",
            namespace=f"delays-{os.getpid()}",
            partitions=options.partitions,
            development=True,
        )
        async with open_base(settings) as base:
            await prepare_topics(base, [remind.queue])
            part = engine(base, Registry([]))
            async with Producer(settings) as producer, running(part.run(), "engine"):
                await part.processes(options.partitions)
                tune_interpreter()
                first, room = time() + options.after, asyncio.Semaphore(IN_FLIGHT)

                async def delay(number: int) -> None:
                    due_s = first + (0 if options.at_once else number / count)
                    async with room:
                        at = datetime.fromtimestamp(due_s, UTC)
                        await producer.tell(remind, Remind(due_s=due_s), deliver_at=at)

                await asyncio.gather(*(delay(number) for number in range(count)))
                spare = first - time()
                assert spare > 2, f"they were written {spare:.1f} s before the first is due; give a longer --after"
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as other:
                    reading = asyncio.get_running_loop().run_in_executor(other, read, settings, count)
                    await asyncio.sleep(spare - 0.2)
                    cpu = process_time()
                    late = sorted(await reading)
                    cpu = process_time() - cpu
    row = {
        name: round(late[int(count * part) - 1]) for name, part in (("p50_ms", 0.5), ("p99_ms", 0.99), ("max_ms", 1))
    }
    about = {"log": options.log, "messages": count, "partitions": options.partitions, "at_once": options.at_once}
    print(json.dumps(about | row | {"earliest_ms": round(late[0], 1), "processor_s": round(cpu, 2)}))


if __name__ == "__main__":
    asyncio.run(main())
