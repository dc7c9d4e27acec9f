-- InnoDB shows a commit to others before it is on disk. Whoever passes on what it has read, a reply
-- that is repeated or an event that is sent, first commits a change of its own: the log is written in
-- order, so that what it has read is then on disk too. These counters are that change.
ALTER TABLE idem_response_cache
  ADD COLUMN replays INT UNSIGNED NOT NULL DEFAULT 0;    -- times the reply was repeated
ALTER TABLE outbox_owner
  ADD COLUMN beats BIGINT UNSIGNED NOT NULL DEFAULT 0;   -- batches read while nothing was settled
