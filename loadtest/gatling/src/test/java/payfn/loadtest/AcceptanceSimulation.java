package payfn.loadtest;

import static io.gatling.javaapi.core.CoreDsl.constantUsersPerSec;
import static io.gatling.javaapi.core.CoreDsl.exec;
import static io.gatling.javaapi.core.CoreDsl.forAll;
import static io.gatling.javaapi.core.CoreDsl.global;
import static io.gatling.javaapi.core.CoreDsl.rampUsersPerSec;

import io.gatling.javaapi.core.PopulationBuilder;
import io.gatling.javaapi.core.Simulation;
import java.time.Duration;

/**
 * The mix at a constant rate: {@code requestsPerSecond} (100) for {@code minutes} (10), in an open
 * model. Users begin at the full rate for longer than that by the longest time anybody thinks, so
 * that the whole of it has users at every step of every journey.
 */
public final class AcceptanceSimulation extends Simulation {
  private static final Duration RAMP = Duration.ofSeconds(10);
  /** More than the answers of a journey take together while p95 holds. */
  private static final Duration ANSWERING_MAX = Duration.ofSeconds(5);

  private final int requestsPerSecond = Integer.getInteger("requestsPerSecond", 100);
  private final Duration constant =
      Duration.ofMinutes(Integer.getInteger("minutes", 10)).plus(Journey.longestThinking());

  /** What Gatling runs. */
  public AcceptanceSimulation() {
    var target = Target.fromEnvironment();
    setUp(Journey.MIX.stream().map(journey -> population(journey, target)).toList())
        .protocols(target.protocol())
        .assertions(
            forAll().responseTime().percentile(95).lte(Target.P95_MAX_MS),
            global().failedRequests().count().is(0L),
            global().requestsPerSec().gte(requestsPerSecondOverall()));
  }

  private PopulationBuilder population(Journey journey, Target target) {
    var users = journey.usersPerSecond(requestsPerSecond);
    return journey
        .scenarioOf(target.merchants(), request -> exec(request).exitHereIfFailed())
        .injectOpen(
            rampUsersPerSec(0).to(users).during(RAMP), constantUsersPerSec(users).during(constant));
  }

  /** With ramp and end, where fewer are sent; less than this was no load of the asked rate. */
  private double requestsPerSecondOverall() {
    var requests = requestsPerSecond * (constant.toSeconds() + RAMP.toSeconds() / 2.0);
    var longest = RAMP.plus(constant).plus(Journey.longestThinking()).plus(ANSWERING_MAX);
    return requests / longest.toSeconds();
  }
}
