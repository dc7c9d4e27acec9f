//! One list of routes, written down in three places.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{collections::BTreeSet, fs, path::Path};

use serde_json::Value;
use toml::Table;

type Route = (String, String, String);

/// What the runtime itself answers.
const OF_THE_RUNTIME: [&str; 2] = ["/healthz", "/openapi.json"];

#[test]
fn cargo_lambda_watch_and_openapi_have_the_routes_of_the_manifest() {
    let manifest = routes_of_manifest();
    assert_eq!(routes_of_cargo_lambda_watch(), manifest);
    let functions_dropped = |(method, path, _): Route| (method, path);
    let of_the_runtime = OF_THE_RUNTIME.map(|path| ("GET".to_owned(), path.to_owned()));
    let paths: BTreeSet<_> = manifest
        .into_iter()
        .map(functions_dropped)
        .chain(of_the_runtime)
        .collect();
    assert_eq!(routes_of_openapi(), paths);
}

fn routes_of_manifest() -> BTreeSet<Route> {
    let manifest = table("functions/functions.toml");
    let functions = manifest["functions"].as_table().unwrap();
    let routes = |function: &toml::Value| {
        let routes = function.get("routes").and_then(toml::Value::as_array);
        routes.cloned().unwrap_or_default()
    };
    functions
        .iter()
        .flat_map(|(name, function)| {
            routes(function).into_iter().map(move |route| {
                let text = route.get("route").unwrap_or(&route);
                let (method, path) = text.as_str().unwrap().split_once(' ').unwrap();
                (method.to_owned(), path.to_owned(), name.clone())
            })
        })
        .collect()
}

fn routes_of_cargo_lambda_watch() -> BTreeSet<Route> {
    let workspace = table("Cargo.toml");
    let router = &workspace["workspace"]["metadata"]["lambda"]["watch"]["router"];
    let text = |entry: &toml::Value, member: &str| entry[member].as_str().unwrap().to_owned();
    router
        .as_table()
        .unwrap()
        .iter()
        .flat_map(|(path, entries)| {
            entries
                .as_array()
                .unwrap()
                .iter()
                .map(move |entry| (text(entry, "method"), path.clone(), text(entry, "function")))
        })
        .collect()
}

fn routes_of_openapi() -> BTreeSet<(String, String)> {
    let openapi: Value = serde_json::from_str(&read("openapi.json")).unwrap();
    let paths = openapi["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object()
                .unwrap()
                .keys()
                .map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect()
}

fn table(file: &str) -> Table {
    read(file).parse().unwrap()
}

fn read(file: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(workspace.join(file)).unwrap()
}
