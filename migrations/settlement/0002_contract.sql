-- What was agreed with a merchant, insert-only. In force on a day is the contract that took effect
-- last; of two from the same day, the later revision. The contract of '*' is for merchants that have
-- none of their own.
CREATE TABLE merchant_contract (
  merchant_id    VARCHAR(64)       NOT NULL,
  revision       SMALLINT UNSIGNED NOT NULL,           -- from 1 per merchant, in the order of recording
  effective_from DATE              NOT NULL,           -- of captures sold on or after
  fee_bp         SMALLINT UNSIGNED NOT NULL,           -- of the captured amount, value-added tax included, in 1/10,000
  cycle          ENUM ('DAILY', 'WEEKLY', 'MONTHLY') NOT NULL,
  payout_days    TINYINT UNSIGNED  NOT NULL,           -- business days from the period's last day to the payout
  recorded_at    DATETIME(3)       NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  PRIMARY KEY (merchant_id, revision),
  CONSTRAINT ck_merchant_contract_revision CHECK (revision > 0),
  CONSTRAINT ck_merchant_contract_fee CHECK (fee_bp <= 10000)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

INSERT INTO merchant_contract (merchant_id, revision, effective_from, fee_bp, cycle, payout_days)
VALUES ('*', 1, '2022-01-01', 231, 'DAILY', 4);

GRANT SELECT ON merchant_contract TO settlement_fn;
