//! The options of a runc container (containerd.runc.v1.Options).
