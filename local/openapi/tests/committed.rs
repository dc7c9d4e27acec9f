//! The committed `openapi.json` is the one the code gives.

#[test]
fn openapi_json_is_generated_from_the_code_as_it_is() {
    let generated = serde_json::to_value(openapi::openapi()).unwrap();
    let committed: serde_json::Value =
        serde_json::from_str(include_str!("../../../openapi.json")).unwrap();
    assert_eq!(
        committed, generated,
        "run `cargo run --release -p openapi > openapi.json`"
    );
}
