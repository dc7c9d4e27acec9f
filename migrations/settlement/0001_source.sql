-- Captures and refunds as the payment service's events tell them, insert-only: what settlements are
-- made of.
CREATE TABLE settlement_source (
  payment_id      BINARY(16)      NOT NULL,
  seq             INT UNSIGNED    NOT NULL,            -- of the event; contiguous per payment from its capture on
  event_id        BINARY(16)      NOT NULL,
  merchant_id     VARCHAR(64)     NOT NULL,
  kind            ENUM ('CAPTURE', 'REFUND') NOT NULL,
  amount          BIGINT UNSIGNED NOT NULL,            -- of this capture or refund alone, in the currency's minor unit
  currency        CHAR(3)         NOT NULL,            -- ISO 4217
  captured_amount BIGINT UNSIGNED NOT NULL,            -- of the payment, after this event
  refunded_amount BIGINT UNSIGNED NOT NULL,
  sold_on         DATE            NOT NULL,            -- in Asia/Seoul
  occurred_at     DATETIME(3)     NOT NULL,
  PRIMARY KEY (payment_id, seq),
  KEY ix_settlement_source_sold (merchant_id, sold_on),
  CONSTRAINT ck_settlement_source_amount CHECK (amount > 0),
  CONSTRAINT ck_settlement_source_refunded CHECK (refunded_amount <= captured_amount)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

GRANT SELECT, INSERT ON settlement_source TO settlement_fn;
