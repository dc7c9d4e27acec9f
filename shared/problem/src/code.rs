/// Builds [`Code`] and its lookups from one table:
/// variant, slug, HTTP status, title, seconds after which a retry may help.
macro_rules! codes {
    ($($variant:ident $slug:literal $status:literal $title:literal $retry_after_s:expr;)*) => {
        /// Every way a request is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $(#[doc = $title] $variant,)*
        }

        impl Code {
            /// All codes, in the order of `docs/problems.md`.
            pub const ALL: &[Code] = &[$(Code::$variant,)*];

            /// The stable name clients branch on.
            #[must_use]
            pub const fn slug(self) -> &'static str {
                match self { $(Code::$variant => $slug,)* }
            }

            /// HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $(Code::$variant => $status,)* }
            }

            /// What went wrong in general, the same for every occurrence.
            #[must_use]
            pub const fn title(self) -> &'static str {
                match self { $(Code::$variant => $title,)* }
            }

            /// Seconds to wait before the same request may succeed; `None` when it never will.
            #[must_use]
            pub const fn retry_after_s(self) -> Option<u32> {
                match self { $(Code::$variant => $retry_after_s,)* }
            }

            /// Whether sending the same request again may succeed.
            #[must_use]
            pub const fn retryable(self) -> bool {
                self.retry_after_s().is_some()
            }
        }
    };
}

codes! {
    InvalidRequest "invalid-request" 400 "The request is not valid" None;
    InvalidJson "invalid-json" 400 "The body is not JSON" None;
    IdempotencyKeyMissing "idempotency-key-missing" 400 "The Idempotency-Key header is missing" None;
    SignatureMissing "signature-missing" 401 "The request is not signed" None;
    SignatureInvalid "signature-invalid" 401 "The signature does not match the request" None;
    SignatureExpired "signature-expired" 401 "The signature is too old or from the future" None;
    KeyUnknown "key-unknown" 401 "The key id is unknown" None;
    DigestMismatch "digest-mismatch" 401 "The body does not match its Content-Digest" None;
    RoleForbidden "role-forbidden" 403 "The key's role may not do this" None;
    SecondOperatorRequired "second-operator-required" 403 "Another operator must decide" None;
    PaymentNotFound "payment-not-found" 404 "There is no such payment" None;
    SettlementNotFound "settlement-not-found" 404 "There is no such settlement" None;
    FileNotFound "file-not-found" 404 "There is no such file" None;
    ItemNotFound "item-not-found" 404 "There is no such item" None;
    TopicNotFound "topic-not-found" 404 "There is no such dead-letter topic" None;
    WebhookNotFound "webhook-not-found" 404 "There is no such webhook" None;
    RouteNotFound "route-not-found" 404 "There is no such route" None;
    IdempotencyKeyInFlight "idempotency-key-in-flight" 409 "The first request with this key is still running" Some(1);
    IdempotencyKeyReused "idempotency-key-reused" 409 "The key was used for another request" None;
    DuplicateOrder "duplicate-order" 409 "The order has a payment already" None;
    PaymentNotCapturable "payment-not-capturable" 409 "The payment cannot be captured" None;
    PaymentNotRefundable "payment-not-refundable" 409 "The payment cannot be refunded" None;
    PaymentNotVoidable "payment-not-voidable" 409 "The payment cannot be voided" None;
    PeriodNotClosable "period-not-closable" 409 "The period cannot be closed now" Some(1);
    ItemNotOpen "item-not-open" 409 "The item is not open to this decision" None;
    TransactionNotLinkable "transaction-not-linkable" 409 "The row cannot be this transaction" None;
    NothingToWriteOff "nothing-to-write-off" 409 "The difference is worth nothing" None;
    BodyTooLarge "body-too-large" 413 "The body is too large" None;
    MediaType "media-type" 415 "The media type is not accepted" None;
    AmountAboveAuthorized "amount-above-authorized" 422 "The amount is above the authorized amount" None;
    AmountAboveCaptured "amount-above-captured" 422 "The amount is above what is left to refund" None;
    CurrencyMismatch "currency-mismatch" 422 "The currency is not the payment's" None;
    CsvInvalid "csv-invalid" 422 "The file cannot be read" None;
    RateLimited "rate-limited" 429 "The merchant sends too many requests" Some(1);
    Overloaded "overloaded" 503 "The service has no capacity left" Some(1);
    Unavailable "unavailable" 503 "The service cannot answer now" Some(1);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_code_has_its_own_slug_and_an_error_status() {
        let slugs: BTreeSet<_> = Code::ALL.iter().map(|code| code.slug()).collect();
        assert_eq!(slugs.len(), Code::ALL.len());
        assert!(
            Code::ALL
                .iter()
                .all(|code| (400..600).contains(&code.status()))
        );
    }

    #[test]
    fn every_code_has_its_heading_in_the_documents_and_no_other_has() {
        let document = include_str!("../../../docs/problems.md");
        let headings: Vec<_> = document
            .lines()
            .filter_map(|l| l.strip_prefix("## "))
            .collect();
        let slugs: Vec<_> = Code::ALL.iter().map(|code| code.slug()).collect();
        assert_eq!(headings, slugs);
    }

    #[test]
    fn documents_state_the_status_and_whether_a_retry_helps() {
        let document = include_str!("../../../docs/problems.md");
        for code in Code::ALL {
            let (_, section) = document
                .split_once(&format!("## {}\n", code.slug()))
                .unwrap();
            let section = section.split("\n## ").next().unwrap();
            let status = format!("Status {}", code.status());
            assert!(
                section.contains(&status),
                "{} must say {status:?}",
                code.slug()
            );
            let retry = if code.retryable() {
                "retry helps"
            } else {
                "retry does not help"
            };
            assert!(
                section.contains(retry),
                "{} must say {retry:?}",
                code.slug()
            );
        }
    }
}
