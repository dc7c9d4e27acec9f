INSERT INTO S.settlement_source SELECT * FROM settlement.settlement_source
 WHERE CONCAT('pay_', LOWER(HEX(payment_id))) IN (IDS);
INSERT INTO S.settlement_batch
  (settlement_id, merchant_id, currency, cycle, period_from, period_to, paid_out_on, status,
   item_count, captured, refunded, supply, vat, reversed_supply, reversed_vat, payout, updated_at)
SELECT UNHEX('01a21ec94ac57622b7f30917b2dc0c48'), 'm-demo', 'KRW', 'DAILY', MAX(sold_on),
       MAX(sold_on), MAX(sold_on), 'CLOSED', 5, 30000, 14000, 630, 63, 294, 29, 15630,
       '2026-11-01 00:00:00'
  FROM S.settlement_source;
INSERT INTO S.settlement_item
SELECT payment_id, seq, 0, UNHEX('01a21ec94ac57622b7f30917b2dc0c48'), kind, amount, 231,
       IF(amount = 4000, 84, 210), IF(amount = 4000, 8, 21), sold_on
  FROM S.settlement_source;
INSERT INTO S.outbox_event
  (event_id, aggregatetype, aggregateid, agg_seq, type, payload, headers, created)
SELECT settlement_id, 'settlement', 'stl_01a21ec94ac57622b7f30917b2dc0c48', 1, 'settlement.closed',
       JSON_OBJECT('id', '01a21ec94ac57622b7f30917b2dc0c48', 'type', 'settlement.closed',
         'subject', 'stl_01a21ec94ac57622b7f30917b2dc0c48', 'time', '2026-11-01T00:00:00.000Z',
         'data', JSON_OBJECT(
         'settlementId', 'stl_01a21ec94ac57622b7f30917b2dc0c48', 'merchantId', merchant_id,
         'currency', currency, 'to', period_to, 'itemCount', 5, 'capturedAmount', 30000,
         'refundedAmount', 14000, 'supplyAmount', 630, 'vat', 63, 'reversedSupplyAmount', 294,
         'reversedVat', 29, 'carriedIn', 0, 'payOutAmount', 15630, 'carriedOut', 0, 'seq', 1)),
       '{}', updated_at
  FROM S.settlement_batch;
INSERT INTO S.outbox_delivery SELECT id, 0, 0, created FROM S.outbox_event;
INSERT INTO ledger_entry
  (subject_id, seq, line, merchant_id, debit_account, credit_account, amount, currency, posted_at)
SELECT b.settlement_id, 1, line, b.merchant_id, debit, credit, amount, 'KRW', b.updated_at
  FROM S.settlement_batch b JOIN (
       SELECT 0 AS line, 'liability:merchant-payable' AS debit, 'income:fee' AS credit, 630 AS amount
       UNION SELECT 1, 'liability:merchant-payable', 'liability:vat-payable', 63
       UNION SELECT 2, 'income:fee', 'liability:merchant-payable', 294
       UNION SELECT 3, 'liability:vat-payable', 'liability:merchant-payable', 29
       UNION SELECT 4, 'liability:merchant-payable', 'liability:payout-in-transit', 15630) entry;
