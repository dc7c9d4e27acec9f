-- One row per idempotency key of a merchant, written in the transaction of its effect. Inserting it
-- claims the key: a twin request waits here. `status` and `body` are the reply, repeated byte for
-- byte; they are never NULL once committed.
CREATE TABLE idem_response_cache (
  merchant_id VARCHAR(64)       CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  idem_key    VARCHAR(255)      NOT NULL,
  fingerprint BINARY(32)        NOT NULL,              -- SHA-256 over method, path and body
  status      SMALLINT UNSIGNED NULL,
  body        BLOB              NULL,
  created_at  DATETIME(3)       NOT NULL,
  PRIMARY KEY (merchant_id, idem_key),
  KEY ix_idem_response_cache_created (created_at)      -- replies are purged after 15 days
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
