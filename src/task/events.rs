//! Events on their way to the daemon.
