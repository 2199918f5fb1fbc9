package kairos.bench;

import java.nio.ByteBuffer;

/** The aggregate of a hopping window, serialized: sum, cents of the newest event, its time. */
final class Total {
    private Total() {}

    static byte[] add(byte[] total, Event event) {
        long sum = ByteBuffer.wrap(total).getLong(0) + event.cents;
        return ByteBuffer.allocate(24).putLong(sum).putLong(event.cents).putLong(event.ms).array();
    }

    static long ms(byte[] total) {
        return ByteBuffer.wrap(total).getLong(16);
    }

    /** True when the newest event lifted the sum to the threshold. */
    static boolean crosses(byte[] total) {
        long sum = ByteBuffer.wrap(total).getLong(0), last = ByteBuffer.wrap(total).getLong(8);
        return sum >= Told.HOPPING_CENTS && sum - last < Told.HOPPING_CENTS;
    }
}
