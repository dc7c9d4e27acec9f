-- Webhooks that are over are deleted after 90 days.
ALTER TABLE webhook_delivery ADD KEY ix_webhook_delivery_created (created_at);

GRANT DELETE ON webhook_delivery TO notify_fn;
GRANT DELETE ON webhook_attempt TO notify_fn;
