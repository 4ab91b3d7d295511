//! The figures of a cgroup of version 2.

use std::path::Path;

use containerd_shim_protos::cgroups_v2::metrics::Metrics;

use crate::Error;
use crate::host::Host;

pub(super) fn metrics<H: Host>(_host: &mut H, _path: &Path) -> Result<Metrics, Error> {
    Ok(Metrics::new())
}
