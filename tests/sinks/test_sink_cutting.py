"""Where batches end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sinks.cutting import Batch, Buffer, Cut, month_of
from sinks.intents import Arrival, Intent, Where, checksum

HERE = Where("decisions.made", 3)
NOVEMBER_MS = 1_793_000_000_000
MONTH_MS = 31 * 86_400_000


def record(offset: int, *, size_bytes: int = 1, appended_ms: int = NOVEMBER_MS) -> Arrival:
    return Arrival(*HERE, offset, b"k", b"v" * size_bytes, appended_ms)


def buffer(first: int = 0, *, recovering: Intent | None = None, **cut: int) -> Buffer:
    return Buffer(HERE, first, topic_id="t", schema="s", cut=Cut(**cut), recovering=recovering)


def span(batch: Batch | None) -> tuple[int, int, int] | None:
    return None if batch is None else (batch.intent.first, batch.intent.last, len(batch.records))


def test_a_batch_is_due_by_rows_by_bytes_or_by_age() -> None:
    young = buffer()
    young.take(record(0), 1_000)
    assert young.cut(1_999) is None
    assert span(young.cut(2_000)) == (0, 0, 1)
    full = buffer(rows_max=2)
    for offset in range(3):
        full.take(record(offset), 0)
    assert span(full.cut(0)) == (0, 1, 2)
    assert full.cut(0) is None
    assert span(full.cut(0, force=True)) == (2, 2, 1)
    fat = buffer(bytes_max=100)
    for offset in range(3):
        fat.take(record(offset, size_bytes=40), 0)
    assert span(fat.cut(0)) == (0, 1, 2)


def test_an_empty_buffer_is_never_cut() -> None:
    assert buffer().cut(10**9, force=True) is None


def test_a_record_larger_than_a_batch_still_lands_alone() -> None:
    huge = buffer(bytes_max=10)
    huge.take(record(0, size_bytes=50), 0)
    huge.take(record(1, size_bytes=50), 0)
    assert span(huge.cut(0)) == (0, 0, 1)


def test_a_batch_holds_one_month_even_when_a_hundred_and_one_are_waiting() -> None:
    years = buffer()
    for index in range(101):
        years.take(record(index, appended_ms=index * MONTH_MS), 0)
    cut = []
    while (batch := years.cut(10**6, force=True)) is not None:
        cut.append({month_of(r.appended_ms) for r in batch.records})
    assert all(len(months) == 1 for months in cut)
    assert len(cut) > 95


def test_a_recovered_range_is_cut_exactly_and_only_when_all_of_it_was_read() -> None:
    intent = Intent(10, 14, 5, 0, "old schema", "t")
    found = buffer(10, recovering=intent, rows_max=2)
    for offset in range(10, 14):
        found.take(record(offset), 0)
    assert found.cut(10**9, force=True) is None, "the range is not complete"
    found.take(record(16), 0)
    batch = found.cut(0)
    assert batch is not None and batch.again and batch.intent is intent
    assert [r.offset for r in batch.records] == [10, 11, 12, 13], "14 was compacted away"
    assert span(found.cut(0, force=True)) == (15, 16, 1)


def test_a_recovered_range_whose_tail_is_gone_ends_when_kafka_says_so() -> None:
    found = buffer(10, recovering=Intent(10, 14, 5, 0, "s", "t"))
    found.take(record(10), 0)
    assert found.cut(0) is None
    found.reached(15)
    assert span(found.cut(0)) == (10, 14, 1)


def test_records_that_were_seen_before_are_ignored() -> None:
    again = buffer(5)
    for offset in (3, 5, 5, 6, 5):
        again.take(record(offset), 0)
    assert span(again.cut(0, force=True)) == (5, 6, 2)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=60), st.integers(1, 9),
       st.integers(1, 60), st.integers(0, 50))
def test_ranges_touch_and_cover_every_record_however_they_are_cut(
        steps: list[int], rows_max: int, bytes_max: int, first: int) -> None:
    waiting, offset, offsets = buffer(first, rows_max=rows_max, bytes_max=bytes_max), first - 1, []
    for index, step in enumerate(steps):
        offset += step
        offsets.append(offset)
        waiting.take(record(offset, size_bytes=step * 7, appended_ms=NOVEMBER_MS
                            + index * MONTH_MS // 5), 0)
    seen: list[int] = []
    expected = first
    while (batch := waiting.cut(0, force=True)) is not None:
        assert batch.intent.first == expected
        expected = batch.intent.last + 1
        seen += [r.offset for r in batch.records]
        assert batch.intent.crc == checksum(batch.records)
    assert seen == offsets
    assert waiting.size_bytes == 0


@given(st.integers(0, 2**62), st.integers(0, 2**62), st.integers(0, 10**6), st.text(max_size=40))
def test_an_intent_survives_commit_metadata(first: int, last: int, count: int, name: str) -> None:
    intent = Intent(first, last, count, 7, "00ff", name)
    assert Intent.of_metadata(intent.to_metadata()) == intent


def test_metadata_of_strangers_is_no_intent() -> None:
    for text in (None, "", "hello", "{}", "[]", '{"first":"x"}', "null", "7"):
        assert Intent.of_metadata(text) is None, text


def test_an_intent_fits_into_commit_metadata() -> None:
    widest = Intent(2**63, 2**63, 10**6, 2**32, "f" * 16, "A" * 22)
    assert len(widest.to_metadata()) < 400      # Kafka takes 4,000


def test_tokens_of_a_range_and_of_its_parts_differ() -> None:
    intent = Intent(5, 9, 5, 0, "s", "t")
    assert len({intent.token(HERE), intent.token(HERE, 5, 9), intent.token(HERE, 5, 6),
                intent.token(Where("decisions.made", 4))}) == 4
