package payfn.loadtest;

import static java.nio.charset.StandardCharsets.UTF_8;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;

import java.util.Base64;
import java.util.LinkedHashMap;
import java.util.Map;
import org.junit.jupiter.api.Test;

class SignatureTest {
  private static final long CREATED = 1618884473;
  private static final byte[] SECRET =
      Base64.getDecoder()
          .decode(
              "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ==");
  private static final Key KEY = new Key("test-shared-secret", "m-1", "merchant", SECRET, null);

  /** RFC 9421 section B.2.5. */
  @Test
  void theExampleOfTheRfcHasItsBaseAndItsSignature() {
    var components = new LinkedHashMap<String, String>();
    components.put("date", "Tue, 20 Apr 2021 02:07:55 GMT");
    components.put("@authority", "example.com");
    components.put("content-type", "application/json");
    var signature =
        new Signature(components, ";created=1618884473;keyid=\"test-shared-secret\"");

    assertEquals(
        """
        "date": Tue, 20 Apr 2021 02:07:55 GMT
        "@authority": example.com
        "content-type": application/json
        "@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret\"""",
        signature.base());
    assertEquals("pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=", signature.value(SECRET));
  }

  /** RFC 9530 section D.1. */
  @Test
  void theDigestIsThatOfTheRfc() {
    assertEquals(
        "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:",
        Signature.contentDigest("{\"hello\": \"world\"}\n".getBytes(UTF_8)));
  }

  /** The expected headers are those of http-message-signatures 3.0 in docs/signing.md. */
  @Test
  void aPostCoversItsIdempotencyKeyAndItsBody() {
    var body = "{\"orderId\":\"order-1\",\"amount\":15000,\"currency\":\"KRW\"}".getBytes(UTF_8);
    assertEquals(
        Map.of(
            "Content-Digest", "sha-256=:aZMpc9VpH9vJWmDqyAM+NqyWEkzKpKOE2AqqWTsNO5s=:",
            "Signature-Input",
                "sig1=(\"@method\" \"@path\" \"idempotency-key\" \"content-digest\");"
                    + "created=1618884473;keyid=\"test-shared-secret\";alg=\"hmac-sha256\"",
            "Signature", "sig1=:Iy5MelR0qPqbxRHcJnEpIvF0oIpBepnPucoxhjaNtFI=:"),
        headers("POST", "/payments/authorize", null, "order-1-authorize", body));
  }

  @Test
  void aPostWithoutBodyHasNoDigest() {
    assertEquals(
        Map.of(
            "Signature-Input",
                "sig1=(\"@method\" \"@path\" \"idempotency-key\");"
                    + "created=1618884473;keyid=\"test-shared-secret\";alg=\"hmac-sha256\"",
            "Signature", "sig1=:zNyqxLvZGcfWRbJeNZZ8Oq7gNemmieHCiR9pgDsJbxY=:"),
        headers("POST", "/payments/void/pay_1", null, "k1", null));
  }

  @Test
  void aGetCoversItsQuery() {
    assertEquals(
        Map.of(
            "Signature-Input",
                "sig1=(\"@method\" \"@path\" \"@query\");"
                    + "created=1618884473;keyid=\"test-shared-secret\";alg=\"hmac-sha256\"",
            "Signature", "sig1=:uYIBYUflOPVqu8XBBsgwyy0GynG1VzuNDi2EsvQK6W0=:"),
        headers("GET", "/payments", "limit=20&after=pay_1", null, null));
  }

  @Test
  void everyCoveredPartCounts() {
    var original = headers("POST", "/a", "q=1", "key", new byte[] {1}).get("Signature");
    assertNotEquals(original, headers("PUT", "/a", "q=1", "key", new byte[] {1}).get("Signature"));
    assertNotEquals(original, headers("POST", "/b", "q=1", "key", new byte[] {1}).get("Signature"));
    assertNotEquals(original, headers("POST", "/a", "q=2", "key", new byte[] {1}).get("Signature"));
    assertNotEquals(original, headers("POST", "/a", "q=1", "kez", new byte[] {1}).get("Signature"));
    assertNotEquals(original, headers("POST", "/a", "q=1", "key", new byte[] {2}).get("Signature"));
  }

  private static Map<String, String> headers(
      String method, String path, String query, String idempotencyKey, byte[] body) {
    var request = new Signature.Unsigned(method, path, query, idempotencyKey, body);
    return Signature.headers(request, KEY, CREATED);
  }
}
