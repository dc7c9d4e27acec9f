-- What the functions may do. Events and ledger entries are append-only for them.
GRANT SELECT, INSERT, UPDATE ON payment TO payment_fn;
GRANT SELECT ON ledger_account TO payment_fn;
GRANT SELECT, INSERT ON ledger_entry TO payment_fn;
GRANT SELECT, INSERT, UPDATE, DELETE ON idem_response_cache TO payment_fn;
GRANT SELECT, INSERT ON outbox_event TO payment_fn;
GRANT SELECT, INSERT, DELETE ON outbox_pending TO payment_fn;
GRANT SELECT, UPDATE ON outbox_owner TO payment_fn;
GRANT SELECT, INSERT ON outbox_delivery TO payment_fn;
