//! What is done to the books: `S.`, `R.` and `D.` stand for the databases beside.

/// What is done to a table, and the check that must find it.
pub(crate) const TAMPERINGS: [(&str, &str); 107] = [
    (
        "payments",
        "UPDATE payment SET status = 'REFUNDED' WHERE status = 'COMPLETED'",
    ),
    (
        "payments",
        "UPDATE payment SET refunded_amount = refunded_amount - 1 WHERE refunded_amount > 0",
    ),
    (
        "payments",
        "UPDATE payment SET version = version + 1 LIMIT 1",
    ),
    (
        "payments",
        "UPDATE payment SET order_id = 'another' LIMIT 1",
    ),
    ("payments", "DELETE FROM payment LIMIT 1"),
    (
        "payments",
        "INSERT INTO payment SELECT UNHEX(MD5('x')), merchant_id, 'added', status, amount, currency, captured_amount, refunded_amount, captured_seq, description, customer, metadata, version, created_at, updated_at, expires_at FROM payment LIMIT 1",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET amount = amount + 1 LIMIT 1",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET credit_account = 'memo:hold' WHERE debit_account = 'asset:network-receivable' LIMIT 1",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET reverses_seq = 7 WHERE reverses_seq IS NOT NULL LIMIT 1",
    ),
    ("ledger", "UPDATE ledger_entry SET currency = 'USD' LIMIT 1"),
    ("ledger", "DELETE FROM ledger_entry LIMIT 1"),
    (
        "ledger",
        "INSERT INTO ledger_entry SELECT subject_id, seq, 9, merchant_id, debit_account, credit_account, amount, currency, NULL, NULL, posted_at FROM ledger_entry LIMIT 1",
    ),
    (
        "ledger",
        "DELETE FROM ledger_entry WHERE credit_account = 'liability:payout-in-transit'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET amount = amount + 1 WHERE credit_account = 'liability:vat-payable'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET credit_account = 'expense:recon-write-off' WHERE credit_account = 'liability:recon-suspense'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET reverses_seq = NULL, reverses_line = NULL WHERE credit_account = 'expense:recon-write-off'",
    ),
    (
        "ledger",
        "DELETE FROM ledger_entry WHERE credit_account = 'expense:recon-write-off'",
    ),
    (
        "ledger",
        "UPDATE ledger_entry SET merchant_id = 'm-demo' WHERE merchant_id = 'house'",
    ),
    (
        "ledger",
        "UPDATE R.recon_case SET stake = stake + 1 WHERE action = 'accept'",
    ),
    (
        "ledger",
        "DELETE FROM R.recon_case WHERE action = 'approve'",
    ),
    (
        "ledger",
        "UPDATE R.recon_case SET operator = 'a' WHERE action = 'approve'",
    ),
    ("ledger", "DELETE FROM R.recon_case WHERE action = 'reopen'"),
    (
        "ledger",
        "INSERT INTO R.recon_case SELECT 9, UNHEX(MD5('x')), file_no, line, payment_id, seq, action, reason, stake, currency, account_of, FALSE, NULL, key_id, operator, state_before, state_after, decided_at FROM R.recon_case WHERE case_no = 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_source SET amount = amount + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_source SET sold_on = sold_on - INTERVAL 1 DAY LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_source SET merchant_id = 'm-other' LIMIT 1",
    ),
    ("settlement", "DELETE FROM S.settlement_source LIMIT 1"),
    (
        "settlement",
        "INSERT INTO S.settlement_source SELECT payment_id, seq + 7, event_id, merchant_id, kind, amount, currency, captured_amount, refunded_amount, sold_on, occurred_at FROM S.settlement_source LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_item SET supply = supply + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_item SET fee_bp = fee_bp + 10 LIMIT 1",
    ),
    ("settlement", "DELETE FROM S.settlement_item LIMIT 1"),
    (
        "settlement",
        "UPDATE S.settlement_batch SET item_count = item_count + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_batch SET payout = payout + 1, captured = captured + 1 LIMIT 1",
    ),
    (
        "settlement",
        "UPDATE S.settlement_batch SET carried_in = 10, payout = payout - 10 LIMIT 1",
    ),
    ("settlement", "DELETE FROM S.settlement_batch LIMIT 1"),
    ("settlement", "DELETE FROM S.outbox_event LIMIT 1"),
    (
        "settlement",
        "UPDATE S.outbox_event SET payload = REPLACE(payload, '15630', '15631') LIMIT 1",
    ),
    (
        "events",
        "UPDATE outbox_event SET payload = REPLACE(payload, '\"amount\":10000', '\"amount\":10001') WHERE agg_seq = 1 LIMIT 1",
    ),
    (
        "events",
        "UPDATE outbox_event SET agg_seq = 7 WHERE agg_seq = 2 LIMIT 1",
    ),
    (
        "events",
        "UPDATE outbox_event SET type = 'payment.voided' WHERE agg_seq = 2 LIMIT 1",
    ),
    (
        "events",
        "DELETE FROM outbox_event WHERE agg_seq = 1 LIMIT 1",
    ),
    (
        "events",
        "INSERT INTO outbox_event SELECT id + 1000000, event_id, aggregatetype, aggregateid, agg_seq + 1, type, payload, headers, request, created FROM outbox_event WHERE agg_seq = 3 LIMIT 1",
    ),
    (
        "outbox",
        "INSERT INTO outbox_pending SELECT 1, id FROM outbox_delivery LIMIT 1",
    ),
    ("outbox", "INSERT INTO outbox_pending VALUES (1, 999999999)"),
    ("outbox", "DELETE FROM outbox_delivery LIMIT 1"),
    (
        "outbox",
        "INSERT INTO outbox_delivery SELECT 999999999, kafka_partition, kafka_offset, delivered_at FROM outbox_delivery LIMIT 1",
    ),
    (
        "topics",
        "UPDATE outbox_delivery SET kafka_offset = kafka_offset + 1 LIMIT 1",
    ),
    (
        "replies",
        "UPDATE idem_response_cache SET body = REPLACE(body, '10000', '10001') WHERE status = 200 LIMIT 1",
    ),
    (
        "replies",
        "UPDATE idem_response_cache SET body = NULL LIMIT 1",
    ),
    (
        "replies",
        "DELETE FROM idem_response_cache WHERE status = 200 LIMIT 1",
    ),
    (
        "replies",
        "INSERT INTO idem_response_cache SELECT merchant_id, 'added', fingerprint, status, body, created_at, 0, NULL FROM idem_response_cache WHERE status = 200 LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET amount = amount + 1 WHERE amount = 4000",
    ),
    (
        "totals",
        "UPDATE R.recon_transaction SET amount = amount + 1 WHERE amount = 4000",
    ),
    (
        "totals",
        "UPDATE S.settlement_source SET amount = amount + 1 LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET merchant_id = 'm-other' LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET kind = 'REFUND' WHERE kind = 'CAPTURE' LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET currency = 'USD' LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET approval_number = '00000000' LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET sold_on = sold_on - INTERVAL 1 DAY LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET occurred_at = occurred_at - INTERVAL 1 SECOND LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET missing_in = NULL WHERE missing_in IS NOT NULL",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET missing_in = 1 WHERE amount = 4000",
    ),
    (
        "recon",
        "UPDATE R.recon_transaction SET missing_in = 2 WHERE missing_in IS NOT NULL",
    ),
    ("recon", "DELETE FROM R.recon_transaction LIMIT 1"),
    (
        "recon",
        "INSERT INTO R.recon_transaction SELECT payment_id, seq + 7, event_id, merchant_id, kind, amount, currency, approval_number, sold_on, occurred_at, NULL, NULL FROM R.recon_transaction LIMIT 1",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'DATE_MISMATCH' WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'MATCHED' WHERE result = 'AMOUNT_MISMATCH'",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'DUPLICATE_EXTERNAL' WHERE result = 'MISSING_INTERNAL'",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'MISSING_INTERNAL' WHERE result = 'DUPLICATE_EXTERNAL'",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'AMBIGUOUS' WHERE result = 'DUPLICATE_EXTERNAL'",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'SUPERSEDED' WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = NULL WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET result = 'MISSING_INTERNAL' WHERE result = 'ROW_INVALID'",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET fault = NULL, kind = 'CAPTURE' WHERE result = 'ROW_INVALID'",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET amount = amount + 1 WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET currency = 'USD' WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET kind = 'REFUND' WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET done = FALSE WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET traded_on = traded_on - INTERVAL 2 DAY WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET payment_id = NULL, seq = NULL WHERE line = 2",
    ),
    (
        "recon",
        "UPDATE R.recon_row SET seq = seq + 7 WHERE line = 2",
    ),
    ("recon", "DELETE FROM R.recon_row WHERE line = 2"),
    (
        "recon",
        "UPDATE R.recon_file SET loaded_rows = loaded_rows - 1",
    ),
    ("recon", "UPDATE R.recon_file SET invalid_rows = 0"),
    ("recon", "UPDATE R.recon_file SET row_count = row_count + 1"),
    ("recon", "UPDATE R.recon_file SET told = told + 1"),
    ("recon", "UPDATE R.recon_file SET matched = matched + 1"),
    (
        "recon",
        "UPDATE R.recon_file SET first_day = first_day - INTERVAL 9 DAY, last_day = last_day - INTERVAL 9 DAY",
    ),
    ("recon", "UPDATE R.recon_file SET superseded_by = 7"),
    (
        "recon",
        "UPDATE R.recon_file SET uploaded_at = '2020-01-01'",
    ),
    ("recon", "UPDATE R.recon_file SET profile = 'none'"),
    (
        "told-recon",
        "UPDATE R.outbox_event SET payload = REPLACE(payload, '2026-11-01T', '2026-11-02T') LIMIT 1",
    ),
    (
        "told-recon",
        "UPDATE R.outbox_event SET payload = REPLACE(payload, '7', '8') WHERE agg_seq = 2",
    ),
    (
        "told-recon",
        "UPDATE R.outbox_event SET agg_seq = 3 WHERE agg_seq = 2",
    ),
    (
        "told-recon",
        "UPDATE R.outbox_event SET type = 'recon.unmatched' WHERE agg_seq = 1",
    ),
    (
        "told-recon",
        "UPDATE R.outbox_event SET event_id = UNHEX(MD5('x')) WHERE agg_seq = 1",
    ),
    ("told-recon", "DELETE FROM R.outbox_event WHERE agg_seq = 1"),
    ("told-recon", "DELETE FROM R.outbox_delivery LIMIT 1"),
    (
        "told-recon",
        "UPDATE R.outbox_delivery SET kafka_offset = 7 LIMIT 1",
    ),
    (
        "told-recon",
        "INSERT INTO R.outbox_pending SELECT CRC32(aggregateid) % 64, id FROM R.outbox_event LIMIT 1",
    ),
    (
        "told-recon",
        "INSERT INTO R.outbox_pending VALUES (1, 999999999)",
    ),
    (
        "told-settlement",
        "UPDATE S.outbox_event SET payload = REPLACE(payload, '15630', '15631') LIMIT 1",
    ),
    (
        "told-settlement",
        "UPDATE S.outbox_event SET aggregateid = 'stl_x' LIMIT 1",
    ),
    ("told-settlement", "DELETE FROM S.outbox_delivery LIMIT 1"),
    (
        "told-settlement",
        "UPDATE S.outbox_delivery SET kafka_partition = 3 LIMIT 1",
    ),
    ("dead-letters", "DELETE FROM D.dlq_decision"),
    (
        "dead-letters",
        "UPDATE D.dlq_decision SET kafka_offset = kafka_offset + 1",
    ),
];
