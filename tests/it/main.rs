//! Integration tests.

mod arbitrary;
mod wire;
