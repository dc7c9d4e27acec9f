-- What settlements post, and the index that the totals of a day are read by.
INSERT INTO ledger_account (account, kind, meaning) VALUES
  ('income:fee', 'income', 'fees without tax that merchants pay'),
  ('liability:vat-payable', 'liability', 'value-added tax of the fees'),
  ('liability:payout-in-transit', 'liability', 'settled, and on its way to merchants');

ALTER TABLE ledger_entry ADD KEY ix_ledger_entry_posted (posted_at);
