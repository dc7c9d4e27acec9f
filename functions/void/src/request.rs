use serde::Deserialize;
use utoipa::ToSchema;

/// Body of `POST /payments/void/{paymentId}`: none, or `{}`.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VoidRequest {}
