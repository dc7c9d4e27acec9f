-- Our side: captures and refunds as the payment service's events tell them.
CREATE TABLE recon_transaction (
  payment_id      BINARY(16)      NOT NULL,
  seq             INT UNSIGNED    NOT NULL,            -- of the event; contiguous per payment from its capture on
  event_id        BINARY(16)      NOT NULL,
  merchant_id     VARCHAR(64)     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  kind            ENUM ('CAPTURE', 'REFUND') NOT NULL,
  amount          BIGINT UNSIGNED NOT NULL,            -- in the currency's minor unit
  currency        CHAR(3)         NOT NULL,            -- ISO 4217
  approval_number CHAR(8)         NOT NULL,            -- of the payment
  sold_on         DATE            NOT NULL,            -- in Asia/Seoul
  occurred_at     DATETIME(3)     NOT NULL,
  missing_in      INT UNSIGNED    NULL,                -- the file that should have it and does not
  PRIMARY KEY (payment_id, seq),
  KEY ix_recon_transaction_sold (sold_on),
  KEY ix_recon_transaction_approval (approval_number),
  KEY ix_recon_transaction_missing (missing_in),
  CONSTRAINT ck_recon_transaction_amount CHECK (amount > 0)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

GRANT SELECT, INSERT, UPDATE ON recon_transaction TO recon_fn;
