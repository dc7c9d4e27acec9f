use serde::Deserialize;
use utoipa::ToSchema;

/// Body of `POST /webhooks/{webhookId}/resend`: none, or `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResendRequest {}
