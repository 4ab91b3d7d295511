//! A pretend OCI runtime.
