-- No change makes a payment's row longer. A longer row can need a new page, also when a change is taken
-- back; with the disk full there is none, and InnoDB then loses the row or stops the server. A change
-- in place needs no page.
UPDATE payment SET captured_seq = 0 WHERE captured_seq IS NULL;
ALTER TABLE payment
  DROP CONSTRAINT ck_payment_status,
  MODIFY status ENUM ('REQUESTED', 'COMPLETED', 'PARTIALLY_REFUNDED', 'REFUNDED', 'VOIDED', 'EXPIRED')
    NOT NULL,
  MODIFY captured_seq INT UNSIGNED NOT NULL DEFAULT 0;   -- 0: not captured
