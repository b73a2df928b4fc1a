//! Errors as one line of text.

use std::error::Error;

/// An error with all that caused it: a client's own text alone does not say that a connection was refused.
pub fn causes(error: &dyn Error) -> String {
    let (mut text, mut next) = (error.to_string(), error.source());
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
