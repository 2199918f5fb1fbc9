package kairos.bench;

import java.time.Duration;
import org.apache.flink.api.common.functions.AggregateFunction;
import org.apache.flink.streaming.api.datastream.DataStream;
import org.apache.flink.streaming.api.datastream.KeyedStream;
import org.apache.flink.streaming.api.functions.windowing.ProcessWindowFunction;
import org.apache.flink.streaming.api.windowing.assigners.SlidingEventTimeWindows;
import org.apache.flink.streaming.api.windowing.triggers.Trigger;
import org.apache.flink.streaming.api.windowing.triggers.TriggerResult;
import org.apache.flink.streaming.api.windowing.windows.TimeWindow;
import org.apache.flink.util.Collector;

/** W3 with Flink's own sliding windows: the oldest one that holds an event is read at that event. */
final class FlinkHopping {
    private FlinkHopping() {}

    static DataStream<byte[]> of(KeyedStream<Event, String> events) {
        return events.window(SlidingEventTimeWindows.of(Duration.ofMillis(Told.HOPPING_SIZE_MS),
                        Duration.ofMillis(Told.HOPPING_STEP_MS)))
                .trigger(new AtOldest()).aggregate(new Sum(), new Crossing());
    }

    /** The sum of a window, the cents of its newest event, and that event's time. */
    public static final class Total {
        public long sum, last, ms;
    }

    private static final class Sum implements AggregateFunction<Event, Total, Total> {
        @Override
        public Total createAccumulator() {
            return new Total();
        }

        @Override
        public Total add(Event event, Total total) {
            total.sum += event.cents;
            total.last = event.cents;
            total.ms = event.ms;
            return total;
        }

        @Override
        public Total getResult(Total total) {
            return total;
        }

        @Override
        public Total merge(Total one, Total other) {
            throw new UnsupportedOperationException("sliding windows do not merge");
        }
    }

    private static final class Crossing extends ProcessWindowFunction<Total, byte[], String, TimeWindow> {
        @Override
        public void process(String user, Context context, Iterable<Total> totals, Collector<byte[]> out) {
            Total total = totals.iterator().next();
            if (total.sum >= Told.HOPPING_CENTS && total.sum - total.last < Told.HOPPING_CENTS) {
                out.collect(Event.firing(user, total.ms));
            }
        }
    }

    private static final class AtOldest extends Trigger<Event, TimeWindow> {
        @Override
        public TriggerResult onElement(Event event, long ms, TimeWindow window, TriggerContext context) {
            return window.getEnd() - ms <= Told.HOPPING_STEP_MS ? TriggerResult.FIRE : TriggerResult.CONTINUE;
        }

        @Override
        public TriggerResult onEventTime(long time, TimeWindow window, TriggerContext context) {
            return TriggerResult.CONTINUE;
        }

        @Override
        public TriggerResult onProcessingTime(long time, TimeWindow window, TriggerContext context) {
            return TriggerResult.CONTINUE;
        }

        @Override
        public void clear(TimeWindow window, TriggerContext context) {}
    }
}
