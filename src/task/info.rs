//! -info: what this runtime is and can do.
