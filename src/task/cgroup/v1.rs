//! The figures of a cgroup of version 1, as containerd's `cgroups` library reads them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use containerd_shim_protos::cgroups::metrics::{
    BlkIOEntry, BlkIOStat, CPUStat, CPUUsage, HugetlbStat, MemoryEntry, MemoryOomControl,
    MemoryStat, Metrics, PidsStat, RdmaEntry, RdmaStat, Throttle,
};
use containerd_shim_protos::protobuf::MessageField;

use crate::Error;
use crate::files::read_file;
use crate::host::Host;

use super::figures::{FILE_MAX, Files, Table, filled, huge_page_sizes, number, rdma_devices};
use super::find::Machine;

/// Nanoseconds of the unit in `cpuacct.stat`, which is 1/100 s (`USER_HZ`) for every program.
const TICK: u64 = 10_000_000;

/// Reads the figures of each controller. One that is not mounted has none.
pub(super) fn metrics<H: Host>(
    host: &mut H,
    directories: &BTreeMap<String, PathBuf>,
    machine: &Machine<'_>,
) -> Result<Metrics, Error> {
    let mut metrics = Metrics::default();
    let cpu = metrics.cpu.mut_or_insert_default();
    *cpu = CPUStat {
        usage: MessageField::some(CPUUsage::default()),
        throttling: MessageField::some(Throttle::default()),
        ..Default::default()
    };
    for (controller, directory) in directories {
        let files = &mut Files { host, directory };
        match controller.as_str() {
            "cpu" => cpu.throttling = MessageField::some(throttling(files)?),
            "cpuacct" => cpu.usage = MessageField::some(cpu_usage(files)?),
            "memory" => {
                metrics.memory = memory(files)?;
                metrics.memory_oom_control = oom_control(files)?;
            }
            "pids" => metrics.pids = MessageField::some(pids(files)?),
            "blkio" => metrics.blkio = MessageField::some(blkio(files, machine)?),
            "hugetlb" => metrics.hugetlb = huge_pages(files, machine)?,
            "rdma" => metrics.rdma = MessageField::some(rdma(files)?),
            _ => {}
        }
    }
    Ok(metrics)
}

fn throttling<H: Host>(files: &mut Files<'_, H>) -> Result<Throttle, Error> {
    let text = files.text("cpu.stat")?;
    let table = Table::parse(&text);
    Ok(Throttle {
        periods: table.get("nr_periods"),
        throttled_periods: table.get("nr_throttled"),
        throttled_time: table.get("throttled_time"),
        ..Default::default()
    })
}

fn cpu_usage<H: Host>(files: &mut Files<'_, H>) -> Result<CPUUsage, Error> {
    let text = files.text("cpuacct.stat")?;
    let table = Table::parse(&text);
    let per_cpu = files.text("cpuacct.usage_percpu")?;
    Ok(CPUUsage {
        total: files.number("cpuacct.usage")?,
        user: table.get("user").saturating_mul(TICK),
        kernel: table.get("system").saturating_mul(TICK),
        per_cpu: per_cpu.split_whitespace().map(number).collect(),
        ..Default::default()
    })
}

fn pids<H: Host>(files: &mut Files<'_, H>) -> Result<PidsStat, Error> {
    let limit = files.number("pids.max")?;
    Ok(PidsStat {
        current: files.number("pids.current")?,
        // In this message no limit is 0.
        limit: if limit == u64::MAX { 0 } else { limit },
        ..Default::default()
    })
}

fn memory<H: Host>(files: &mut Files<'_, H>) -> Result<MessageField<MemoryStat>, Error> {
    let text = files.text("memory.stat")?;
    if text.is_empty() {
        return Ok(MessageField::none());
    }
    let table = Table::parse(&text);
    let mut stat = filled!(
        MemoryStat,
        table,
        [
            cache,
            rss,
            rss_huge,
            mapped_file,
            dirty,
            writeback,
            inactive_anon,
            active_anon,
            inactive_file,
            active_file,
            unevictable,
            hierarchical_memory_limit,
            total_cache,
            total_rss,
            total_rss_huge,
            total_mapped_file,
            total_dirty,
            total_writeback,
            total_inactive_anon,
            total_active_anon,
            total_inactive_file,
            total_active_file,
            total_unevictable,
        ]
    );
    stat.pg_pg_in = table.get("pgpgin");
    stat.pg_pg_out = table.get("pgpgout");
    stat.pg_fault = table.get("pgfault");
    stat.pg_maj_fault = table.get("pgmajfault");
    stat.hierarchical_swap_limit = table.get("hierarchical_memsw_limit");
    stat.total_pg_pg_in = table.get("total_pgpgin");
    stat.total_pg_pg_out = table.get("total_pgpgout");
    stat.total_pg_fault = table.get("total_pgfault");
    stat.total_pg_maj_fault = table.get("total_pgmajfault");
    stat.usage = memory_entry(files, "memory")?;
    stat.swap = memory_entry(files, "memory.memsw")?;
    stat.kernel = memory_entry(files, "memory.kmem")?;
    stat.kernel_tcp = memory_entry(files, "memory.kmem.tcp")?;
    Ok(MessageField::some(stat))
}

/// Reads the four files of one kind of memory; all 0 if that kind is not counted here.
fn memory_entry<H: Host>(
    files: &mut Files<'_, H>,
    kind: &str,
) -> Result<MessageField<MemoryEntry>, Error> {
    let usage = files.text(&format!("{kind}.usage_in_bytes"))?;
    if usage.is_empty() {
        return Ok(MessageField::some(MemoryEntry::default()));
    }
    Ok(MessageField::some(MemoryEntry {
        usage: number(&usage),
        max: files.number(&format!("{kind}.max_usage_in_bytes"))?,
        failcnt: files.number(&format!("{kind}.failcnt"))?,
        limit: files.number(&format!("{kind}.limit_in_bytes"))?,
        ..Default::default()
    }))
}

fn oom_control<H: Host>(files: &mut Files<'_, H>) -> Result<MessageField<MemoryOomControl>, Error> {
    let text = files.text("memory.oom_control")?;
    if text.is_empty() {
        return Ok(MessageField::none());
    }
    let table = Table::parse(&text);
    let control = filled!(MemoryOomControl, table, [oom_kill_disable, under_oom, oom_kill]);
    Ok(MessageField::some(control))
}

/// Reads what was counted by the scheduler CFQ of old kernels; where it has not counted, what was
/// counted on the way to the devices.
fn blkio<H: Host>(files: &mut Files<'_, H>, machine: &Machine<'_>) -> Result<BlkIOStat, Error> {
    let mut stat = BlkIOStat::default();
    let mut entries = |name: &str| Ok::<_, Error>(blkio_entries(&files.text(name)?));
    stat.io_serviced_recursive = entries("blkio.io_serviced_recursive")?;
    if stat.io_serviced_recursive.is_empty() {
        stat.io_serviced_recursive = entries("blkio.throttle.io_serviced")?;
        stat.io_service_bytes_recursive = entries("blkio.throttle.io_service_bytes")?;
    } else {
        stat.io_service_bytes_recursive = entries("blkio.io_service_bytes_recursive")?;
        stat.io_queued_recursive = entries("blkio.io_queued_recursive")?;
        stat.io_service_time_recursive = entries("blkio.io_service_time_recursive")?;
        stat.io_wait_time_recursive = entries("blkio.io_wait_time_recursive")?;
        stat.io_merged_recursive = entries("blkio.io_merged_recursive")?;
        stat.io_time_recursive = entries("blkio.time_recursive")?;
        stat.sectors_recursive = entries("blkio.sectors_recursive")?;
    }
    name_devices(files.host, &mut stat, machine);
    Ok(stat)
}

/// Reads the lines like `8:0 Read 4096` or `8:0 4096` of a file; `Total 4096` is none of them.
fn blkio_entries(text: &str) -> Vec<BlkIOEntry> {
    let entry = |line: &str| {
        let mut words = line.split_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let (op, value) = match (words.next()?, words.next()) {
            (op, Some(value)) => (op, value),
            (value, None) => ("", value),
        };
        Some(BlkIOEntry {
            op: op.to_owned(),
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
            value: number(value),
            ..Default::default()
        })
    };
    text.lines().filter_map(entry).collect()
}

/// Gives each device its name; one that is not known keeps none.
fn name_devices<H: Host>(host: &mut H, stat: &mut BlkIOStat, machine: &Machine<'_>) {
    let lists = [
        &mut stat.io_service_bytes_recursive,
        &mut stat.io_serviced_recursive,
        &mut stat.io_queued_recursive,
        &mut stat.io_service_time_recursive,
        &mut stat.io_wait_time_recursive,
        &mut stat.io_merged_recursive,
        &mut stat.io_time_recursive,
        &mut stat.sectors_recursive,
    ];
    let mut entries = lists.into_iter().flatten().peekable();
    if entries.peek().is_none() {
        return;
    }
    let file = Path::new(machine.proc).join("partitions");
    let partitions = read_file(host, &file, FILE_MAX).unwrap_or_default();
    let names = device_names(&String::from_utf8_lossy(&partitions));
    for entry in entries {
        entry.device = names.get(&(entry.major, entry.minor)).cloned().unwrap_or_default();
    }
}

/// Reads the lines like `   8        0  488386584 sda` of `/proc/partitions`.
fn device_names(partitions: &str) -> BTreeMap<(u64, u64), String> {
    let mut names = BTreeMap::new();
    for line in partitions.lines() {
        let mut words = line.split_whitespace();
        let mut number = || words.next()?.parse().ok();
        if let (Some(major), Some(minor), Some(name)) = (number(), number(), words.nth(1)) {
            names.entry((major, minor)).or_insert_with(|| format!("/dev/{name}"));
        }
    }
    names
}

fn huge_pages<H: Host>(
    files: &mut Files<'_, H>,
    machine: &Machine<'_>,
) -> Result<Vec<HugetlbStat>, Error> {
    let mut stats = Vec::new();
    for size in huge_page_sizes(files.host, machine) {
        stats.push(HugetlbStat {
            usage: files.number(&format!("hugetlb.{size}.usage_in_bytes"))?,
            max: files.number(&format!("hugetlb.{size}.max_usage_in_bytes"))?,
            failcnt: files.number(&format!("hugetlb.{size}.failcnt"))?,
            pagesize: size,
            ..Default::default()
        });
    }
    Ok(stats)
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
