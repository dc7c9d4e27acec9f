package payfn.loadtest;

import static io.gatling.javaapi.http.HttpDsl.http;

import io.gatling.javaapi.http.HttpProtocolBuilder;
import java.nio.file.Path;

/** The service under load: {@code PAYFN_URL}, with the keys of {@code KEYS_FILE}. */
record Target(Merchants merchants, HttpProtocolBuilder protocol) {
  /** The promise of the service: 95 of 100 answers come within it. */
  static final int P95_MAX_MS = 500;

  static Target fromEnvironment() {
    var merchants = Merchants.of(Path.of(variable("KEYS_FILE")));
    // The callers are the merchants' servers, which keep their connections.
    var protocol =
        http.baseUrl(variable("PAYFN_URL"))
            .acceptHeader("application/json, application/problem+json")
            .shareConnections()
            .disableCaching()
            .disableFollowRedirect()
            .sign(merchants::sign);
    return new Target(merchants, protocol);
  }

  private static String variable(String name) {
    var value = System.getenv(name);
    if (value == null || value.isEmpty()) {
      throw new IllegalArgumentException(name + " is not set");
    }
    return value;
  }
}
