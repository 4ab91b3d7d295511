//! The command line, as Go's flag package reads it.
