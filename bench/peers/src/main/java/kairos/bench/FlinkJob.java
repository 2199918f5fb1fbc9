package kairos.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.Optional;
import java.util.stream.Stream;
import org.apache.flink.api.common.eventtime.WatermarkStrategy;
import org.apache.flink.api.common.functions.OpenContext;
import org.apache.flink.api.common.serialization.SerializationSchema;
import org.apache.flink.api.common.state.ValueState;
import org.apache.flink.api.common.state.ValueStateDescriptor;
import org.apache.flink.api.common.typeinfo.PrimitiveArrayTypeInfo;
import org.apache.flink.api.common.typeinfo.TypeInformation;
import org.apache.flink.api.common.typeinfo.Types;
import org.apache.flink.configuration.CheckpointingOptions;
import org.apache.flink.configuration.Configuration;
import org.apache.flink.configuration.ExternalizedCheckpointRetention;
import org.apache.flink.configuration.MemorySize;
import org.apache.flink.configuration.StateBackendOptions;
import org.apache.flink.configuration.StateRecoveryOptions;
import org.apache.flink.configuration.TaskManagerOptions;
import org.apache.flink.connector.base.DeliveryGuarantee;
import org.apache.flink.connector.kafka.sink.KafkaRecordSerializationSchema;
import org.apache.flink.connector.kafka.sink.KafkaSink;
import org.apache.flink.connector.kafka.source.KafkaSource;
import org.apache.flink.connector.kafka.source.enumerator.initializer.OffsetsInitializer;
import org.apache.flink.connector.kafka.source.reader.deserializer.KafkaRecordDeserializationSchema;
import org.apache.flink.core.execution.CheckpointingMode;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.environment.StreamExecutionEnvironment;
import org.apache.flink.streaming.api.functions.KeyedProcessFunction;
import org.apache.flink.util.Collector;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** The workloads on Flink in one process; the arguments: hashmap, or rocksdb and its managed MiB. */
public final class FlinkJob {
    private FlinkJob() {}

    public static void main(String[] words) throws Exception {
        StreamExecutionEnvironment flink =
                StreamExecutionEnvironment.createLocalEnvironment(Told.THREADS, settings(words));
        flink.getConfig().enableObjectReuse();
        flink.enableCheckpointing(Told.INTERVAL_MS, CheckpointingMode.EXACTLY_ONCE);
        DataStream<Event> events = flink.fromSource(source(), times(), "events");
        DataStream<byte[]> fired = switch (Told.WORKLOAD) {
            case "W1" -> events.keyBy(event -> event.user).process(new Counts());
            case "W2" -> events.keyBy(event -> event.user).process(new Features());
            case "W3" -> FlinkHopping.of(events.keyBy(event -> event.user));
            case "W4" -> events.filter(event -> event.kind == Event.CART_ADD || event.kind == Event.PURCHASE)
                    .keyBy(event -> event.user).process(new Absence());
            default -> throw new IllegalArgumentException("no workload " + Told.WORKLOAD);
        };
        fired.sinkTo(KafkaSink.<byte[]>builder()
                .setBootstrapServers(Told.BOOTSTRAP)
                .setDeliveryGuarantee(DeliveryGuarantee.AT_LEAST_ONCE)
                .setRecordSerializer(KafkaRecordSerializationSchema.<byte[]>builder().setTopic(Told.OUT)
                        .setValueSerializationSchema(new Bytes()).build())
                .build());
        flink.execute(Told.GROUP);
    }

    private static Configuration settings(String[] words) throws IOException {
        Configuration settings = new Configuration();
        settings.set(StateBackendOptions.STATE_BACKEND, words[0]);
        settings.set(CheckpointingOptions.CHECKPOINT_STORAGE, "filesystem");
        settings.set(CheckpointingOptions.CHECKPOINTS_DIRECTORY, Path.of(Told.STATE, "checkpoints").toUri().toString());
        settings.set(CheckpointingOptions.EXTERNALIZED_CHECKPOINT_RETENTION,
                ExternalizedCheckpointRetention.RETAIN_ON_CANCELLATION);
        if (words[0].equals("rocksdb")) {
            settings.set(CheckpointingOptions.INCREMENTAL_CHECKPOINTS, true);
            settings.set(TaskManagerOptions.MANAGED_MEMORY_SIZE, MemorySize.ofMebiBytes(Long.parseLong(words[1])));
        }
        newest().ifPresent(path -> settings.set(StateRecoveryOptions.SAVEPOINT_PATH, path.toUri().toString()));
        return settings;
    }

    /** The last complete checkpoint of a process that was killed. */
    private static Optional<Path> newest() throws IOException {
        Path folder = Path.of(Told.STATE, "checkpoints");
        if (!Files.isDirectory(folder)) {
            return Optional.empty();
        }
        try (Stream<Path> found = Files.walk(folder, 3)) {
            return found.filter(path -> path.endsWith("_metadata")).map(Path::getParent)
                    .max(Comparator.comparingLong(path -> path.toFile().lastModified()));
        }
    }

    private static KafkaSource<Event> source() {
        return KafkaSource.<Event>builder().setBootstrapServers(Told.BOOTSTRAP).setTopics(Told.SOURCE)
                .setGroupId(Told.GROUP).setStartingOffsets(OffsetsInitializer.earliest())
                .setDeserializer(new Read()).build();
    }

    private static WatermarkStrategy<Event> times() {
        return WatermarkStrategy.<Event>forMonotonousTimestamps().withTimestampAssigner((event, stamp) -> event.ms);
    }

    private static final class Read implements KafkaRecordDeserializationSchema<Event> {
        @Override
        public void deserialize(ConsumerRecord<byte[], byte[]> record, Collector<Event> out) throws IOException {
            out.collect(Event.parse(record.value()));
        }

        @Override
        public TypeInformation<Event> getProducedType() {
            return Types.POJO(Event.class);
        }
    }

    private static final class Bytes implements SerializationSchema<byte[]> {
        @Override
        public byte[] serialize(byte[] value) {
            return value;
        }
    }

    private static final class Counts extends KeyedProcessFunction<String, Event, byte[]> {
        private transient ValueState<Long> count;

        @Override
        public void open(OpenContext context) {
            count = getRuntimeContext().getState(new ValueStateDescriptor<>("count", Types.LONG));
        }

        @Override
        public void processElement(Event event, Context context, Collector<byte[]> out) throws Exception {
            if (event.kind == Event.TICK) {
                return;
            }
            Long before = count.value();
            long now = before == null ? 1 : before + 1;
            count.update(now);
            if (now % Told.COUNT_EVERY == 0) {
                out.collect(Event.firing(event.user, event.ms));
            }
        }
    }

    private static final class Features extends KeyedProcessFunction<String, Event, byte[]> {
        private transient ValueState<byte[]> rows;

        @Override
        public void open(OpenContext context) {
            rows = getRuntimeContext().getState(
                    new ValueStateDescriptor<>("row", PrimitiveArrayTypeInfo.BYTE_PRIMITIVE_ARRAY_TYPE_INFO));
        }

        @Override
        public void processElement(Event event, Context context, Collector<byte[]> out) throws Exception {
            if (event.kind == Event.TICK) {
                return;
            }
            byte[] row = rows.value();
            if (row == null) {
                row = new byte[Row.BYTES];
            }
            boolean holds = Row.add(row, event.kind, event.ms, event.cents);
            rows.update(row);
            if (holds) {
                out.collect(Event.firing(event.user, event.ms));
            }
        }
    }

    private static final class Absence extends KeyedProcessFunction<String, Event, byte[]> {
        private transient ValueState<Long> armed;

        @Override
        public void open(OpenContext context) {
            armed = getRuntimeContext().getState(new ValueStateDescriptor<>("armed", Types.LONG));
        }

        @Override
        public void processElement(Event event, Context context, Collector<byte[]> out) throws Exception {
            Long begun = armed.value();
            if (begun != null) {
                // The watermark may be behind this event: its own time says as well that time is up.
                if (event.ms > begun + Told.ABSENCE_MS) {
                    out.collect(Event.firing(event.user, begun));
                }
                context.timerService().deleteEventTimeTimer(begun + Told.ABSENCE_MS);
            }
            if (event.kind == Event.CART_ADD) {
                armed.update(event.ms);
                context.timerService().registerEventTimeTimer(event.ms + Told.ABSENCE_MS);
            } else if (begun != null) {
                armed.clear();
            }
        }

        @Override
        public void onTimer(long at, OnTimerContext context, Collector<byte[]> out) throws Exception {
            out.collect(Event.firing(context.getCurrentKey(), at - Told.ABSENCE_MS));
            armed.clear();
        }
    }
}
