package payfn.loadtest;

import static io.gatling.javaapi.core.CoreDsl.feed;
import static io.gatling.javaapi.core.CoreDsl.scenario;
import static payfn.loadtest.Command.AUTHORIZE;
import static payfn.loadtest.Command.CAPTURE;
import static payfn.loadtest.Command.CAPTURE_PART;
import static payfn.loadtest.Command.REFUND;
import static payfn.loadtest.Command.REFUND_PART;
import static payfn.loadtest.Command.VOID;
import static payfn.loadtest.Query.findByOrder;
import static payfn.loadtest.Query.lookUp;
import static payfn.loadtest.Query.newest;
import static payfn.loadtest.Query.older;
import static payfn.loadtest.Query.timeline;

import io.gatling.javaapi.core.ChainBuilder;
import io.gatling.javaapi.core.ScenarioBuilder;
import io.gatling.javaapi.http.HttpRequestActionBuilder;
import java.time.Duration;
import java.util.List;
import java.util.function.Function;

/**
 * What somebody does, one request after the other.
 *
 * @param share how many users begin it beside those of the other journeys
 */
record Journey(String name, int share, List<HttpRequestActionBuilder> requests) {
  private static final Duration THINK_MIN = Duration.ofSeconds(1);
  private static final Duration THINK_MAX = Duration.ofSeconds(3);

  /** The mix: 28 users who make 100 requests. */
  static final List<Journey> MIX =
      List.of(
          new Journey(
              "buys", 12, List.of(AUTHORIZE.first(), CAPTURE.first(), lookUp(Expected.CAPTURED))),
          new Journey(
              "buys what is left",
              2,
              List.of(AUTHORIZE.first(), CAPTURE_PART.first(), lookUp(Expected.PARTLY_CAPTURED))),
          new Journey(
              "buys on a bad line",
              2,
              List.of(AUTHORIZE.first(), AUTHORIZE.again(), CAPTURE.first(), CAPTURE.again())),
          new Journey(
              "returns a part",
              4,
              List.of(
                  AUTHORIZE.first(),
                  CAPTURE.first(),
                  REFUND_PART.first(),
                  lookUp(Expected.PARTLY_REFUNDED),
                  timeline("REQUESTED", "COMPLETED", "PARTIALLY_REFUNDED"))),
          new Journey(
              "returns everything",
              2,
              List.of(
                  AUTHORIZE.first(),
                  CAPTURE.first(),
                  REFUND.first(),
                  REFUND.again(),
                  timeline("REQUESTED", "COMPLETED", "REFUNDED"))),
          new Journey(
              "cancels", 4, List.of(AUTHORIZE.first(), VOID.first(), lookUp(Expected.VOIDED))),
          new Journey(
              "back office", 2, List.of(AUTHORIZE.first(), findByOrder(), newest(), older())));

  /** How many users begin it per second when the mix makes that many requests. */
  double usersPerSecond(int requestsPerSecond) {
    var requestsOfShares =
        MIX.stream().mapToInt(journey -> journey.share * journey.requests.size()).sum();
    return (double) requestsPerSecond * share / requestsOfShares;
  }

  /** The longest time that anybody thinks altogether. */
  static Duration longestThinking() {
    var pauses = MIX.stream().mapToInt(journey -> journey.requests.size() - 1).max().orElseThrow();
    return THINK_MAX.multipliedBy(pauses);
  }

  /** Users that go through it for one order each; {@code send} makes a request a step. */
  ScenarioBuilder scenarioOf(
      Merchants merchants, Function<HttpRequestActionBuilder, ChainBuilder> send) {
    var chain = feed(merchants.orders()).exec(send.apply(requests.get(0)));
    for (var request : requests.subList(1, requests.size())) {
      chain = chain.pause(THINK_MIN, THINK_MAX).exec(send.apply(request));
    }
    return scenario(name).exec(chain);
  }
}
