package kairos.bench;

import java.time.Duration;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.utils.Bytes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Grouped;
import org.apache.kafka.streams.kstream.KStream;
import org.apache.kafka.streams.kstream.Materialized;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.kstream.TimeWindows;
import org.apache.kafka.streams.processor.api.ContextualProcessor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.StoreBuilder;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;

/** The workloads on Kafka Streams, at least once; the argument is the cache, MiB. */
public final class StreamsJob {
    private static final String STORE = "rows";

    private StreamsJob() {}

    public static void main(String[] words) {
        StreamsBuilder builder = new StreamsBuilder();
        KStream<String, Event> events = builder.stream(Told.SOURCE, Consumed.with(Serdes.String(), events())
                .withTimestampExtractor((record, before) -> ((Event) record.value()).ms));
        KStream<String, byte[]> fired = switch (Told.WORKLOAD) {
            case "W1" -> {
                builder.addStateStore(store(STORE, Serdes.Long()));
                yield events.process(Counts::new, STORE);
            }
            case "W2" -> {
                builder.addStateStore(store(STORE, Serdes.ByteArray()));
                yield events.process(Features::new, STORE);
            }
            case "W3" -> hopping(events);
            case "W4" -> StreamsAbsence.of(builder, events);
            default -> throw new IllegalArgumentException("no workload " + Told.WORKLOAD);
        };
        fired.to(Told.OUT, Produced.with(Serdes.String(), Serdes.ByteArray()));
        KafkaStreams streams = new KafkaStreams(builder.build(), settings(Integer.parseInt(words[0])));
        Runtime.getRuntime().addShutdownHook(new Thread(() -> streams.close(Duration.ofSeconds(20))));
        streams.start();
    }

    private static Properties settings(int cacheMb) {
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, Told.GROUP);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, Told.BOOTSTRAP);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Told.STATE);
        settings.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, Told.THREADS);
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, Told.INTERVAL_MS);
        settings.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, (long) cacheMb << 20);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG), "earliest");
        // A restarted process takes its partitions back at once instead of waiting for a dead member.
        settings.put(StreamsConfig.consumerPrefix(ConsumerConfig.GROUP_INSTANCE_ID_CONFIG), "bench");
        return settings;
    }

    static <V> StoreBuilder<KeyValueStore<String, V>> store(String name, Serde<V> serde) {
        return Stores.keyValueStoreBuilder(Stores.persistentKeyValueStore(name), Serdes.String(), serde)
                .withCachingEnabled();
    }

    private static Serde<Event> events() {
        Deserializer<Event> read = (topic, bytes) -> {
            try {
                return Event.parse(bytes);
            } catch (java.io.IOException fault) {
                throw new java.io.UncheckedIOException(fault);
            }
        };
        return Serdes.serdeFrom((topic, event) -> {
            throw new UnsupportedOperationException("events are only read");
        }, read);
    }

    /** Kafka Streams' own hopping windows; without cache, which would hide updates from the rule. */
    private static KStream<String, byte[]> hopping(KStream<String, Event> events) {
        TimeWindows windows = TimeWindows.ofSizeAndGrace(Duration.ofMillis(Told.HOPPING_SIZE_MS), Duration.ZERO)
                .advanceBy(Duration.ofMillis(Told.HOPPING_STEP_MS));
        Materialized<String, byte[], WindowStore<Bytes, byte[]>> sums =
                Materialized.<String, byte[], WindowStore<Bytes, byte[]>>as("sums")
                        .withKeySerde(Serdes.String()).withValueSerde(Serdes.ByteArray()).withCachingDisabled();
        return events.groupByKey(Grouped.with(Serdes.String(), events())).windowedBy(windows)
                .aggregate(() -> new byte[24], (user, event, total) -> Total.add(total, event), sums)
                .toStream()
                .filter((window, total) -> window.window().end() - Total.ms(total) <= Told.HOPPING_STEP_MS
                        && Total.crosses(total))
                .map((window, total) -> org.apache.kafka.streams.KeyValue.pair(window.key(),
                        Event.firing(window.key(), Total.ms(total))));
    }

    private static final class Counts extends ContextualProcessor<String, Event, String, byte[]> {
        private KeyValueStore<String, Long> counts;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            super.init(context);
            counts = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, Event> record) {
            Event event = record.value();
            if (event.kind == Event.TICK) {
                return;
            }
            Long before = counts.get(event.user);
            long now = before == null ? 1 : before + 1;
            counts.put(event.user, now);
            if (now % Told.COUNT_EVERY == 0) {
                context().forward(record.withValue(Event.firing(event.user, event.ms)));
            }
        }
    }

    private static final class Features extends ContextualProcessor<String, Event, String, byte[]> {
        private KeyValueStore<String, byte[]> rows;

        @Override
        public void init(ProcessorContext<String, byte[]> context) {
            super.init(context);
            rows = context.getStateStore(STORE);
        }

        @Override
        public void process(Record<String, Event> record) {
            Event event = record.value();
            if (event.kind == Event.TICK) {
                return;
            }
            byte[] row = rows.get(event.user);
            if (row == null) {
                row = new byte[Row.BYTES];
            }
            boolean holds = Row.add(row, event.kind, event.ms, event.cents);
            rows.put(event.user, row);
            if (holds) {
                context().forward(record.withValue(Event.firing(event.user, event.ms)));
            }
        }
    }
}
