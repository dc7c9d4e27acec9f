INSERT INTO R.recon_case
  (case_no, case_id, file_no, line, action, reason, stake, currency, account_of, waits, concerns,
   key_id, operator, state_before, state_after, decided_at)
VALUES
  (1, UNHEX('000000000000000000000000000000c1'), 1, 2, 'accept', 'r', 700, 'KRW', 'house', TRUE, NULL, 'a', 'a', '{}', '{}', '2026-11-01'),
  (2, UNHEX('000000000000000000000000000000c2'), 1, 2, 'approve', 'r', 700, 'KRW', 'house', FALSE, UNHEX('000000000000000000000000000000c1'), 'b', 'b', '{}', '{}', '2026-11-01'),
  (3, UNHEX('000000000000000000000000000000c3'), 1, 3, 'write-off', 'r', -300, 'KRW', 'm-demo', FALSE, NULL, 'a', 'a', '{}', '{}', '2026-11-01'),
  (4, UNHEX('000000000000000000000000000000c4'), 1, 3, 'reopen', 'r', -300, 'KRW', 'm-demo', FALSE, UNHEX('000000000000000000000000000000c3'), 'a', 'a', '{}', '{}', '2026-11-01'),
  (5, UNHEX('000000000000000000000000000000c5'), 1, 4, 'accept', 'r', 900, 'KRW', 'house', TRUE, NULL, 'a', 'a', '{}', '{}', '2026-11-01');
INSERT INTO ledger_entry
  (subject_id, seq, line, merchant_id, debit_account, credit_account, amount, currency,
   reverses_seq, reverses_line, posted_at)
VALUES
  (UNHEX('000000000000000000000000000000c1'), 1, 0, 'house', 'asset:network-receivable', 'liability:recon-suspense', 700, 'KRW', NULL, NULL, '2026-11-01'),
  (UNHEX('000000000000000000000000000000c3'), 1, 0, 'm-demo', 'expense:recon-write-off', 'asset:network-receivable', 300, 'KRW', NULL, NULL, '2026-11-01'),
  (UNHEX('000000000000000000000000000000c3'), 2, 0, 'm-demo', 'asset:network-receivable', 'expense:recon-write-off', 300, 'KRW', 1, 0, '2026-11-01');
