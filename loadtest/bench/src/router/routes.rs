//! What many routes cost each request: a runtime with 64 functions of 1,000 routes each in turn with
//! one that has a single function and route.

use std::{fmt, fmt::Write as _, time::Duration};

use serde::Serialize;

use super::{
    runtime::Runtime,
    server::program,
    turns::{Compared, Side, Turns},
};
use crate::work::Post;

const FUNCTIONS: u32 = 64;
const ROUTES: u32 = 1_000;
/// In the middle of both.
const POST: Post = Post {
    step: "echo",
    path: "/f32/r500/7",
    body: r#"{"a":1}"#,
};

#[derive(Serialize)]
pub(super) struct Routes {
    functions: u32,
    per_function: u32,
    load: Compared,
}

pub(super) async fn measure(time: Duration, rounds: u32) -> anyhow::Result<Routes> {
    let one = Runtime::start(&manifest(32..33, 500..501)?).await?;
    let many = Runtime::start(&manifest(0..FUNCTIONS, 0..ROUTES)?).await?;
    let turns = Turns {
        post: &POST,
        connections: 1,
        time,
        rounds,
    };
    let one = Side::of(&one.server)?.named("one route");
    Ok(Routes {
        functions: FUNCTIONS,
        per_function: ROUTES,
        load: turns.take(&one, &Side::of(&many.server)?).await?,
    })
}

fn manifest(
    functions: std::ops::Range<u32>,
    routes: std::ops::Range<u32>,
) -> anyhow::Result<String> {
    let program = program("echo-function")?;
    let mut manifest = String::new();
    for function in functions {
        writeln!(
            manifest,
            "[functions.f{function}]\ncommand = [{program:?}]\nmemory_mb = 32"
        )?;
        writeln!(manifest, "concurrency = 4\nroutes = [")?;
        for route in routes.clone() {
            writeln!(manifest, "\"POST /f{function}/r{route}/{{id}}\",")?;
        }
        writeln!(manifest, "]")?;
    }
    Ok(manifest)
}

impl fmt::Display for Routes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            functions,
            per_function,
            load,
        } = self;
        writeln!(
            formatter,
            "{functions} functions of {per_function} routes each:"
        )?;
        load.fmt(formatter)
    }
}
