//! delete: cleans up after a shim that is gone.
