package payfn.loadtest;

import static io.gatling.javaapi.core.CoreDsl.StringBody;
import static io.gatling.javaapi.core.CoreDsl.bodyString;
import static io.gatling.javaapi.core.CoreDsl.jmesPath;
import static io.gatling.javaapi.http.HttpDsl.header;
import static io.gatling.javaapi.http.HttpDsl.http;
import static io.gatling.javaapi.http.HttpDsl.status;

import io.gatling.javaapi.http.HttpRequestActionBuilder;

/** A step that changes the payment of the session's order; {@code body} may be {@code null}. */
record Command(String name, String path, String body, Expected expected) {

  static final Command AUTHORIZE =
      new Command(
          "authorize",
          "/payments/authorize",
          """
          {"orderId":"#{orderId}","amount":#{amount},"currency":"KRW","description":"shoes",\
          "customer":{"name":"Kim Minji","email":"minji@example.com","phone":"+82-10-0000-0000"},\
          "metadata":{"channel":"web"}}""",
          Expected.AUTHORIZED);
  static final Command VOID =
      new Command("void", "/payments/void/#{paymentId}", null, Expected.VOIDED);
  static final Command CAPTURE =
      new Command("capture", "/payments/capture/#{paymentId}", null, Expected.CAPTURED);
  static final Command CAPTURE_PART =
      new Command(
          "capture a part",
          "/payments/capture/#{paymentId}",
          "{\"amount\":#{part}}",
          Expected.PARTLY_CAPTURED);
  static final Command REFUND =
      new Command("refund", "/payments/refund/#{paymentId}", null, Expected.REFUNDED);
  static final Command REFUND_PART =
      new Command(
          "refund a part",
          "/payments/refund/#{paymentId}",
          "{\"amount\":#{part},\"reason\":\"one of two did not fit\"}",
          Expected.PARTLY_REFUNDED);

  /** The step for the first time. */
  HttpRequestActionBuilder first() {
    return request(name)
        .check(
            header("Idempotent-Replayed").notExists(),
            jmesPath("paymentId").saveAs("paymentId"),
            bodyString().saveAs("answer"));
  }

  /** The step just made, sent again with its idempotency key, as if its answer had been lost. */
  HttpRequestActionBuilder again() {
    return request(name + " again")
        .check(header("Idempotent-Replayed").is("true"), bodyString().isEL("#{answer}"));
  }

  /** An order takes each step at most once, so that its id names the step's idempotency key. */
  private HttpRequestActionBuilder request(String requestName) {
    var request =
        http(requestName)
            .post(path)
            .header("Idempotency-Key", name.replace(' ', '-') + "-#{orderId}");
    var complete = body == null ? request : request.body(StringBody(body)).asJson();
    return complete.check(status().is(200), expected.check());
  }
}
