//! start: gives the address of the shim for a container, started if there is none.
