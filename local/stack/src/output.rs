//! What commands tell the user.

use std::{
    fmt::Display,
    io::{self, Write as _},
};

/// Prints a line. That nobody reads any more, as behind `| head`, is no reason to stop half-way.
pub fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
