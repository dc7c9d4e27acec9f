-- A batch is read from its merchant's sources, currency by currency and day by day.
ALTER TABLE settlement_source
  DROP KEY ix_settlement_source_sold,
  ADD KEY ix_settlement_source_sold (merchant_id, currency, sold_on);

-- One merchant's settlement of one period. It is OPEN while its items are gathered, each chunk of them
-- with the sums that it adds, and CLOSED with the event that tells it.
CREATE TABLE settlement_batch (
  settlement_id   BINARY(16)       NOT NULL,
  merchant_id     VARCHAR(64)      NOT NULL,
  currency        CHAR(3)          NOT NULL,
  cycle           ENUM ('DAILY', 'WEEKLY', 'MONTHLY') NOT NULL,
  period_from     DATE             NOT NULL,
  period_to       DATE             NOT NULL,           -- the day that its items count as sold on
  paid_out_on     DATE             NOT NULL,
  status          ENUM ('OPEN', 'CLOSED') NOT NULL,
  item_count      INT UNSIGNED     NOT NULL DEFAULT 0,
  captured        BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- in the currency's minor unit, as all that follow
  refunded        BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  supply          BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- fees without tax
  vat             BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- tax of those
  reversed_supply BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- fees given back, without tax
  reversed_vat    BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- tax of those
  carried_in      BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- owed by the merchant from the batch before
  payout          BIGINT UNSIGNED  NOT NULL DEFAULT 0,
  carried_out     BIGINT UNSIGNED  NOT NULL DEFAULT 0, -- owed by the merchant, for the next batch
  updated_at      DATETIME(3)      NOT NULL,           -- of a CLOSED one: when it was closed
  PRIMARY KEY (settlement_id),
  UNIQUE KEY uq_settlement_batch_period (merchant_id, currency, period_to),
  KEY ix_settlement_batch_period (period_to),
  CONSTRAINT ck_settlement_batch_period CHECK (period_from <= period_to),
  CONSTRAINT ck_settlement_batch_balance CHECK (status = 'OPEN' OR
    captured + reversed_supply + reversed_vat + carried_out = refunded + supply + vat + carried_in + payout),
  CONSTRAINT ck_settlement_batch_closing CHECK (payout = 0 OR carried_out = 0)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Its lines, insert-only. Revision 0 is the capture or refund of that number itself, which so is
-- settled once.
CREATE TABLE settlement_item (
  payment_id    BINARY(16)        NOT NULL,
  seq           INT UNSIGNED      NOT NULL,
  revision      SMALLINT UNSIGNED NOT NULL,
  settlement_id BINARY(16)        NOT NULL,
  kind          ENUM ('CAPTURE', 'REFUND') NOT NULL,
  amount        BIGINT UNSIGNED   NOT NULL,
  fee_bp        SMALLINT UNSIGNED NOT NULL,            -- the rate in force on the day of the capture
  supply        BIGINT UNSIGNED   NOT NULL,            -- kept of a capture, given back with a refund
  vat           BIGINT UNSIGNED   NOT NULL,
  sold_on       DATE              NOT NULL,
  PRIMARY KEY (payment_id, seq, revision),
  KEY ix_settlement_item_batch (settlement_id, payment_id, seq, revision),
  CONSTRAINT fk_settlement_item_batch FOREIGN KEY (settlement_id) REFERENCES settlement_batch (settlement_id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Until when the sources were found equal to the totals of the payment service.
CREATE TABLE settlement_control (
  one            TINYINT UNSIGNED NOT NULL DEFAULT 1,
  proven_through DATE             NOT NULL,            -- every day until then is over and equal
  PRIMARY KEY (one),
  CONSTRAINT ck_settlement_control_one CHECK (one = 1)
) ENGINE=InnoDB;
INSERT INTO settlement_control (proven_through) VALUES ('2021-12-31');

GRANT SELECT, INSERT, UPDATE ON settlement_batch TO settlement_fn;
GRANT SELECT, INSERT ON settlement_item TO settlement_fn;
GRANT SELECT, UPDATE ON settlement_control TO settlement_fn;
