package payfn.loadtest;

import static java.nio.charset.StandardCharsets.UTF_8;
import static java.util.stream.Collectors.joining;

import java.security.GeneralSecurityException;
import java.security.MessageDigest;
import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import javax.crypto.Mac;
import javax.crypto.spec.SecretKeySpec;

/**
 * A message signature with HMAC-SHA-256 (RFC 9421).
 *
 * @param components what is covered and its values, in order
 * @param parameters as written after the components, from the first semicolon on
 */
record Signature(Map<String, String> components, String parameters) {

  /** A request as it is sent; {@code null} for a query, idempotency key or body it has not. */
  record Unsigned(String method, String path, String query, String idempotencyKey, byte[] body) {}

  /** What to add to a request: {@code Content-Digest} when it has a body, and the signature. */
  static Map<String, String> headers(Unsigned request, Key key, long createdSeconds) {
    var headers = new LinkedHashMap<String, String>();
    if (request.body != null) {
      headers.put("Content-Digest", contentDigest(request.body));
    }
    var parameters =
        ";created=%d;keyid=\"%s\";alg=\"hmac-sha256\"".formatted(createdSeconds, key.keyId());
    var signature = new Signature(covered(request, headers.get("Content-Digest")), parameters);
    headers.put("Signature-Input", "sig1=" + signature.input());
    headers.put("Signature", "sig1=:" + signature.value(key.secret()) + ":");
    return headers;
  }

  private static Map<String, String> covered(Unsigned request, String contentDigest) {
    var components = new LinkedHashMap<String, String>();
    components.put("@method", request.method);
    components.put("@path", request.path);
    if (request.query != null) {
      components.put("@query", "?" + request.query);
    }
    if (request.idempotencyKey != null) {
      components.put("idempotency-key", request.idempotencyKey);
    }
    if (contentDigest != null) {
      components.put("content-digest", contentDigest);
    }
    return components;
  }

  /** {@code ("a" "b");created=…}, as in {@code Signature-Input} (section 4.1). */
  String input() {
    return components.keySet().stream().map("\"%s\""::formatted).collect(joining(" ", "(", ")"))
        + parameters;
  }

  /** The bytes that are signed, as text (section 2.5). */
  String base() {
    var lines = new StringBuilder();
    components.forEach((name, value) -> lines.append("\"%s\": %s\n".formatted(name, value)));
    return lines.append("\"@signature-params\": ").append(input()).toString();
  }

  /** The signature in base64 (section 3.3.3). */
  String value(byte[] secret) {
    try {
      var mac = Mac.getInstance("HmacSHA256");
      mac.init(new SecretKeySpec(secret, "HmacSHA256"));
      return Base64.getEncoder().encodeToString(mac.doFinal(base().getBytes(UTF_8)));
    } catch (GeneralSecurityException impossible) {
      throw new IllegalStateException("every Java has HmacSHA256", impossible);
    }
  }

  /** The value of {@code Content-Digest} (RFC 9530). */
  static String contentDigest(byte[] body) {
    try {
      var digest = MessageDigest.getInstance("SHA-256").digest(body);
      return "sha-256=:" + Base64.getEncoder().encodeToString(digest) + ":";
    } catch (GeneralSecurityException impossible) {
      throw new IllegalStateException("every Java has SHA-256", impossible);
    }
  }
}
