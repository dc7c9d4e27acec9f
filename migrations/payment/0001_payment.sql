-- One row per payment. The row is locked first by every change, and `version` numbers the changes:
-- it is the `seq` of the event and of the journal that the same change writes.
CREATE TABLE payment (
  payment_id      BINARY(16)      NOT NULL,            -- UUIDv7: inserts stay at the right edge of the tree
  merchant_id     VARCHAR(64)     NOT NULL,
  order_id        VARCHAR(64)     NOT NULL,            -- the merchant's own reference
  status          VARCHAR(20)     NOT NULL,
  amount          BIGINT UNSIGNED NOT NULL,            -- authorized, in the currency's minor unit
  currency        CHAR(3)         NOT NULL,            -- ISO 4217
  captured_amount BIGINT UNSIGNED NOT NULL DEFAULT 0,
  refunded_amount BIGINT UNSIGNED NOT NULL DEFAULT 0,
  captured_seq    INT UNSIGNED    NULL,                -- the journal that a refund reverses
  description     VARCHAR(255)    NULL,
  customer        TEXT            NULL,                -- JSON; personal data, copied nowhere else
  metadata        TEXT            NULL,                -- JSON, the merchant's own
  version         INT UNSIGNED    NOT NULL,
  created_at      DATETIME(3)     NOT NULL,
  updated_at      DATETIME(3)     NOT NULL,
  expires_at      DATETIME(3)     NOT NULL,            -- an authorization not captured by then lapses
  PRIMARY KEY (payment_id),
  UNIQUE KEY uq_payment_merchant_order (merchant_id, order_id),
  KEY ix_payment_merchant (merchant_id, payment_id),
  KEY ix_payment_expiry (status, expires_at),
  CONSTRAINT ck_payment_status CHECK (status IN
    ('REQUESTED', 'COMPLETED', 'PARTIALLY_REFUNDED', 'REFUNDED', 'VOIDED', 'EXPIRED')),
  CONSTRAINT ck_payment_amount CHECK (amount > 0),
  CONSTRAINT ck_payment_captured CHECK (captured_amount <= amount),
  CONSTRAINT ck_payment_refunded CHECK (refunded_amount <= captured_amount)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;
