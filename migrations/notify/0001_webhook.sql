-- Every event is one webhook, by its id; nothing is deleted. One of a merchant that names no endpoint
-- is here, too: the order of a payment's events is kept by their rows, and the merchant may have it
-- sent later.
CREATE TABLE webhook_delivery (
  webhook_id  BINARY(16)        NOT NULL,              -- the event's
  merchant_id VARCHAR(64)       NOT NULL,
  event_type  VARCHAR(64)       NOT NULL,
  subject     VARCHAR(64)       NOT NULL,              -- pay_… or stl_…
  seq         INT UNSIGNED      NOT NULL,              -- of the event; contiguous from 1 per subject
  payload     BLOB              NOT NULL,              -- the event as it is on the topic, byte for byte
  status      ENUM ('PENDING', 'DELIVERED', 'FAILED', 'NO_ENDPOINT') NOT NULL,
  attempts    INT UNSIGNED      NOT NULL DEFAULT 0,
  tries       INT UNSIGNED      NOT NULL DEFAULT 0,    -- attempts since it was last begun anew: its place in the schedule
  due_at      DATETIME(3)       NULL,                  -- while it is sent: when it is taken up again if no outcome is noted
  created_at  DATETIME(3)       NOT NULL,
  PRIMARY KEY (webhook_id),
  KEY ix_webhook_delivery_due (status, merchant_id, due_at),
  KEY ix_webhook_delivery_subject (subject, seq),
  KEY ix_webhook_delivery_merchant (merchant_id, webhook_id),
  CONSTRAINT ck_webhook_delivery_seq CHECK (seq > 0),
  CONSTRAINT ck_webhook_delivery_due CHECK ((status = 'PENDING') = (due_at IS NOT NULL))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Insert-only.
CREATE TABLE webhook_attempt (
  webhook_id  BINARY(16)        NOT NULL,
  number      INT UNSIGNED      NOT NULL,              -- from 1
  started_at  DATETIME(3)       NOT NULL,
  duration_ms INT UNSIGNED      NOT NULL,
  status      SMALLINT UNSIGNED NULL,                  -- of the answer
  error       ENUM ('TIMED_OUT', 'ADDRESS_REFUSED', 'UNREACHABLE') NULL, -- why there was none
  PRIMARY KEY (webhook_id, number),
  CONSTRAINT fk_webhook_attempt FOREIGN KEY (webhook_id) REFERENCES webhook_delivery (webhook_id),
  CONSTRAINT ck_webhook_attempt_outcome CHECK ((status IS NULL) <> (error IS NULL))
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- The endpoint that answered 410; until its merchant names another URL nothing is sent there. The URL
-- itself may hold a secret.
CREATE TABLE webhook_gone (
  merchant_id VARCHAR(64)       NOT NULL,
  url_sha256  BINARY(32)        NOT NULL,
  gone_at     DATETIME(3)       NOT NULL,
  PRIMARY KEY (merchant_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

GRANT SELECT, INSERT, UPDATE ON webhook_delivery TO notify_fn;
GRANT SELECT, INSERT ON webhook_attempt TO notify_fn;
GRANT SELECT, INSERT, UPDATE, DELETE ON webhook_gone TO notify_fn;
