package payfn.loadtest;

import static io.gatling.javaapi.core.CoreDsl.jmesPath;
import static io.gatling.javaapi.http.HttpDsl.http;
import static io.gatling.javaapi.http.HttpDsl.status;

import io.gatling.javaapi.core.CheckBuilder;
import io.gatling.javaapi.http.HttpRequestActionBuilder;
import java.util.List;
import java.util.stream.IntStream;

/** The steps that only look. */
final class Query {
  private static final int PAGE = 20;

  private Query() {}

  /** The payment of the session's order. */
  static HttpRequestActionBuilder lookUp(Expected expected) {
    return get("look up", "/payments/#{paymentId}", expected.check());
  }

  /** Its timeline: one step for each status, numbered without a gap. */
  static HttpRequestActionBuilder timeline(String... statuses) {
    var steps =
        IntStream.range(0, statuses.length)
            .<Object>mapToObj(index -> List.of(index + 1, statuses[index]))
            .toList();
    return get(
        "timeline",
        "/payments/#{paymentId}/timeline",
        jmesPath("paymentId").isEL("#{paymentId}"),
        jmesPath("data[].[seq, status]").ofList().is(steps));
  }

  /** The payment found by its order, alone. */
  static HttpRequestActionBuilder findByOrder() {
    return get(
        "find by order",
        "/payments?orderId=#{orderId}",
        jmesPath("length(data)").ofInt().is(1),
        jmesPath("data[0].paymentId").isEL("#{paymentId}"),
        jmesPath("hasMore").ofBoolean().is(false));
  }

  /** The merchant's newest payments. */
  static HttpRequestActionBuilder newest() {
    return get(
        "newest",
        "/payments?limit=" + PAGE,
        onlyOwn(),
        jmesPath("data && length(data) <= `%d`".formatted(PAGE)).ofBoolean().is(true));
  }

  /** The merchant's payments before the one of the session's order. */
  static HttpRequestActionBuilder older() {
    return get(
        "older",
        "/payments?limit=" + PAGE + "&after=#{paymentId}",
        onlyOwn(),
        jmesPath("data[?paymentId == '#{paymentId}']").ofList().is(List.of()));
  }

  private static CheckBuilder onlyOwn() {
    return jmesPath("data[?merchantId != '#{merchantId}'].paymentId").ofList().is(List.of());
  }

  private static HttpRequestActionBuilder get(String name, String path, CheckBuilder... checks) {
    return http(name).get(path).check(status().is(200)).check(checks);
  }
}
