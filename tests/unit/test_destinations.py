"""Where a parcel may forward to: what is missing is known before the next commit, and what comes back is used."""

from __future__ import annotations

import pytest

from sagaline.orchestrator.errors import LogUnavailable, TopicGone, TopicMismatch
from sagaline.orchestrator.ports.topics import Topics
from sagaline.orchestrator.runtime.destinations import Destination, Destinations

TOPICS = Topics("t")
MAIL = Destination("mail", None)


class Cluster:
    def __init__(self, **topics: int) -> None:
        self.topics, self.asked = topics, 0

    async def partitions(self, topic: str) -> int:
        self.asked += 1
        return self.topics.get(topic, 0)


async def test_a_topic_is_looked_up_once() -> None:
    cluster, destinations = Cluster(mail=2), Destinations()
    for _ in range(3):
        await destinations.look([MAIL, Destination("mail", 1)], TOPICS, cluster.partitions)
    assert cluster.asked == 1
    assert destinations.wrong(MAIL, TOPICS) is None


async def test_a_missing_topic_is_known_and_used_once_it_is_there() -> None:
    cluster, destinations = Cluster(), Destinations()
    assert destinations.wrong(MAIL, TOPICS) is None, "nothing is known before it is looked up"
    with pytest.raises(LogUnavailable, match="topic mail does not exist; create it, then redrive this"):
        await destinations.look([MAIL], TOPICS, cluster.partitions)
    assert destinations.wrong(MAIL, TOPICS) is not None
    cluster.topics["mail"] = 1
    await destinations.look_again(["mail"], cluster.partitions)
    assert destinations.wrong(MAIL, TOPICS) is None


@pytest.mark.parametrize("error", [TopicGone(["mail"]), TopicMismatch("mail does not exist")])
async def test_a_topic_that_was_deleted_is_missing_from_then_on(error: TopicGone | TopicMismatch) -> None:
    cluster, destinations = Cluster(mail=1), Destinations()
    await destinations.look([MAIL], TOPICS, cluster.partitions)
    cluster.topics.clear()
    assert isinstance(destinations.lost(error), LogUnavailable)
    with pytest.raises(LogUnavailable, match="topic mail does not exist"):
        await destinations.look([MAIL], TOPICS, cluster.partitions)
