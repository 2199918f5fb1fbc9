package kairos.bench;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KeyValue;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.processor.PunctuationType;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueIterator;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

/**
 * W4 on Kafka Streams, which has no timers per key: a store of who is armed, a second one ordered by
 * time, scanned whenever stream time has moved a second.
 */
final class StreamsAbsence extends ContextualProcessor<String, Event, String, byte[]> {
    private static final String ARMED = "armed", DUE = "due";
    private static final byte[] PRESENT = {1};
    private KeyValueStore<String, Long> armed;
    private KeyValueStore<Bytes, byte[]> due;
    /** Nothing older is left: a scan from the beginning would wade through what was deleted. */
    private long begin;

    static KStream<String, byte[]> of(StreamsBuilder builder, KStream<String, Event> events) {
        builder.addStateStore(StreamsJob.store(ARMED, Serdes.Long()));
        builder.addStateStore(Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(DUE), Serdes.Bytes(),
                Serdes.ByteArray()).withCachingEnabled());
        return events.process(StreamsAbsence::new, ARMED, DUE);
    }

    @Override
    public void init(ProcessorContext<String, byte[]> context) {
        super.init(context);
        armed = context.getStateStore(ARMED);
        due = context.getStateStore(DUE);
        context.schedule(Duration.ofSeconds(1), PunctuationType.STREAM_TIME, this::fire);
    }

    @Override
    public void process(Record<String, Event> record) {
        Event event = record.value();
        if (event.kind != Event.CART_ADD && event.kind != Event.PURCHASE) {
            return;
        }
        Long begun = armed.get(event.user);
        if (begun != null) {
            due.delete(key(begun, event.user));
            if (event.ms > begun + Told.ABSENCE_MS) {
                context().forward(record.withValue(Event.firing(event.user, begun)));
            }
        }
        if (event.kind == Event.CART_ADD) {
            armed.put(event.user, event.ms);
            due.put(key(event.ms, event.user), PRESENT);
        } else if (begun != null) {
            armed.delete(event.user);
        }
    }

    private void fire(long now) {
        long end = Math.max(begin, now - Told.ABSENCE_MS);
        try (KeyValueIterator<Bytes, byte[]> found = due.range(key(begin, ""), key(end, ""))) {
            while (found.hasNext()) {
                KeyValue<Bytes, byte[]> next = found.next();
                ByteBuffer key = ByteBuffer.wrap(next.key.get());
                long begun = key.getLong();
                String user = StandardCharsets.US_ASCII.decode(key).toString();
                due.delete(next.key);
                armed.delete(user);
                context().forward(new Record<>(user, Event.firing(user, begun), now));
            }
        }
        begin = end;
    }

    private static Bytes key(long ms, String user) {
        byte[] name = user.getBytes(StandardCharsets.US_ASCII);
        return Bytes.wrap(ByteBuffer.allocate(8 + name.length).putLong(ms).put(name).array());
    }
}
