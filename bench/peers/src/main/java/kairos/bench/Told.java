package kairos.bench;

/** What the harness tells a system: BENCH_* of the environment (bench/signal/systems.py). */
public final class Told {
    public static final String WORKLOAD = of("WORKLOAD"), BOOTSTRAP = of("BOOTSTRAP"), SOURCE = of("SOURCE"),
            OUT = of("OUT"), GROUP = of("GROUP"), STATE = of("STATE");
    public static final long INTERVAL_MS = (long) (Double.parseDouble(of("INTERVAL_S")) * 1000);
    public static final int THREADS = Math.max(1, Runtime.getRuntime().availableProcessors());

    public static final int COUNT_EVERY = 100;
    public static final long HOPPING_SIZE_MS = 3_600_000, HOPPING_STEP_MS = 300_000, HOPPING_CENTS = 50_000;
    public static final long ABSENCE_MS = 1_800_000;

    private Told() {}

    private static String of(String name) {
        String value = System.getenv("BENCH_" + name);
        if (value == null) {
            throw new IllegalStateException("BENCH_" + name + " is not set: start this through make bench-signal");
        }
        return value;
    }
}
