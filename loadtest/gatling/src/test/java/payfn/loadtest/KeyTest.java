package payfn.loadtest;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class KeyTest {
  @TempDir Path directory;

  @Test
  void merchantsWithoutALimitOfTheirOwnAreTaken() throws IOException {
    var file =
        write(
            """
            [{"keyId":"demo","merchantId":"m-demo","role":"merchant","secret":"AQID","more":1},
             {"keyId":"ops","merchantId":"m-ops","role":"operator","secret":"AQID"},
             {"keyId":"slow","merchantId":"m-slow","role":"merchant","secret":"AQID",
              "rateLimit":{"perSecond":5,"burst":5}}]""");

    var keys = Key.unlimitedMerchants(file);

    assertEquals(1, keys.size());
    assertEquals("demo", keys.get(0).keyId());
    assertEquals("m-demo", keys.get(0).merchantId());
    assertArrayEquals(new byte[] {1, 2, 3}, keys.get(0).secret());
  }

  @Test
  void aFileWithoutSuchAMerchantIsRefused() throws IOException {
    var file = write("[]");
    assertThrows(IOException.class, () -> Key.unlimitedMerchants(file));
  }

  private Path write(String json) throws IOException {
    return Files.writeString(directory.resolve("keys.json"), json);
  }
}
