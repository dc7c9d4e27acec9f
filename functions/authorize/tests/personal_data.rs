//! Personal data stays with the payment: no log line has it, whatever happens to the request.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use testbed::{Reply, Testbed, fresh, until};

const AUTHORIZE: &str = "/payments/authorize";

/// Where the stack keeps its state.
fn state() -> PathBuf {
    env::var("PAYFN_STATE").unwrap().into()
}

fn find_logs(directory: &Path, logs: &mut Vec<PathBuf>) {
    // A directory may go away while it is looked through: Kafka deletes old segments.
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            find_logs(&path, logs);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            logs.push(path);
        }
    }
}

/// The logs below a directory that have a text.
fn logs_with(directory: &Path, text: &str) -> Vec<PathBuf> {
    let mut logs = Vec::new();
    find_logs(directory, &mut logs);
    let has = |path: &PathBuf| {
        let bytes = fs::read(path).unwrap_or_default();
        bytes
            .windows(text.len())
            .any(|window| window == text.as_bytes())
    };
    logs.into_iter().filter(has).collect()
}

/// Accepted and refused requests that all carry the same customer, with the status expected.
async fn requests(bed: &Testbed, customer: &Value) -> Vec<(u16, Reply)> {
    let demo = bed.caller("demo");
    let asked = |amount: Value| {
        let order_id = fresh("order");
        json!({ "orderId": order_id, "amount": amount, "currency": "KRW", "customer": customer })
    };
    let request = || {
        demo.request("POST", AUTHORIZE)
            .body(asked(json!(1)).to_string())
    };
    let (accepted, key) = (asked(json!(1)), fresh("key"));
    let mut wrong_name = asked(json!(1));
    wrong_name["customer"]["name"] = json!([customer["name"]]);
    let first = demo.post_keyed(AUTHORIZE, &accepted, &key).await;
    let payment = format!("/payments/{}", first.json()["paymentId"].as_str().unwrap());
    vec![
        (200, first),
        (200, demo.post_keyed(AUTHORIZE, &accepted, &key).await),
        (200, demo.get(&payment).await),
        (409, demo.post(AUTHORIZE, &accepted).await),
        (
            409,
            demo.post_keyed(AUTHORIZE, &asked(json!(1)), &key).await,
        ),
        (
            400,
            demo.post(AUTHORIZE, &asked(customer["phone"].clone()))
                .await,
        ),
        (400, demo.post(AUTHORIZE, &wrong_name).await),
        (401, request().created(0).send().await),
        (415, request().content_type("text/plain").send().await),
    ]
}

#[tokio::test]
async fn no_log_line_has_personal_data() {
    let bed = Testbed::new().await;
    let (name, email, phone) = (fresh("name"), fresh("email@"), fresh("0")[..32].to_owned());
    let customer = json!({ "name": name, "email": email, "phone": phone });
    for (status, reply) in requests(&bed, &customer).await {
        assert_eq!(reply.status, status, "{:?}", reply.body);
        let trace_id = reply.headers["x-trace-id"].to_str().unwrap();
        until("the log line of the request", async || {
            // Kafka's segments are called logs too, and its events carry the trace.
            !logs_with(&state().join("logs"), trace_id).is_empty()
        })
        .await;
    }
    for value in [name, email, phone] {
        assert_eq!(
            logs_with(&state(), &value),
            Vec::<PathBuf>::new(),
            "{value}"
        );
    }
}
