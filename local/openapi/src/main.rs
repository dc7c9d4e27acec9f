//! Prints the OpenAPI description: `cargo run --release -p openapi > openapi.json`.

use std::io;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    serde_json::to_writer_pretty(io::stdout().lock(), &openapi::openapi())?;
    println!();
    Ok(())
}
