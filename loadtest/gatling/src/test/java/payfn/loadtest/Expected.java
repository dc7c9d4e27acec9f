package payfn.loadtest;

import static io.gatling.javaapi.core.CoreDsl.jmesPath;

import io.gatling.javaapi.core.CheckBuilder;
import io.gatling.javaapi.core.Session;
import java.util.List;
import java.util.function.ToIntFunction;

/** What the payment of the session's order looks like after a step. */
record Expected(
    String status, ToIntFunction<Session> captured, ToIntFunction<Session> refunded, int version) {

  private static final ToIntFunction<Session> NOTHING = session -> 0;
  private static final ToIntFunction<Session> PART = session -> session.getInt("part");
  private static final ToIntFunction<Session> ALL = session -> session.getInt("amount");

  static final Expected AUTHORIZED = new Expected("REQUESTED", NOTHING, NOTHING, 1);
  static final Expected VOIDED = new Expected("VOIDED", NOTHING, NOTHING, 2);
  static final Expected CAPTURED = new Expected("COMPLETED", ALL, NOTHING, 2);
  static final Expected PARTLY_CAPTURED = new Expected("COMPLETED", PART, NOTHING, 2);
  static final Expected PARTLY_REFUNDED = new Expected("PARTIALLY_REFUNDED", ALL, PART, 3);
  static final Expected REFUNDED = new Expected("REFUNDED", ALL, ALL, 3);

  /** All members that a step may change, and whose payment it is, compared at once. */
  CheckBuilder check() {
    var members =
        "[orderId, merchantId, currency, status, amount, capturedAmount, refundedAmount, version]";
    return jmesPath(members)
        .ofList()
        .is(
            session ->
                List.of(
                    session.getString("orderId"),
                    session.getString("merchantId"),
                    "KRW",
                    status,
                    session.getInt("amount"),
                    captured.applyAsInt(session),
                    refunded.applyAsInt(session),
                    version));
  }
}
