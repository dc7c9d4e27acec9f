package payfn.loadtest;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;

/**
 * A key of the key file.
 *
 * @param secret base64 there, bytes here
 * @param rateLimit the merchant's own rate, or {@code null} for the service's default
 */
@JsonIgnoreProperties(ignoreUnknown = true)
record Key(String keyId, String merchantId, String role, byte[] secret, Object rateLimit) {

  /** The keys of merchants that the service's default rate applies to. */
  static List<Key> unlimitedMerchants(Path keyFile) throws IOException {
    var keys = new ObjectMapper().readValue(keyFile.toFile(), Key[].class);
    var merchants =
        Stream.of(keys)
            .filter(key -> key.role.equals("merchant") && key.rateLimit == null)
            .toList();
    if (merchants.isEmpty()) {
      throw new IOException(keyFile + " has no merchant without a rate limit of its own");
    }
    return merchants;
  }
}
