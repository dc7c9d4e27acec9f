-- Files of acquirers. One file is one content: its SHA-256 names it.
CREATE TABLE recon_file (
  file_no      INT UNSIGNED NOT NULL AUTO_INCREMENT,
  file_id      BINARY(16)   NOT NULL,
  sha256       BINARY(32)   NOT NULL,
  profile      VARCHAR(32)  CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  filename     VARCHAR(255) NOT NULL,
  row_count    INT UNSIGNED NOT NULL,                  -- with those that cannot be read
  invalid_rows INT UNSIGNED NOT NULL DEFAULT 0,
  loaded_rows  INT UNSIGNED NOT NULL DEFAULT 0,        -- so far; a load that was cut off goes on here
  first_day    DATE         NULL,                      -- the days it speaks for, known once it is loaded
  last_day     DATE         NULL,
  asked        INT UNSIGNED NOT NULL DEFAULT 0,        -- raised by whatever makes it worth to match it again
  matched      INT UNSIGNED NOT NULL DEFAULT 0,        -- `asked` when the last match that is finished began
  told         INT UNSIGNED NOT NULL DEFAULT 0,        -- events so far
  superseded_by INT UNSIGNED NULL,                    -- the later file that speaks for the same days
  uploaded_by  VARCHAR(64)  NOT NULL,                  -- key id
  uploaded_at  DATETIME(3)  NOT NULL,
  matched_at   DATETIME(3)  NULL,
  PRIMARY KEY (file_no),
  UNIQUE KEY uq_recon_file_id (file_id),
  UNIQUE KEY uq_recon_file_sha256 (sha256),
  KEY ix_recon_file_days (first_day, last_day),
  CONSTRAINT ck_recon_file_days CHECK (first_day <= last_day)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Their side: the rows of files, each with what came of it. A row that is one of our transactions has
-- its key; a transaction is at most one row.
CREATE TABLE recon_row (
  file_no         INT UNSIGNED    NOT NULL,
  line            INT UNSIGNED    NOT NULL,            -- of the file, from 1, the header being the first
  key_payment     BINARY(16)      NULL,                -- of the transaction key, when it is one of ours
  key_seq         INT UNSIGNED    NULL,
  named_payment   BINARY(16)      NULL,                -- of the payment key, when it is one of ours
  reference       VARCHAR(64)     CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, -- a transaction key that is none of ours
  approval_number VARCHAR(16)     NULL,
  kind            ENUM ('CAPTURE', 'REFUND') NULL,
  done            BOOLEAN         NULL,                -- false when it did not take place for them
  amount          BIGINT UNSIGNED NULL,
  currency        CHAR(3)         NULL,
  traded_on       DATE            NULL,
  fault           VARCHAR(255)    CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL, -- why it cannot be read
  payment_id      BINARY(16)      NULL,
  seq             INT UNSIGNED    NULL,
  result          ENUM ('MATCHED', 'MATCHED_TOLERANCE', 'MISSING_INTERNAL', 'AMOUNT_MISMATCH',
                        'DUPLICATE_EXTERNAL', 'STATUS_MISMATCH', 'DATE_MISMATCH',
                        'CURRENCY_MISMATCH', 'AMBIGUOUS', 'ROW_INVALID', 'SUPERSEDED') NULL,
  PRIMARY KEY (file_no, line),
  UNIQUE KEY uq_recon_row_transaction (payment_id, seq),
  KEY ix_recon_row_result (file_no, result),
  CONSTRAINT fk_recon_row_file FOREIGN KEY (file_no) REFERENCES recon_file (file_no)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

GRANT SELECT, INSERT, UPDATE ON recon_file TO recon_fn;
GRANT SELECT, INSERT, UPDATE ON recon_row TO recon_fn;
