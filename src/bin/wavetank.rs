//! Runs a process under the shim.
fn main() {}
