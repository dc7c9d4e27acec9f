-- A contract for days that are settled already has their lines settled again: an odd revision takes a
-- line back at its old rate, the even one after it settles the line at the new rate. Neither moves the
-- amount again. A batch knows which contracts there were, so that later ones are seen.
ALTER TABLE settlement_batch
  ADD COLUMN own_revision      SMALLINT UNSIGNED NOT NULL DEFAULT 0, -- newest contract of the merchant
  ADD COLUMN standard_revision SMALLINT UNSIGNED NOT NULL DEFAULT 0; -- newest contract of '*'
