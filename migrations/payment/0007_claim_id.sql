-- Which request claimed the key. A transaction whose COMMIT was not answered is run again and finds
-- the key taken: by itself, when the id is its own, else by an earlier request whose reply it repeats.
ALTER TABLE idem_response_cache
  ADD COLUMN claim_id BINARY(16) NULL;                   -- NULL: claimed before the column was there
