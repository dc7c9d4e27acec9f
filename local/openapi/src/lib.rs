//! The OpenAPI 3.1 description of every route, generated from the functions' own types.

use std::collections::BTreeMap;

use problem::{Code, MEDIA_TYPE, ProblemBody};
use utoipa::{
    OpenApi,
    openapi::{
        Content, HeaderBuilder, HttpMethod, ObjectBuilder, Ref, RefOr, Required, Response,
        ResponseBuilder, Schema,
        path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn, PathItem},
        schema::{AdditionalProperties, Type},
        security::{ApiKey, ApiKeyValue, SecurityRequirement, SecurityScheme},
    },
};

/// Problems that every route can answer with.
const EVERY_ROUTE: &[Code] = &[
    Code::InvalidRequest,
    Code::SignatureMissing,
    Code::SignatureInvalid,
    Code::SignatureExpired,
    Code::KeyUnknown,
    Code::DigestMismatch,
    Code::RoleForbidden,
    Code::BodyTooLarge,
    Code::RateLimited,
    Code::Overloaded,
    Code::Unavailable,
];
/// Problems of the routes that change something.
const EVERY_CHANGE: &[Code] = &[
    Code::InvalidJson,
    Code::IdempotencyKeyMissing,
    Code::IdempotencyKeyInFlight,
    Code::IdempotencyKeyReused,
    Code::MediaType,
];

#[derive(OpenApi)]
#[openapi(
    info(
        title = "payfn",
        description = "A mock payment backend. Every request is signed (RFC 9421, hmac-sha256).",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "payments", description = "Authorize, capture, void, refund, look"),
        (name = "settlements", description = "Close periods, look"),
        (name = "reconciliation", description = "Upload an acquirer's file, look at both sides, decide"),
        (name = "dead letters", description = "Look, replay, give up"),
        (name = "webhooks", description = "What merchants were told: look, send again"),
    ),
    paths(
        authorize::authorize,
        capture::capture,
        refund::refund,
        void::void,
        payment_query::list,
        payment_query::get,
        payment_query::timeline,
        settle::settle,
        settlement_query::list,
        settlement_query::get,
        settlement_query::items,
        recon_upload::upload,
        recon_query::file,
        recon_query::items,
        recon_query::item,
        recon_resolve::resolve,
        dlq_replay::list,
        dlq_replay::replay,
        dlq_replay::purge,
        webhook_query::list,
        webhook_query::get,
        webhook_resend::resend,
    ),
    components(schemas(ProblemBody)),
)]
struct Functions;

/// The whole description.
#[must_use]
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut openapi = Functions::openapi();
    env!("CARGO_PKG_VERSION").clone_into(&mut openapi.info.version);
    add_signature(&mut openapi);
    for (path, PathItem { get, post, .. }) in &mut openapi.paths.paths {
        for operation in get.iter_mut().chain(post.iter_mut()) {
            // utoipa takes the sections of a docstring for the description.
            operation.description = None;
        }
        for operation in get.iter_mut() {
            let problems = EVERY_ROUTE.iter().chain(own_problems(path, false));
            add_problems(operation, problems);
            add_retry_after(operation);
        }
        for operation in post.iter_mut() {
            refuse_null(operation);
            add_idempotency_key(operation);
            let problems = EVERY_ROUTE
                .iter()
                .chain(EVERY_CHANGE)
                .chain(own_problems(path, true));
            add_problems(operation, problems);
            add_retry_after(operation);
            add_idempotent_replayed(operation);
        }
    }
    add_unsigned(&mut openapi);
    openapi
}

/// What anybody may read without a signature.
fn add_unsigned(openapi: &mut utoipa::openapi::OpenApi) {
    let object = || ObjectBuilder::new().schema_type(Type::Object);
    let health = object().property("status", utoipa::schema!(String));
    let anything = object().additional_properties(Some(AdditionalProperties::FreeForm(true)));
    for (path, description, schema) in [
        ("/healthz", "The runtime takes requests", health),
        ("/openapi.json", "This description", anything),
    ] {
        let response = ResponseBuilder::new()
            .description(description)
            .content("application/json", Content::new(Some(schema)));
        let operation = OperationBuilder::new()
            .summary(Some(description))
            .response("200", response.build())
            .securities(Some([SecurityRequirement::default()]))
            .build();
        let item = PathItem::new(HttpMethod::Get, operation);
        openapi.paths.paths.insert(path.to_owned(), item);
    }
}

/// A body that may be left out is an `Option`, which utoipa takes for one that may be `null`.
fn refuse_null(operation: &mut Operation) {
    let Some(RefOr::T(body)) = &mut operation.request_body else {
        return;
    };
    for content in body.content.values_mut() {
        if let RefOr::T(content) = content
            && let Some(RefOr::T(Schema::OneOf(either))) = &content.schema
            && let Some(reference) = either.items.iter().find(|it| matches!(it, RefOr::Ref(_)))
        {
            content.schema = Some(reference.clone());
        }
    }
}

fn responses(operation: &mut Operation) -> impl Iterator<Item = (&str, &mut Response)> {
    let responses = operation.responses.responses.iter_mut();
    responses.filter_map(|(status, response)| match response {
        RefOr::T(response) => Some((status.as_str(), response)),
        RefOr::Ref(_) => None,
    })
}

/// Of a 409 only one code is worth a retry, and has the header.
fn add_retry_after(operation: &mut Operation) {
    for (status, response) in responses(operation) {
        let retryable = |code: &&Code| code.retryable() && code.status().to_string() == status;
        let description = &response.description;
        let named = |code: &&Code| description.split(", ").any(|slug| slug == code.slug());
        if Code::ALL.iter().filter(retryable).any(|code| named(&code)) {
            let header = HeaderBuilder::new()
                .description(Some("Seconds to wait before the same request may succeed"))
                .schema(Some(utoipa::schema!(u32)));
            let headers = &mut response.headers;
            headers.insert("Retry-After".to_owned(), header.build().into());
        }
    }
}

/// Successes and refusals by the payment's state are stored; both may be repeated.
fn add_idempotent_replayed(operation: &mut Operation) {
    for (status, response) in responses(operation) {
        if ["200", "202", "404", "409", "422"].contains(&status) {
            let header = HeaderBuilder::new()
                .description(Some(
                    "`true` when this is the stored answer of an earlier request",
                ))
                .schema(Some(utoipa::schema!(bool)));
            let headers = &mut response.headers;
            headers.insert("Idempotent-Replayed".to_owned(), header.build().into());
        }
    }
}

/// OpenAPI has no scheme for RFC 9421; the nearest is a header that has to be there.
fn add_signature(openapi: &mut utoipa::openapi::OpenApi) {
    let description = "HTTP message signature (RFC 9421, hmac-sha256), with Signature-Input and, \
                       when there is a body, Content-Digest: see docs/signing.md";
    let header = ApiKeyValue::with_description("Signature", description);
    let scheme = SecurityScheme::ApiKey(ApiKey::Header(header));
    let components = openapi.components.get_or_insert_default();
    components.add_security_scheme("signature", scheme);
    let required = SecurityRequirement::new("signature", Vec::<String>::new());
    openapi.security = Some(vec![required]);
}

/// Problems of one route alone.
/// Of `path` as it is read, or as it `changes` something.
fn own_problems(path: &str, changes: bool) -> &'static [Code] {
    match path {
        "/settlements" if changes => &[Code::PeriodNotClosable],
        "/payments" | "/settlements" | "/webhooks" => &[],
        "/payments/upload" => &[Code::CsvInvalid],
        "/recon/files/{fileId}" | "/recon/items" => &[Code::FileNotFound],
        "/recon/items/{itemId}" => &[Code::ItemNotFound],
        "/recon/items/{itemId}/resolve" => &[
            Code::SecondOperatorRequired,
            Code::ItemNotFound,
            Code::ItemNotOpen,
            Code::TransactionNotLinkable,
            Code::NothingToWriteOff,
        ],
        "/settlements/{settlementId}" | "/settlements/{settlementId}/items" => {
            &[Code::SettlementNotFound]
        }
        "/dlq/{topic}" | "/dlq/{topic}/replay" | "/dlq/{topic}/purge" => &[Code::TopicNotFound],
        "/webhooks/{webhookId}" | "/webhooks/{webhookId}/resend" => &[Code::WebhookNotFound],
        "/payments/authorize" => &[Code::DuplicateOrder],
        "/payments/capture/{paymentId}" => &[
            Code::PaymentNotFound,
            Code::PaymentNotCapturable,
            Code::AmountAboveAuthorized,
            Code::CurrencyMismatch,
        ],
        "/payments/refund/{paymentId}" => &[
            Code::PaymentNotFound,
            Code::PaymentNotRefundable,
            Code::AmountAboveCaptured,
            Code::CurrencyMismatch,
        ],
        "/payments/void/{paymentId}" => &[Code::PaymentNotFound, Code::PaymentNotVoidable],
        _ => &[Code::PaymentNotFound],
    }
}

fn add_problems<'a>(operation: &mut Operation, codes: impl Iterator<Item = &'a Code>) {
    let mut by_status: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for code in codes {
        by_status
            .entry(code.status())
            .or_default()
            .push(code.slug());
    }
    for (status, slugs) in by_status {
        let schema = Ref::from_schema_name("Problem");
        let response = ResponseBuilder::new()
            .description(slugs.join(", "))
            .content(MEDIA_TYPE, Content::new(Some(schema)))
            .build();
        operation
            .responses
            .responses
            .insert(status.to_string(), response.into());
    }
}

fn add_idempotency_key(operation: &mut Operation) {
    let parameter = ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::True)
        .description(Some(
            "1-255 visible characters; the same key with the same request repeats the stored \
             answer for 15 days",
        ))
        .schema(Some(utoipa::schema!(String)))
        .build();
    operation
        .parameters
        .get_or_insert_default()
        .push(parameter.into());
}
