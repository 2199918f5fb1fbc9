"""`kill -9` of the worker that writes and sends, while messages flow to a real mail server.

Whatever should be sent arrives once: a repeat that a crash may cause carries the same Message-ID,
and the mail server counts it instead of keeping it. What is learnt is what a calm run learns.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from pathlib import Path

import pytest
from chaos_findings import calm_lessons, decisions_once, lessons, mails, messages_once
from chaos_workers import Workers, await_calm, until
from chaos_world import Sending, World
from conftest import module_broker

from infra.parts import roster
from streams.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.chaos]
broker = module_broker

KILLS = 3


def test_killed_senders_leave_each_message_once_in_the_mailbox(broker: Settings,
                                                               tmp_path: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED", "12"))
    dice = random.Random(seed)
    world = World("posted", seed=seed, count=2400, mode="live", pause_s=2.5)
    world.prepare(broker)
    workers = Workers(broker, tmp_path)
    try:
        workers.run("mail", "mail", "serve")
        mail = next(part for part in roster(broker) if part.name == "mail")
        until(mail.healthy, "the mail catcher answers", workers)
        workers.start("worker-1", "admit", "choose")
        workers.start("worker-2", "compose", "deliver", "learn")
        workers.await_ready("worker-1", "worker-2")
        app = Sending(world, broker)
        for _ in range(KILLS):
            time.sleep(dice.uniform(0.5, 2.5))
            workers.kill("worker-2")
            workers.start("worker-2", "compose", "deliver", "learn")
            workers.await_ready("worker-2")
        app.join()
        await_calm(broker, workers)
        codes = workers.stop("worker-1", "worker-2")
    finally:
        workers.kill_all()
    assert set(codes.values()) == {0}, workers.said("worker-2")[-3000:]
    sent = messages_once(broker, world, decisions_once(broker, world))
    arrived = mails(broker, world)
    assert Counter(mail.decision_id for mail in arrived) == Counter(sent), f"{seed=}"
    print(f"{len(sent)} messages, {sum(mail.repeats for mail in arrived)} repeats were counted")
    rewards, shares = lessons(broker, world.tenant)
    assert rewards and shares
    assert (rewards, shares) == calm_lessons(broker, world.tenant), f"{seed=}"
