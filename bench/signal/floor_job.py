"""The floor: consume and decode, and a record at every 1,000th, so that progress can be seen."""

from __future__ import annotations

import os
import signal
import sys

import orjson
from confluent_kafka import Consumer, Producer

from bench.signal.workloads import FLOOR_EVERY


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    told = os.environ
    consumer = Consumer({"bootstrap.servers": told["BENCH_BOOTSTRAP"],
                         "group.id": told["BENCH_GROUP"], "auto.offset.reset": "earliest",
                         "enable.auto.commit": False})
    producer = Producer({"bootstrap.servers": told["BENCH_BOOTSTRAP"], "linger.ms": 5})
    consumer.subscribe([told["BENCH_SOURCE"]])
    while True:
        for message in consumer.consume(2000, 0.2):
            event = orjson.loads(message.value() or b"{}")
            if (message.offset() or 0) % FLOOR_EVERY == FLOOR_EVERY - 1:
                producer.produce(told["BENCH_OUT"], partition=message.partition() or 0,
                                 value=orjson.dumps({"user_id": event["user_id"],
                                                     "event_ms": event["event_ms"]}))
        producer.poll(0)


if __name__ == "__main__":
    main()
