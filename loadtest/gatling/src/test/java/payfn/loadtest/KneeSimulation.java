package payfn.loadtest;

import static io.gatling.javaapi.core.CoreDsl.exec;
import static io.gatling.javaapi.core.CoreDsl.incrementUsersPerSec;
import static io.gatling.javaapi.core.CoreDsl.responseTimeInMillis;
import static io.gatling.javaapi.core.CoreDsl.stopLoadGeneratorIf;

import io.gatling.javaapi.core.ChainBuilder;
import io.gatling.javaapi.core.PopulationBuilder;
import io.gatling.javaapi.core.Session;
import io.gatling.javaapi.core.Simulation;
import io.gatling.javaapi.http.HttpRequestActionBuilder;

/**
 * The mix in steps of rising rate, {@code requestsPerSecond} (100) more each, until a step does not
 * hold; then the curve is printed.
 */
public final class KneeSimulation extends Simulation {
  private static final String RESPONSE_TIME = "responseTime";

  private final int requestsPerSecondOfStep = Integer.getInteger("requestsPerSecond", 100);
  private final Curve curve =
      new Curve(requestsPerSecondOfStep, Journey.longestThinking());

  /** What Gatling runs. */
  public KneeSimulation() {
    var target = Target.fromEnvironment();
    setUp(Journey.MIX.stream().map(journey -> population(journey, target)).toList())
        .protocols(target.protocol().check(responseTimeInMillis().saveAs(RESPONSE_TIME)));
  }

  private PopulationBuilder population(Journey journey, Target target) {
    var users = journey.usersPerSecond(requestsPerSecondOfStep);
    return journey
        .scenarioOf(target.merchants(), this::measured)
        .injectOpen(
            incrementUsersPerSec(users)
                .times(Curve.STEPS_MAX)
                .eachLevelLasting(Curve.STEP)
                .startingFrom(users));
  }

  private ChainBuilder measured(HttpRequestActionBuilder request) {
    return exec(request)
        .exec(this::record)
        .exec(stopLoadGeneratorIf("the knee is found", session -> curve.isComplete()))
        .exitHereIfFailed();
  }

  private Session record(Session session) {
    if (session.isFailed()) {
      curve.failed(System.nanoTime());
    } else {
      curve.answered(System.nanoTime(), session.getInt(RESPONSE_TIME));
    }
    return session;
  }

  @Override
  public void after() {
    System.out.println(curve.report());
  }
}
