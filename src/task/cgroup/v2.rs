//! The figures of a cgroup of version 2, as containerd's `cgroups` library reads them.

use std::path::Path;

use containerd_shim_protos::cgroups_v2::metrics::{
    CPUStat, HugeTlbStat, IOEntry, IOStat, MemoryEvents, MemoryStat, Metrics, PSIData, PSIStats,
    PidsStat, RdmaEntry, RdmaStat,
};
use containerd_shim_protos::protobuf::MessageField;

use crate::Error;
use crate::host::Host;

use super::figures::{Files, Table, filled, huge_page_sizes, number, rdma_devices};
use super::find::Machine;

/// Reads the figures in a directory. Those of controllers that are off are 0, or not there.
pub(super) fn metrics<H: Host>(
    host: &mut H,
    directory: &Path,
    machine: &Machine<'_>,
) -> Result<Metrics, Error> {
    let sizes = huge_page_sizes(host, machine);
    let files = &mut Files { host, directory };
    let pids = PidsStat {
        current: files.number("pids.current")?,
        limit: files.number("pids.max")?,
        ..Default::default()
    };
    Ok(Metrics {
        pids: MessageField::some(pids),
        cpu: MessageField::some(cpu(files)?),
        memory: MessageField::some(memory(files)?),
        rdma: MessageField::some(rdma(files)?),
        io: MessageField::some(io(files)?),
        hugetlb: huge_pages(files, sizes)?,
        memory_events: memory_events(files)?,
        ..Default::default()
    })
}

fn cpu<H: Host>(files: &mut Files<'_, H>) -> Result<CPUStat, Error> {
    let text = files.text("cpu.stat")?;
    let table = Table::parse(&text);
    let mut stat = filled!(
        CPUStat,
        table,
        [
            usage_usec,
            user_usec,
            system_usec,
            nr_periods,
            nr_throttled,
            throttled_usec,
            nr_bursts,
            burst_usec,
        ]
    );
    stat.psi = pressure(files, "cpu.pressure")?;
    Ok(stat)
}

fn memory<H: Host>(files: &mut Files<'_, H>) -> Result<MemoryStat, Error> {
    let text = files.text("memory.stat")?;
    let table = Table::parse(&text);
    let mut stat = filled!(
        MemoryStat,
        table,
        [
            anon,
            file,
            kernel_stack,
            slab,
            sock,
            shmem,
            file_mapped,
            file_dirty,
            file_writeback,
            anon_thp,
            inactive_anon,
            active_anon,
            inactive_file,
            active_file,
            unevictable,
            slab_reclaimable,
            slab_unreclaimable,
            pgfault,
            pgmajfault,
            workingset_nodereclaim,
            pgrefill,
            pgscan,
            pgsteal,
            pgactivate,
            pgdeactivate,
            pglazyfree,
            pglazyfreed,
            thp_fault_alloc,
            thp_collapse_alloc,
        ]
    );
    // Linux 5.9 divided these two.
    let both = |key: &str| {
        let part = |kind| table.get(&format!("{key}_{kind}"));
        table.find(key).unwrap_or_else(|| part("anon").saturating_add(part("file")))
    };
    stat.workingset_refault = both("workingset_refault");
    stat.workingset_activate = both("workingset_activate");
    stat.usage = files.number("memory.current")?;
    stat.usage_limit = files.number("memory.max")?;
    stat.max_usage = files.number("memory.peak")?;
    stat.swap_usage = files.number("memory.swap.current")?;
    stat.swap_limit = files.number("memory.swap.max")?;
    stat.swap_max_usage = files.number("memory.swap.peak")?;
    stat.psi = pressure(files, "memory.pressure")?;
    Ok(stat)
}

fn memory_events<H: Host>(files: &mut Files<'_, H>) -> Result<MessageField<MemoryEvents>, Error> {
    let text = files.text("memory.events")?;
    if text.is_empty() {
        return Ok(MessageField::none());
    }
    let table = Table::parse(&text);
    let mut events = filled!(MemoryEvents, table, [low, high, max, oom, oom_kill]);
    events.oom_group_kill = table.get("oom_group_kill");
    Ok(MessageField::some(events))
}

fn rdma<H: Host>(files: &mut Files<'_, H>) -> Result<RdmaStat, Error> {
    let entry = |(device, hca_handles, hca_objects): (&str, _, _)| RdmaEntry {
        device: device.to_owned(),
        hca_handles,
        hca_objects,
        ..Default::default()
    };
    Ok(RdmaStat {
        current: rdma_devices(&files.text("rdma.current")?).map(entry).collect(),
        limit: rdma_devices(&files.text("rdma.max")?).map(entry).collect(),
        ..Default::default()
    })
}

fn io<H: Host>(files: &mut Files<'_, H>) -> Result<IOStat, Error> {
    Ok(IOStat {
        usage: files.text("io.stat")?.lines().filter_map(io_entry).collect(),
        psi: pressure(files, "io.pressure")?,
        ..Default::default()
    })
}

/// Reads a line like `8:0 rbytes=4096 wbytes=0 rios=1 wios=0 dbytes=0 dios=0`. Some kernels leave
/// out the end of a line that has no figures, so it may begin with several devices; the figures are
/// the last one's.
fn io_entry(line: &str) -> Option<IOEntry> {
    let mut entry = None;
    for word in line.split_whitespace() {
        if let Some((major, minor)) = word.split_once(':') {
            let (major, minor) = (major.parse().ok()?, minor.parse().ok()?);
            entry = Some(IOEntry { major, minor, ..Default::default() });
        } else if let (Some(entry), Some((key, value))) = (&mut entry, word.split_once('=')) {
            match key {
                "rbytes" => entry.rbytes = number(value),
                "wbytes" => entry.wbytes = number(value),
                "rios" => entry.rios = number(value),
                "wios" => entry.wios = number(value),
                _ => {}
            }
        }
    }
    entry
}

fn huge_pages<H: Host>(
    files: &mut Files<'_, H>,
    sizes: Vec<String>,
) -> Result<Vec<HugeTlbStat>, Error> {
    let mut stats = Vec::new();
    for size in sizes {
        let current = files.text(&format!("hugetlb.{size}.current"))?;
        if current.is_empty() {
            continue;
        }
        let events = files.text(&format!("hugetlb.{size}.events"))?;
        stats.push(HugeTlbStat {
            current: number(&current),
            max: files.number(&format!("hugetlb.{size}.max"))?,
            failcnt: Table::parse(&events).get("max"),
            pagesize: size,
            ..Default::default()
        });
    }
    Ok(stats)
}

/// Reads how long processes had to wait for a resource (`/proc/pressure` of `proc(5)`).
fn pressure<H: Host>(
    files: &mut Files<'_, H>,
    name: &str,
) -> Result<MessageField<PSIStats>, Error> {
    let text = files.text(name)?;
    if text.is_empty() {
        return Ok(MessageField::none());
    }
    let of = |kind| text.lines().find_map(|line| line.strip_prefix(kind)).map(waits).into();
    Ok(MessageField::some(PSIStats { some: of("some "), full: of("full "), ..Default::default() }))
}

/// Reads `avg10=0.31 avg60=0.08 avg300=0.02 total=1234567`.
fn waits(line: &str) -> PSIData {
    let mut data = PSIData::default();
    for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
        let share = || value.parse().unwrap_or(0.0);
        match key {
            "avg10" => data.avg10 = share(),
            "avg60" => data.avg60 = share(),
            "avg300" => data.avg300 = share(),
            "total" => data.total = number(value),
            _ => {}
        }
    }
    data
}
