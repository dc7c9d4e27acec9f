-- What decisions about reconciliation post.
INSERT INTO ledger_account (account, kind, meaning) VALUES
  ('liability:recon-suspense', 'liability', 'differences to what the acquirer says, until they are explained'),
  ('expense:recon-write-off', 'expense', 'differences to what the acquirer says that we bear');
