//! Mounting a container's root file system, and undoing it.
