use base64::{Engine as _, prelude::BASE64_STANDARD};
use signature::WebhookSecret;

/// The value of `webhook-signature`: one `v1` signature of each secret.
#[must_use]
pub fn signature(
    secrets: &[WebhookSecret],
    webhook_id: &str,
    timestamp_s: i64,
    body: &[u8],
) -> String {
    let timestamp = timestamp_s.to_string();
    let signed: [&[u8]; 5] = [
        webhook_id.as_bytes(),
        b".",
        timestamp.as_bytes(),
        b".",
        body,
    ];
    let signatures = secrets.iter().map(|secret| {
        let signature = BASE64_STANDARD.encode(secret.sign(&signed));
        format!("v1,{signature}")
    });
    signatures.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the Standard Webhooks libraries.
    #[test]
    fn published_example_has_its_signature() {
        let secret = WebhookSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let id = "msg_p5jXN8AQM9LWM0D4loKWxJek";
        let body = br#"{"test": 2432232314}"#;
        let one = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        let secrets = [secret.clone()];
        assert_eq!(signature(&secrets, id, 1_614_265_330, body), one);

        let next = WebhookSecret::parse(&format!("whsec_{}", "A".repeat(32))).unwrap();
        let both = signature(&[secret, next], id, 1_614_265_330, body);
        let (first, second) = both.split_once(' ').unwrap();
        assert_eq!(first, one);
        assert!(second.starts_with("v1,") && second != one);
    }
}
