package payfn.loadtest;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * Response times over steps of rising load. A step holds when its p95 is within the bound and no
 * request failed.
 */
final class Curve {
  static final int STEPS_MAX = 20;
  static final Duration STEP = Duration.ofSeconds(30);

  private final int requestsPerSecondOfStep;
  private final Duration settling;
  private final List<Step> steps = new ArrayList<>(List.of(new Step()));
  private Long startedAtNanos;
  private boolean complete;

  /** {@code settling} is the beginning of a step, when journeys of the step before go on. */
  Curve(int requestsPerSecondOfStep, Duration settling) {
    this.requestsPerSecondOfStep = requestsPerSecondOfStep;
    this.settling = settling;
  }

  /** An answer that passed every check. */
  synchronized void answered(long nowNanos, int milliseconds) {
    var step = stepAt(nowNanos);
    if ((nowNanos - startedAtNanos) % STEP.toNanos() >= settling.toNanos()) {
      step.milliseconds.add(milliseconds);
    }
  }

  /** A request without an answer, or with a wrong one. */
  synchronized void failed(long nowNanos) {
    stepAt(nowNanos).failures++;
  }

  /** Whether a step is over that did not hold. */
  synchronized boolean isComplete() {
    return complete;
  }

  /** The step of a moment; the first moment begins the first step. */
  private Step stepAt(long nowNanos) {
    if (startedAtNanos == null) {
      startedAtNanos = nowNanos;
    }
    var index = Math.min((nowNanos - startedAtNanos) / STEP.toNanos(), STEPS_MAX - 1);
    while (steps.size() <= index) {
      complete |= !last().holds();
      steps.add(new Step());
    }
    return last();
  }

  private Step last() {
    return steps.get(steps.size() - 1);
  }

  /** A line for each step, and the knee. */
  synchronized String report() {
    var over = complete ? steps.subList(0, steps.size() - 1) : steps;
    var lines = new StringBuilder("requests/s   answered/s   p50 ms   p95 ms   p99 ms   failed\n");
    for (var index = 0; index < over.size(); index++) {
      lines.append(over.get(index).line((index + 1) * requestsPerSecondOfStep));
    }
    var held = over.stream().takeWhile(Step::holds).count();
    var beyond = held < over.size() ? "the next step did not hold" : "every step held";
    return lines
        .append("knee: %d requests/s; %s".formatted(held * requestsPerSecondOfStep, beyond))
        .toString();
  }

  private final class Step {
    private final List<Integer> milliseconds = new ArrayList<>();
    private int failures;

    boolean holds() {
      return failures == 0 && !milliseconds.isEmpty() && percentile(95) <= Target.P95_MAX_MS;
    }

    double answeredPerSecond() {
      return (double) milliseconds.size() / STEP.minus(settling).toSeconds();
    }

    String line(int requestsPerSecond) {
      return "%10d   %10.1f   %6d   %6d   %6d   %6d%n"
          .formatted(
              requestsPerSecond,
              answeredPerSecond(),
              percentile(50),
              percentile(95),
              percentile(99),
              failures);
    }

    /** The nearest rank; 0 when nothing was answered. */
    int percentile(int percent) {
      var before = Math.max(0, (milliseconds.size() * percent + 99) / 100 - 1);
      return milliseconds.stream().sorted().skip(before).findFirst().orElse(0);
    }
  }
}
