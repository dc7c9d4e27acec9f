-- The chart of accounts.
CREATE TABLE ledger_account (
  account VARCHAR(40) NOT NULL,
  kind    VARCHAR(10) NOT NULL,
  meaning VARCHAR(200) NOT NULL,
  PRIMARY KEY (account),
  CONSTRAINT ck_ledger_account_kind CHECK (kind IN ('asset', 'liability', 'income', 'expense', 'memo'))
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

INSERT INTO ledger_account (account, kind, meaning) VALUES
  ('memo:hold', 'memo', 'funds held by open authorizations'),
  ('memo:hold-contra', 'memo', 'the other side of memo:hold'),
  ('asset:network-receivable', 'asset', 'what the card network owes us for captures'),
  ('liability:merchant-payable', 'liability', 'what we owe merchants for captures');

-- Append-only double entry. A journal is every entry of one (subject_id, seq): the payment and the
-- version of the change that posted it. An entry names both its sides, so that no set of rows can
-- be out of balance.
CREATE TABLE ledger_entry (
  subject_id     BINARY(16)       NOT NULL,            -- payment_id
  seq            INT UNSIGNED     NOT NULL,            -- payment.version
  line           TINYINT UNSIGNED NOT NULL,            -- from 0 within the journal
  merchant_id    VARCHAR(64)      CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  debit_account  VARCHAR(40)      NOT NULL,
  credit_account VARCHAR(40)      NOT NULL,
  amount         BIGINT UNSIGNED  NOT NULL,            -- in the currency's minor unit
  currency       CHAR(3)          NOT NULL,
  reverses_seq   INT UNSIGNED     NULL,                -- the entry of the same subject that this one reverses
  reverses_line  TINYINT UNSIGNED NULL,
  posted_at      DATETIME(3)      NOT NULL,
  PRIMARY KEY (subject_id, seq, line),
  CONSTRAINT fk_ledger_entry_debit FOREIGN KEY (debit_account) REFERENCES ledger_account (account),
  CONSTRAINT fk_ledger_entry_credit FOREIGN KEY (credit_account) REFERENCES ledger_account (account),
  CONSTRAINT ck_ledger_entry_sides CHECK (debit_account <> credit_account),
  CONSTRAINT ck_ledger_entry_amount CHECK (amount > 0),
  CONSTRAINT ck_ledger_entry_reverses CHECK ((reverses_seq IS NULL) = (reverses_line IS NULL))
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;
