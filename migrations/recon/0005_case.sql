-- Decisions about items, one row each, never changed. An item is a row of a file (`line`), or a
-- transaction that is missing in the file (`payment_id`, `seq`).
CREATE TABLE recon_case (
  case_no      BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, -- allocated under the item's lock: per item, the order of decisions
  case_id      BINARY(16)      NOT NULL,
  file_no      INT UNSIGNED    NOT NULL,
  line         INT UNSIGNED    NULL,
  payment_id   BINARY(16)      NULL,
  seq          INT UNSIGNED    NULL,
  action       ENUM ('reprocess', 'link', 'accept', 'write-off', 'reopen', 'approve', 'reject') NOT NULL,
  reason       VARCHAR(500)    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
  stake        BIGINT          NULL,                    -- theirs less ours, in the currency's minor unit
  currency     CHAR(3)         NULL,                    -- ISO 4217
  account_of   VARCHAR(64)     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, -- whose money it is: a merchant, or the house
  waits        BOOLEAN         NOT NULL,                -- for a second operator
  concerns     BINARY(16)      NULL,                    -- the decision that is approved, rejected or taken back
  key_id       VARCHAR(64)     NOT NULL,                -- who decided: the signing key…
  operator     VARCHAR(64)     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL, -- …and its holder
  state_before TEXT            NOT NULL,                -- JSON: result, status, transactionKey
  state_after  TEXT            NOT NULL,
  decided_at   DATETIME(3)     NOT NULL,
  PRIMARY KEY (case_no),
  UNIQUE KEY uq_recon_case_id (case_id),
  UNIQUE KEY uq_recon_case_concerns (concerns, action), -- approved, rejected and taken back at most once
  KEY ix_recon_case_row (file_no, line),
  KEY ix_recon_case_transaction (payment_id, seq),
  CONSTRAINT fk_recon_case_file FOREIGN KEY (file_no) REFERENCES recon_file (file_no),
  CONSTRAINT ck_recon_case_item CHECK ((line IS NULL) = (payment_id IS NOT NULL) AND (payment_id IS NULL) = (seq IS NULL)),
  CONSTRAINT ck_recon_case_stake CHECK ((stake IS NULL) = (currency IS NULL) AND stake <> 0),
  CONSTRAINT ck_recon_case_state CHECK (JSON_VALID(state_before) AND JSON_VALID(state_after))
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

GRANT SELECT, INSERT ON recon_case TO recon_fn;

-- Of an item that is decided, or proposed to be; NULL when its result says how it stands.
ALTER TABLE recon_row
  ADD COLUMN standing ENUM ('PENDING', 'CLOSED') NULL,
  ADD KEY ix_recon_row_standing (standing);
ALTER TABLE recon_transaction
  ADD COLUMN standing ENUM ('PENDING', 'CLOSED') NULL,
  ADD KEY ix_recon_transaction_standing (standing);
