INSERT INTO R.recon_transaction SELECT * FROM recon.recon_transaction
 WHERE CONCAT('pay_', LOWER(HEX(payment_id))) IN (IDS);
UPDATE R.recon_transaction SET missing_in = IF(kind = 'REFUND' AND amount = 10000, 1, NULL);
INSERT INTO R.recon_file
  (file_no, file_id, sha256, profile, filename, row_count, invalid_rows, loaded_rows, first_day,
   last_day, asked, matched, told, uploaded_by, uploaded_at)
SELECT 1, UNHEX('01a21ec94ac57622b7f30917b2dc0c49'), UNHEX(SHA2('x', 256)), 'generic', 'day.csv', 7,
       1, 7, MIN(sold_on), MAX(sold_on), 1, 1, 2, 'ops', MAX(occurred_at) + INTERVAL 1 SECOND
  FROM R.recon_transaction;
INSERT INTO R.recon_row
  (file_no, line, key_payment, key_seq, kind, done, amount, currency, traded_on, payment_id, seq,
   result)
SELECT 1, 1 + ROW_NUMBER() OVER (ORDER BY kind, payment_id), payment_id, seq, kind, TRUE,
       IF(amount = 4000, 4001, amount), currency, sold_on, payment_id, seq,
       IF(amount = 4000, 'AMOUNT_MISMATCH', 'MATCHED')
  FROM R.recon_transaction WHERE missing_in IS NULL;
INSERT INTO R.recon_row
  (file_no, line, key_payment, key_seq, kind, done, amount, currency, traded_on, fault, result)
SELECT 1, 6, UNHEX(MD5('x')), 2, 'CAPTURE', TRUE, 1000, currency, sold_on, NULL, 'MISSING_INTERNAL'
  FROM R.recon_transaction WHERE amount = 4000
UNION ALL
SELECT 1, 7, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 'no amount', 'ROW_INVALID'
UNION ALL
SELECT 1, 8, key_payment, key_seq, kind, TRUE, amount, currency, traded_on, NULL,
       'DUPLICATE_EXTERNAL'
  FROM R.recon_row WHERE line = 2;
INSERT INTO R.outbox_event
  (event_id, aggregatetype, aggregateid, agg_seq, type, payload, headers, created)
SELECT UNHEX(MD5(seq)), 'file', 'fil_01a21ec94ac57622b7f30917b2dc0c49', seq, type,
       JSON_OBJECT('id', MD5(seq), 'type', type, 'subject', 'fil_01a21ec94ac57622b7f30917b2dc0c49',
         'time', '2026-11-01T00:00:00.000Z', 'data', JSON_OBJECT('seq', seq, 'lines', '5-8')),
       '{}', '2026-11-01 00:00:00'
  FROM (SELECT 1 AS seq, 'recon.file-uploaded' AS type UNION SELECT 2, 'recon.unmatched') event;
INSERT INTO R.outbox_delivery SELECT id, 0, 0, created FROM R.outbox_event;
INSERT INTO D.dlq_decision
  VALUES ('payment.captured.settlement-ingest.dlq', 0, 0, 'PURGED', 'ops', 'no event',
          '2026-11-01 00:00:00');
