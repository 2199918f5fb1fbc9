package kairos.bench;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * The state of one user in W2, in one byte array of fixed layout, which is also its serialized form:
 * rings of 16-bit tiles (one more than the window has, for the live one), money tiles, decays
 * relative to a landmark, last time. Definitions: bench/signal/workloads.py.
 */
public final class Row {
    private static final VarHandle SHORT = MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle INT = MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle LONG = MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);
    private static final VarHandle DOUBLE = MethodHandles.byteArrayViewVarHandle(double[].class, ByteOrder.LITTLE_ENDIAN);

    private static final int KINDS = 5, RINGS = 4, LIVES = 3;
    private static final long[] TILE_MS = {300_000, 3_600_000, 21_600_000, 86_400_000};
    private static final int[] SLOTS = {13, 25, 29, 31};
    private static final double[] HALF_LIFE_MS = {3_600_000, 86_400_000, 604_800_000};
    /** Landmarks move before a weight grows beyond 2^400. */
    private static final double LANDMARK_MOVES_MS = 400 * HALF_LIFE_MS[0];

    private static final int LAST = 0, LANDMARK = 8, DECAYS = 16, MONEY = DECAYS + 8 * LIVES * KINDS;
    private static final int[] RING = new int[RINGS];
    public static final int BYTES;

    static {
        int at = MONEY + 4 * SLOTS[3];
        for (int ring = 0; ring < RINGS; ring++) {
            RING[ring] = at;
            at += 2 * KINDS * SLOTS[ring];
        }
        BYTES = at;
    }

    private Row() {}

    /** Counts an event in, in place; gives whether the rule holds now. */
    public static boolean add(byte[] row, int kind, long ms, long cents) {
        long last = (long) LONG.get(row, LAST);
        if (last == 0) {
            LONG.set(row, LANDMARK, ms);
        } else {
            forget(row, last, ms);
        }
        LONG.set(row, LAST, Math.max(last, ms));
        for (int ring = 0; ring < RINGS; ring++) {
            int at = RING[ring] + 2 * (slot(ring, ms) * KINDS + kind);
            SHORT.set(row, at, (short) ((short) SHORT.get(row, at) + 1));
        }
        if (kind == Event.PURCHASE) {
            int at = MONEY + 4 * slot(3, ms);
            INT.set(row, at, (int) INT.get(row, at) + (int) cents);
        }
        double since = ms - (long) LONG.get(row, LANDMARK);
        if (since > LANDMARK_MOVES_MS) {
            move(row, since, ms);
            since = 0;
        }
        double hour = Math.exp(LN2 * since / HALF_LIFE_MS[0]);
        grow(row, 0, kind, hour);
        grow(row, 1, kind, Math.exp(LN2 * since / HALF_LIFE_MS[1]));
        grow(row, 2, kind, Math.exp(LN2 * since / HALF_LIFE_MS[2]));
        return holds(row, hour);
    }

    private static final double LN2 = Math.log(2);

    private static boolean holds(byte[] row, double hour) {
        int views = count(row, 0, Event.VIEW);
        return views >= 5 && views <= 8 && count(row, 1, Event.CART_ADD) >= 1
                && count(row, 2, Event.PURCHASE) <= 1
                && (double) DOUBLE.get(row, DECAYS + 8 * Event.VIEW) / hour >= 4.6 && money(row) < 6_000;
    }

    private static int slot(int ring, long ms) {
        return (int) (ms / TILE_MS[ring] % SLOTS[ring]);
    }

    /** Empties the tiles that left their windows between two times. */
    private static void forget(byte[] row, long last, long ms) {
        for (int ring = 0; ring < RINGS; ring++) {
            long old = last / TILE_MS[ring], now = ms / TILE_MS[ring];
            for (long tile = Math.max(old + 1, now - SLOTS[ring] + 1); tile <= now; tile++) {
                int slot = (int) (tile % SLOTS[ring]);
                int at = RING[ring] + 2 * slot * KINDS;
                Arrays.fill(row, at, at + 2 * KINDS, (byte) 0);
                if (ring == 3) {
                    INT.set(row, MONEY + 4 * slot, 0);
                }
            }
        }
    }

    private static int count(byte[] row, int ring, int kind) {
        int sum = 0;
        for (int at = RING[ring] + 2 * kind, end = at + 2 * KINDS * SLOTS[ring]; at < end; at += 2 * KINDS) {
            sum += (short) SHORT.get(row, at) & 0xFFFF;
        }
        return sum;
    }

    private static long money(byte[] row) {
        long sum = 0;
        for (int at = MONEY, end = MONEY + 4 * SLOTS[3]; at < end; at += 4) {
            sum += (int) INT.get(row, at);
        }
        return sum;
    }

    private static void grow(byte[] row, int life, int kind, double weight) {
        int at = DECAYS + 8 * (life * KINDS + kind);
        DOUBLE.set(row, at, (double) DOUBLE.get(row, at) + weight);
    }

    private static void move(byte[] row, double since, long ms) {
        for (int life = 0; life < LIVES; life++) {
            double shrink = Math.exp(-LN2 * since / HALF_LIFE_MS[life]);
            for (int kind = 0; kind < KINDS; kind++) {
                int at = DECAYS + 8 * (life * KINDS + kind);
                DOUBLE.set(row, at, (double) DOUBLE.get(row, at) * shrink);
            }
        }
        LONG.set(row, LANDMARK, ms);
    }
}
