"""Workers that may be hurt, and waiting for them: as long as something moves, on any machine."""

from __future__ import annotations

import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, TopicPartition
from conftest import kairos

from infra.parts import environment, ready_file
from streams import pipeline
from streams.settings import Settings

STAGES = tuple(stage.name for stage in pipeline.STAGES)
PATIENCE_S = 150.0        # in which nothing at all moved; a worker may pause for 30 s by design
LIMIT_S = 900.0           # also for what moves and does not arrive


class Workers:
    """Processes of `kairos`, by name, that may be killed, stopped and started again."""

    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self.running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *stages: str) -> None:
        """Run `stages` as a worker of this name."""
        self.run(name, "work", "--stages", ",".join(stages), "--name", name)

    def run(self, name: str, *words: str) -> None:
        with self.log(name).open("ab") as log:
            self.running[name] = subprocess.Popen(kairos(*words), stdout=log, stderr=log,
                                                  env=environment(self._settings))

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def said(self, name: str) -> str:
        return self.log(name).read_text(errors="replace") if self.log(name).exists() else ""

    def await_ready(self, *names: str) -> None:
        for name in names:
            until(ready_file(self._settings, name).exists, f"{name} is ready", self)

    def kill(self, name: str) -> None:
        """`kill -9`; its ready file is taken away, as whoever starts it again does."""
        child = self.running.pop(name)
        child.kill()
        child.wait()
        ready_file(self._settings, name).unlink(missing_ok=True)

    def stop(self, *names: str) -> dict[str, int]:
        """SIGTERM to these (all by default); their exit codes."""
        leaving = {name: self.running.pop(name) for name in names or tuple(self.running)}
        for child in leaving.values():
            child.terminate()
        return {name: child.wait(110) for name, child in leaving.items()}

    def kill_all(self) -> None:
        for name in tuple(self.running):
            self.kill(name)

    def last_words(self) -> str:
        """What each of them said last, and where its threads stand."""
        for child in self.running.values():
            child.send_signal(signal.SIGUSR1)
        time.sleep(1.0)
        return "".join(f"\n--- {name}\n{self.said(name)[-6000:]}" for name in self.running)

    def check(self) -> None:
        for name, child in self.running.items():
            assert child.poll() is None, f"{name} ended by itself:\n{self.said(name)[-3000:]}"


def until(holds: Callable[[], bool], what: str, workers: Workers | None = None,
          moving: Callable[[], object] = lambda: None) -> None:
    """Wait until something holds, as long as no worker ends by itself.

    moving   a figure of the work that is waited for: whenever it changes, patience begins anew
    """
    seen, began = moving(), time.monotonic()
    end = began + PATIENCE_S
    while not holds():
        if workers is not None:
            workers.check()
        if (now := moving()) != seen:
            seen, end = now, time.monotonic() + PATIENCE_S
        assert time.monotonic() < min(end, began + LIMIT_S), (
            f"{what}: not so, at {seen}" + ("" if workers is None else workers.last_words()))
        time.sleep(0.2)


def await_calm(settings: Settings, workers: Workers, stages: Sequence[str] = STAGES) -> None:
    """Wait until these stages have committed the end of all their inputs, and stay there."""
    calm, behind = 0, dict[str, int]()
    with ExitStack() as stack:
        probes = {stage: Consumer({**settings.kafka_client, "log_level": 2,
                                   "group.id": pipeline.BY_NAME[stage].group})
                  for stage in stages}
        for probe in probes.values():
            stack.callback(probe.close)

        def is_calm() -> bool:
            nonlocal calm, behind
            time.sleep(0.3)
            behind = {stage: lag(probe, settings, stage) for stage, probe in probes.items()}
            calm = 0 if any(behind.values()) else calm + 1
            return calm == 3

        until(is_calm, "the workers catch up", workers, lambda: behind)


def lag(probe: Consumer, settings: Settings, stage: str) -> int:
    """Records that the stage has not committed; at least 1 while nobody answers."""
    total = 0
    try:
        for topic in pipeline.BY_NAME[stage].inputs:
            for partition in range(settings.partitions):
                place = TopicPartition(topic, partition)
                _, end = probe.get_watermark_offsets(place, timeout=10)
                total += end - max(probe.committed([place], timeout=10)[0].offset, 0)
    except KafkaException:
        return 1
    return total


@contextmanager
def full_disk(pid: int, file_bytes: int) -> Iterator[None]:
    """While this lasts, no file that the process writes grows beyond `file_bytes`.

    The system refuses its writes as on a full disk, for this process only and without any rights.
    """
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (file_bytes, hard))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
