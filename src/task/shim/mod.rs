//! The server: one loop over what is ready, and what follows from it.
