//! The OpenAPI 3.1 description of every route, generated from the functions' own types.

use std::collections::BTreeMap;

use problem::{Code, MEDIA_TYPE, ProblemBody};
use utoipa::{
    OpenApi,
    openapi::{
        Content, Ref, Required, ResponseBuilder,
        path::{Operation, ParameterBuilder, ParameterIn, PathItem},
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
    tags((name = "payments", description = "Authorize, capture, void, refund, look")),
    paths(
        authorize::authorize,
        capture::capture,
        refund::refund,
        void::void,
        payment_query::list,
        payment_query::get,
        payment_query::timeline,
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
            add_problems(operation, EVERY_ROUTE.iter().chain(own_problems(path)));
        }
        for operation in post.iter_mut() {
            add_idempotency_key(operation);
            let problems = EVERY_ROUTE
                .iter()
                .chain(EVERY_CHANGE)
                .chain(own_problems(path));
            add_problems(operation, problems);
        }
    }
    openapi
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
fn own_problems(path: &str) -> &'static [Code] {
    match path {
        "/payments" => &[],
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
