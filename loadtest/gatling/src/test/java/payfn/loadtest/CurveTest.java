package payfn.loadtest;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.time.Duration;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class CurveTest {
  private static final Duration SETTLING = Duration.ofSeconds(10);

  private final Curve curve = new Curve(100, SETTLING);

  @Test
  void theKneeIsTheLastStepThatHeld() {
    answer(0, 10, 20, 30, 500);
    answer(1, 501);
    assertFalse(curve.isComplete());
    answer(2, 1);
    assertTrue(curve.isComplete());
    assertEquals(
        """
        requests/s   answered/s   p50 ms   p95 ms   p99 ms   failed
               100          0.2       20      500      500        0
               200          0.1      501      501      501        0
        knee: 100 requests/s; the next step did not hold""",
        curve.report());
  }

  @Test
  void aStepWithAFailureDoesNotHold() {
    answer(0, 10);
    curve.failed(measured(0));
    answer(1, 10);
    assertTrue(curve.isComplete());
    assertTrue(curve.report().endsWith("knee: 0 requests/s; the next step did not hold"));
  }

  @Test
  void aStepWithoutAnAnswerDoesNotHold() {
    answer(0, 10);
    answer(2, 10);
    assertTrue(curve.isComplete());
    assertTrue(curve.report().contains("knee: 100 requests/s"));
  }

  @Test
  void theBeginningOfAStepIsNotMeasured() {
    answer(0, 10);
    curve.answered(Curve.STEP.toNanos(), 9_000);
    curve.answered(Curve.STEP.plus(SETTLING).toNanos() - 1, 9_000);
    answer(1, 10);
    answer(2, 10);
    assertFalse(curve.isComplete());
  }

  @Test
  void moreThanNineteenOfTwentyWithinTheBoundHold() {
    answer(0, IntStream.rangeClosed(1, 20).map(index -> index < 20 ? 500 : 9_000).toArray());
    answer(1, IntStream.rangeClosed(1, 20).map(index -> index < 19 ? 500 : 9_000).toArray());
    answer(2, 10);
    assertTrue(curve.report().contains("knee: 100 requests/s; the next step did not hold"));
  }

  @Test
  void answersAfterTheLastStepBelongToIt() {
    IntStream.range(0, Curve.STEPS_MAX + 1).forEach(step -> answer(step, 10));
    assertFalse(curve.isComplete());
    assertTrue(curve.report().endsWith("knee: 2000 requests/s; every step held"));
  }

  private void answer(int step, int... milliseconds) {
    if (step == 0) {
      curve.answered(0, 0);
    }
    IntStream.of(milliseconds).forEach(time -> curve.answered(measured(step), time));
  }

  private static long measured(int step) {
    return Curve.STEP.multipliedBy(step + 1).toNanos() - 1;
  }
}
