-- One row per idempotency key of a caller, written once its request is done. `status` and `body` are
-- the reply, repeated byte for byte. Only what is sent again has one, so that nothing is purged.
CREATE TABLE idem_response_cache (
  merchant_id VARCHAR(64)       CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  idem_key    VARCHAR(255)      NOT NULL,
  claim_id    BINARY(16)        NOT NULL,              -- which request claimed the key
  fingerprint BINARY(32)        NOT NULL,              -- SHA-256 over method, path and body
  status      SMALLINT UNSIGNED NOT NULL,
  body        MEDIUMBLOB        NOT NULL,
  created_at  DATETIME(3)       NOT NULL,
  replays     INT UNSIGNED      NOT NULL DEFAULT 0,    -- times the reply was repeated
  PRIMARY KEY (merchant_id, idem_key)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

GRANT SELECT, INSERT, UPDATE ON idem_response_cache TO notify_fn;
