-- What became of a dead letter, insert-only; the letter itself stays on its topic. One without a row
-- here is pending.
CREATE TABLE dlq_decision (
  topic           VARCHAR(249) NOT NULL,                 -- the dead-letter topic
  kafka_partition INT          NOT NULL,
  kafka_offset    BIGINT       NOT NULL,
  status          ENUM ('REPLAYED', 'PURGED') NOT NULL,
  key_id          VARCHAR(64)  NOT NULL,                 -- the signing key of who decided
  reason          VARCHAR(500) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NULL,
  decided_at      DATETIME(3)  NOT NULL,
  PRIMARY KEY (topic, kafka_partition, kafka_offset),
  CONSTRAINT ck_dlq_decision_reason CHECK (status = 'REPLAYED' OR reason IS NOT NULL)
) ENGINE=InnoDB DEFAULT CHARSET=ascii COLLATE=ascii_bin;

GRANT SELECT, INSERT ON dlq_decision TO dlq_fn;
