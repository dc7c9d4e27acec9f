-- Events, insert-only; column names follow Debezium's outbox router so that change data capture can
-- take the relay's place.
CREATE TABLE outbox_event (
  id            BIGINT UNSIGNED NOT NULL AUTO_INCREMENT, -- allocated under the aggregate's lock: per aggregate, id order is commit order
  event_id      BINARY(16)      NOT NULL,
  aggregatetype VARCHAR(32)     NOT NULL,
  aggregateid   VARCHAR(64)     NOT NULL,                -- the Kafka key
  agg_seq       INT UNSIGNED    NOT NULL,                -- contiguous from 1 per aggregate
  type          VARCHAR(64)     NOT NULL,                -- the topic
  payload       TEXT            NOT NULL,                -- CloudEvents 1.0 structured JSON
  headers       TEXT            NOT NULL,                -- JSON: {"traceparent"}
  request       TEXT            NULL,                    -- JSON: the request that caused it; NULL for a schedule
  created       DATETIME(3)     NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY uq_outbox_event_aggregate_seq (aggregateid, agg_seq)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin;

-- Pointers to the events not yet acknowledged by the broker: "pending exists" replaces a cursor, so
-- that an event committed late is never missed. No secondary index: deletes go by primary key.
CREATE TABLE outbox_pending (
  shard SMALLINT UNSIGNED NOT NULL,                      -- crc32(aggregateid) % 64
  id    BIGINT UNSIGNED   NOT NULL,
  PRIMARY KEY (shard, id)
) ENGINE=InnoDB;

-- Who relays a shard. A relay owns a shard while its session holds the shard's GET_LOCK; the epoch
-- rises with every takeover, and pointers are deleted only by the owner named here.
CREATE TABLE outbox_owner (
  shard SMALLINT UNSIGNED NOT NULL,
  owner BINARY(16)        NULL,                          -- a fresh id for every session of a relay
  epoch BIGINT UNSIGNED   NOT NULL,
  beats BIGINT UNSIGNED   NOT NULL DEFAULT 0,            -- batches read while nothing was settled
  PRIMARY KEY (shard)
) ENGINE=InnoDB;
INSERT INTO outbox_owner (shard, epoch) SELECT seq, 0 FROM seq_0_to_63;

-- Where the broker put each event, written when it acknowledges.
CREATE TABLE outbox_delivery (
  id              BIGINT UNSIGNED NOT NULL,
  kafka_partition INT             NOT NULL,
  kafka_offset    BIGINT          NOT NULL,
  delivered_at    DATETIME(3)     NOT NULL,
  PRIMARY KEY (id)
) ENGINE=InnoDB;

GRANT SELECT, INSERT ON outbox_event TO recon_fn;
GRANT SELECT, INSERT, DELETE ON outbox_pending TO recon_fn;
GRANT SELECT, UPDATE ON outbox_owner TO recon_fn;
GRANT SELECT, INSERT ON outbox_delivery TO recon_fn;
