//! What the tests against whole processes share.
#![forbid(unsafe_code)]
