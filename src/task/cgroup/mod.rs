//! A container's cgroup: its figures, its processes, and its running out of memory.
