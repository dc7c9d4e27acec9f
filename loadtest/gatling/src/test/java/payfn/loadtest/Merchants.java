package payfn.loadtest;

import static java.util.stream.Collectors.toMap;

import io.gatling.http.client.Request;
import io.gatling.javaapi.core.Session;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.Iterator;
import java.util.List;
import java.util.Map;
import java.util.UUID;
import java.util.concurrent.ThreadLocalRandom;
import java.util.stream.Stream;

/** The merchants that take the orders and sign the requests. */
final class Merchants {
  private static final int AMOUNT_MIN = 1_000;
  private static final int AMOUNT_MAX = 200_000;

  private final List<Key> keys;
  private final Map<String, Key> byId;

  private Merchants(List<Key> keys) {
    this.keys = keys;
    this.byId = keys.stream().collect(toMap(Key::keyId, key -> key));
  }

  static Merchants of(Path keyFile) {
    try {
      return new Merchants(Key.unlimitedMerchants(keyFile));
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
  }

  /**
   * Orders without end, each of one of the merchants. {@code part} is what is captured or refunded
   * of an order when it is not all of {@code amount}.
   */
  Iterator<Map<String, Object>> orders() {
    return Stream.generate(this::order).iterator();
  }

  private Map<String, Object> order() {
    var random = ThreadLocalRandom.current();
    var key = keys.get(random.nextInt(keys.size()));
    var amount = random.nextInt(AMOUNT_MIN, AMOUNT_MAX);
    return Map.of(
        "orderId", UUID.randomUUID().toString(),
        "amount", amount,
        "part", random.nextInt(1, amount),
        "keyId", key.keyId(),
        "merchantId", key.merchantId());
  }

  /** Signs with the key of the session's order, as docs/signing.md asks. */
  Request sign(Request request, Session session) {
    var uri = request.getUri();
    var body = request.getBody();
    var unsigned =
        new Signature.Unsigned(
            request.getMethod().name(),
            uri.getPath(),
            uri.getQuery(),
            request.getHeaders().get("Idempotency-Key"),
            body == null ? null : body.getBytes());
    var key = byId.get(session.getString("keyId"));
    Signature.headers(unsigned, key, Instant.now().getEpochSecond())
        .forEach((name, value) -> request.getHeaders().set(name, value));
    return request;
  }
}
