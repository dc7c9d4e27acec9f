use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::key::tests::ring;
use crate::sign;

const NOW: i64 = 1_800_000_000;
const BODY: &[u8] = br#"{"orderId":"o-1"}"#;
const TARGET: Target<'_> = Target {
    method: "POST",
    scheme: "http",
    path: "/payments",
    query: Some("a=1"),
};

fn signed(target: &Target<'_>, body: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", HeaderValue::from_static("\"k-1\""));
    sign(target, &mut headers, body, ring().get("demo").unwrap(), NOW).unwrap();
    headers
}

fn verified(headers: &HeaderMap) -> Result<Arc<Key>, VerifyError> {
    verify(&TARGET, headers, BODY, &ring(), NOW)
}

fn refused(headers: &HeaderMap) -> Result<(), VerifyError> {
    verified(headers).map(|_| ())
}

/// The signed request with one header's text replaced.
fn with(name: &'static str, from: &str, to: &str) -> HeaderMap {
    let mut headers = signed(&TARGET, BODY);
    let value = headers[name].to_str().unwrap();
    assert!(value.contains(from), "{value}");
    let value = value.replacen(from, to, 1).parse().unwrap();
    headers.insert(name, value);
    headers
}

/// Replaces the signature with the right one over whatever `signature-input` says now.
fn resigned(mut headers: HeaderMap) -> HeaderMap {
    use base64::prelude::{BASE64_STANDARD, Engine};

    let inputs = dictionary("signature-input", &headers).unwrap();
    let Some(ListEntry::InnerList(input)) = inputs.get("sig1") else {
        panic!("an inner list")
    };
    let base = signature_base(&TARGET, &headers, input).unwrap();
    let mac = ring()
        .get("demo")
        .unwrap()
        .mac()
        .chain_update(&base)
        .finalize()
        .into_bytes();
    let value = format!("sig1=:{}:", BASE64_STANDARD.encode(mac))
        .parse()
        .unwrap();
    headers.insert("signature", value);
    headers
}

#[test]
fn a_signed_request_names_its_key() {
    let key = verified(&signed(&TARGET, BODY)).unwrap();
    assert_eq!(
        (key.key_id.as_str(), key.merchant_id.as_str()),
        ("demo", "m-demo")
    );
}

#[test]
fn a_signature_header_that_is_absent_or_without_partner_is_missing() {
    for name in ["signature", "signature-input"] {
        let mut headers = signed(&TARGET, BODY);
        headers.remove(name);
        assert_eq!(refused(&headers), Err(VerifyError::Missing));
    }
    assert_eq!(
        refused(&with("signature", "sig1", "sig2")),
        Err(VerifyError::Missing)
    );
}

#[test]
fn an_unknown_key_is_told_apart() {
    let headers = with("signature-input", "\"demo\"", "\"nobody\"");
    assert_eq!(refused(&headers), Err(VerifyError::KeyUnknown));
}

#[test]
fn parameters_must_be_there_and_of_their_type() {
    for (from, to) in [
        ("\"hmac-sha256\"", "\"ed25519\""),
        ("\"hmac-sha256\"", "hmac-sha256"),
        (";alg=\"hmac-sha256\"", ""),
        (";keyid=\"demo\"", ""),
        ("\"demo\"", "demo"),
        (";created=1800000000", ""),
        ("created=1800000000", "created=\"1800000000\""),
        (";alg", ";expires=1.5;alg"),
        ("\"@method\"", "\"@method\";req"),
        ("\"@method\"", "\"@method\" \"@status\""),
        ("sig1=(", "sig1=1, sig9=("),
        ("sig1=(", "sig1=(("),
    ] {
        let error = verified(&with("signature-input", from, to)).unwrap_err();
        assert!(matches!(error, VerifyError::Invalid(_)), "{to}: {error}");
    }
}

#[test]
fn a_component_may_be_covered_once() {
    for component in ["@method", "content-digest"] {
        let (once, twice) = (
            format!("\"{component}\""),
            format!("\"{component}\" \"{component}\""),
        );
        assert_eq!(
            refused(&with("signature-input", &once, &twice)),
            Err(VerifyError::Invalid(
                "a component is absent, repeated or not supported"
            ))
        );
    }
}

#[test]
fn a_label_may_stand_in_a_header_once() {
    for name in ["signature-input", "signature"] {
        let mut headers = signed(&TARGET, BODY);
        let value = headers[name].clone();
        headers.append(name, value);
        assert_eq!(
            refused(&headers),
            Err(VerifyError::Invalid(
                "its headers are not dictionaries with unique labels"
            ))
        );
    }
}

#[test]
fn every_required_component_must_be_covered() {
    for component in [
        "@method",
        "@path",
        "@query",
        "content-digest",
        "idempotency-key",
    ] {
        let headers = with(
            "signature-input",
            &format!("\"{component}\""),
            "\"@authority\"",
        );
        assert_eq!(refused(&headers), Err(VerifyError::NotCovered(component)));
    }
}

#[test]
fn further_components_and_parameters_are_welcome() {
    let mut headers = with(
        "signature-input",
        ";alg",
        ";nonce=\"n\";expires=1800000000;alg",
    );
    headers.insert("host", HeaderValue::from_static("127.0.0.1:9000"));
    let input = headers["signature-input"].to_str().unwrap();
    let input = input.replacen(')', " \"@authority\" \"@target-uri\" \"host\")", 1);
    headers.insert("signature-input", input.parse().unwrap());
    assert!(verified(&resigned(headers)).is_ok());
}

#[test]
fn the_signature_is_good_for_300_seconds_either_way() {
    let headers = signed(&TARGET, BODY);
    let at = |now| verify(&TARGET, &headers, BODY, &ring(), now).map(|_| ());
    assert_eq!([at(NOW - 300), at(NOW + 300)], [Ok(()), Ok(())]);
    assert_eq!(at(NOW - 301), Err(VerifyError::Expired));
    assert_eq!(at(NOW + 301), Err(VerifyError::Expired));
    assert_eq!(at(i64::MIN), Err(VerifyError::Expired));
}

#[test]
fn expires_is_honoured() {
    let headers = resigned(with("signature-input", ";alg", ";expires=1799999999;alg"));
    assert_eq!(refused(&headers), Err(VerifyError::Expired));
}

#[test]
fn the_first_signature_with_a_known_key_counts() {
    let mut headers = signed(&TARGET, BODY);
    for (name, value) in [
        (
            "signature-input",
            "proxy=(\"@method\");created=1;keyid=\"nobody\";alg=\"rsa-pss-sha512\"",
        ),
        ("signature", "proxy=:AAAA:"),
    ] {
        let own = headers[name].to_str().unwrap();
        let both = format!("{value}, {own}").parse().unwrap();
        headers.insert(name, both);
    }
    assert!(verified(&headers).is_ok());
}

#[test]
fn headers_without_bound_are_not_parsed() {
    let long = format!("x=\"{}\"", "a".repeat(HEADER_BYTES_MAX));
    let mut headers = signed(&TARGET, BODY);
    headers.append("signature", long.parse().unwrap());
    assert_eq!(
        refused(&headers),
        Err(VerifyError::Invalid("its headers are too long"))
    );
}

#[test]
fn another_body_is_a_digest_mismatch() {
    let headers = signed(&TARGET, BODY);
    let result = verify(&TARGET, &headers, b"{}", &ring(), NOW);
    assert_eq!(result.unwrap_err(), VerifyError::DigestMismatch);
    let emptied = verify(&TARGET, &headers, b"", &ring(), NOW);
    assert_eq!(emptied.unwrap_err(), VerifyError::DigestMismatch);
}

#[test]
fn a_key_header_added_afterwards_is_not_covered() {
    let mut headers = HeaderMap::new();
    sign(
        &TARGET,
        &mut headers,
        BODY,
        ring().get("demo").unwrap(),
        NOW,
    )
    .unwrap();
    headers.insert("idempotency-key", HeaderValue::from_static("k-2"));
    assert_eq!(
        refused(&headers),
        Err(VerifyError::NotCovered("idempotency-key"))
    );
}

#[test]
fn another_target_is_not_what_was_signed() {
    let headers = signed(&TARGET, BODY);
    for target in [
        Target {
            method: "PUT",
            ..TARGET
        },
        Target {
            path: "/payments/",
            ..TARGET
        },
        Target {
            query: Some("a=2"),
            ..TARGET
        },
        Target {
            query: None,
            ..TARGET
        },
    ] {
        let error = verify(&target, &headers, BODY, &ring(), NOW).unwrap_err();
        assert!(matches!(error, VerifyError::Invalid(_)), "{target:?}");
    }
}

proptest! {
    #[test]
    fn what_is_signed_verifies(
        method in "[A-Z]{1,8}",
        path in "/[!-~]{0,40}",
        query in proptest::option::of("[!-~]{0,40}"),
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let target = Target { method: &method, scheme: "http", path: &path, query: query.as_deref() };
        let headers = signed(&target, &body);
        prop_assert!(verify(&target, &headers, &body, &ring(), NOW).is_ok());
    }

    #[test]
    fn any_flipped_bit_of_the_signature_or_body_fails(byte in 0..32_usize, bit in 0..8_u8) {
        use base64::prelude::{BASE64_STANDARD, Engine};

        let mut headers = signed(&TARGET, BODY);
        let mut body = BODY.to_vec();
        let at = byte % body.len();
        body[at] ^= 1 << bit;
        prop_assert_eq!(
            verify(&TARGET, &headers, &body, &ring(), NOW).unwrap_err(),
            VerifyError::DigestMismatch
        );

        let signatures = dictionary("signature", &headers).unwrap();
        let Some(ListEntry::Item(item)) = signatures.get("sig1") else { panic!("an item") };
        let mut mac = item.bare_item.as_byte_sequence().unwrap().to_vec();
        mac[byte] ^= 1 << bit;
        let value = format!("sig1=:{}:", BASE64_STANDARD.encode(mac));
        headers.insert("signature", value.parse().unwrap());
        prop_assert!(matches!(verified(&headers), Err(VerifyError::Invalid(_))));
    }

    #[test]
    fn any_changed_character_of_the_signature_input_fails(at in 0..200_usize, to in "[!-~]") {
        let mut headers = signed(&TARGET, BODY);
        let input = headers["signature-input"].to_str().unwrap();
        let at = at % input.len();
        prop_assume!(&input[at..=at] != to.as_str());
        let changed = format!("{}{to}{}", &input[..at], &input[at + 1..]);
        headers.insert("signature-input", changed.parse().unwrap());
        prop_assert!(verified(&headers).is_err());
    }

    #[test]
    fn hostile_headers_never_panic(
        input in proptest::collection::vec(any::<u8>(), 0..120),
        signature in proptest::collection::vec(any::<u8>(), 0..120),
        shaped in r#"sig1=\(("[@a-z-]{0,9}"[; a-z=?0-9]{0,5}){0,4}\)(;[a-z]{1,7}=("[ -~]{0,9}"|-?[0-9]{0,16})){0,4}"#,
    ) {
        let values = [(&input[..], &signature[..]), (shaped.as_bytes(), b"sig1=:AAAA:")];
        for (input, signature) in values {
            let mut headers = HeaderMap::new();
            for (name, bytes) in [("signature-input", input), ("signature", signature), ("content-digest", input)] {
                if let Ok(value) = HeaderValue::from_bytes(bytes) {
                    headers.insert(HeaderName::from_static(name), value);
                }
            }
            prop_assert!(verified(&headers).is_err());
        }
    }
}
