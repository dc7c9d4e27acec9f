//! Failpoints: named places on the money path and in the relay where a test lets the process die,
//! an error happen or time pass. Only a build with the feature `on` has them; in any other, [`at!`]
//! is empty.
//!
//! The variable `FAILPOINTS` sets them in the grammar of the crate `fail`, with these actions:
//! `db.committed=1*return(abort)` ends the process as kill -9 would when the point is first
//! reached, `return(error)` is a lost connection, `return(delay)` is [`DELAY`].

use std::time::Duration;

/// How long the action `delay` takes; more than a statement waits for a lock.
pub const DELAY: Duration = Duration::from_millis(2_500);

/// Names a place in an async function. An error is returned as the function's own, by `into()` or
/// by what the second argument makes of an `std::io::Error` first.
#[cfg(feature = "on")]
#[macro_export]
macro_rules! at {
    ($name:literal) => {
        $crate::at!($name, ::core::convert::identity)
    };
    ($name:literal, $error:expr) => {
        if let Some(error) = $crate::reached($name).await {
            return Err(($error)(error).into());
        }
    };
}

/// Names a place in an async function; empty in this build.
#[cfg(not(feature = "on"))]
#[macro_export]
macro_rules! at {
    ($name:literal) => {};
    ($name:literal, $error:expr) => {};
}

/// Reads `FAILPOINTS`. Called once, when the process starts.
pub fn init() {
    #[cfg(feature = "on")]
    std::mem::forget(fail::FailScenario::setup());
}

/// Does what `FAILPOINTS` asks for at a place, and gives the error to return, if any. Tells so on
/// standard error, so that a test knows the place was reached.
#[cfg(feature = "on")]
pub async fn reached(name: &str) -> Option<std::io::Error> {
    let action = fail::eval(name, |action| action)??;
    eprintln!("failpoint {name} {action}");
    match action.as_str() {
        "abort" => std::process::abort(),
        "delay" => tokio::time::sleep(DELAY).await,
        _ => return Some(std::io::ErrorKind::ConnectionReset.into()),
    }
    None
}
