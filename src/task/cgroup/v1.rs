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

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;
    use crate::host::LinuxHost;

    /// What Linux 6.1 shows of a container with limits of everything.
    const FILES: [(&str, &str); 27] = [
        ("cpu/cpu.stat", "nr_periods 10\nnr_throttled 4\nthrottled_time 500\nnr_bursts 0\n"),
        ("cpu/cpuacct.stat", "user 123\nsystem 45\n"),
        ("cpu/cpuacct.usage", "1712345678\n"),
        ("cpu/cpuacct.usage_percpu", "1700000000 12345678 \n"),
        ("memory/memory.stat", MEMORY_STAT),
        ("memory/memory.usage_in_bytes", "100\n"),
        ("memory/memory.max_usage_in_bytes", "200\n"),
        ("memory/memory.failcnt", "3\n"),
        ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ("memory/memory.kmem.usage_in_bytes", "10\n"),
        ("memory/memory.kmem.max_usage_in_bytes", "20\n"),
        ("memory/memory.kmem.failcnt", "0\n"),
        ("memory/memory.kmem.limit_in_bytes", "30\n"),
        ("memory/memory.oom_control", "oom_kill_disable 1\nunder_oom 1\noom_kill 2\n"),
        ("pids/pids.current", "5\n"),
        ("pids/pids.max", "77\n"),
        ("blkio/blkio.throttle.io_service_bytes", BLKIO),
        ("blkio/blkio.throttle.io_serviced", "Total 0\n"),
        ("hugetlb/hugetlb.2MB.usage_in_bytes", "2097152\n"),
        ("hugetlb/hugetlb.2MB.max_usage_in_bytes", "4194304\n"),
        ("hugetlb/hugetlb.2MB.failcnt", "6\n"),
        ("huge_pages/hugepages-2048kB/free_hugepages", "0\n"),
        ("rdma/rdma.current", "mlx4_0 hca_handle=2 hca_object=2000\n"),
        ("rdma/rdma.max", "mlx4_0 hca_handle=3 hca_object=max\n"),
        ("proc/partitions", PARTITIONS),
        ("freezer/freezer.state", "THAWED\n"),
        ("systemd/cgroup.procs", "1\n"),
    ];
    const BLKIO: &str = "8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\n9:1 Read 1\nTotal 12289\n";
    const PARTITIONS: &str = "major minor  #blocks  name\n\n   8        0  488386584 sda\n\
                                 8        1     524288 sda1\n   8        0  488386584 again\n";
    const MEMORY_STAT: &str = "cache 1\nrss 2\nrss_huge 3\nshmem 99\nmapped_file 4\ndirty 5\n\
        writeback 6\npgpgin 7\npgpgout 8\npgfault 9\npgmajfault 10\ninactive_anon 11\n\
        active_anon 12\ninactive_file 13\nactive_file 14\nunevictable 15\n\
        hierarchical_memory_limit 16\nhierarchical_memsw_limit 17\ntotal_cache 18\ntotal_rss 19\n\
        total_rss_huge 20\ntotal_mapped_file 21\ntotal_dirty 22\ntotal_writeback 23\n\
        total_pgpgin 24\ntotal_pgpgout 25\ntotal_pgfault 26\ntotal_pgmajfault 27\n\
        total_inactive_anon 28\ntotal_active_anon 29\ntotal_inactive_file 30\n\
        total_active_file 31\ntotal_unevictable 32\n";

    fn read(fake: &Fake) -> Metrics {
        let controllers =
            ["cpu", "cpuacct", "memory", "pids", "blkio", "hugetlb", "rdma", "freezer", "systemd"];
        let directory = |name: &str| {
            let place = if name == "cpuacct" { "cpu" } else { name };
            (name.to_owned(), fake.path(place))
        };
        let directories = controllers.map(directory).into();
        metrics(&mut LinuxHost::new(), &directories, &fake.machine()).unwrap()
    }

    #[test]
    fn every_figure_is_in_its_field() {
        let metrics = read(&Fake::new(&FILES));
        let memory = &metrics.memory;
        let fields = [
            memory.cache,
            memory.rss,
            memory.rss_huge,
            memory.mapped_file,
            memory.dirty,
            memory.writeback,
            memory.pg_pg_in,
            memory.pg_pg_out,
            memory.pg_fault,
            memory.pg_maj_fault,
            memory.inactive_anon,
            memory.active_anon,
            memory.inactive_file,
            memory.active_file,
            memory.unevictable,
            memory.hierarchical_memory_limit,
            memory.hierarchical_swap_limit,
            memory.total_cache,
            memory.total_rss,
            memory.total_rss_huge,
            memory.total_mapped_file,
            memory.total_dirty,
            memory.total_writeback,
            memory.total_pg_pg_in,
            memory.total_pg_pg_out,
            memory.total_pg_fault,
            memory.total_pg_maj_fault,
            memory.total_inactive_anon,
            memory.total_active_anon,
            memory.total_inactive_file,
            memory.total_active_file,
            memory.total_unevictable,
        ];
        assert!(fields.iter().copied().eq(1..=32), "{fields:?}");
        let entry = |entry: &MemoryEntry| [entry.usage, entry.max, entry.failcnt, entry.limit];
        assert_eq!(entry(&memory.usage), [100, 200, 3, 9_223_372_036_854_771_712]);
        assert_eq!(entry(&memory.kernel), [10, 20, 0, 30]);
        assert_eq!((entry(&memory.swap), entry(&memory.kernel_tcp)), ([0; 4], [0; 4]));

        let oom = &metrics.memory_oom_control;
        assert_eq!([oom.oom_kill_disable, oom.under_oom, oom.oom_kill], [1, 1, 2]);
        let usage = &metrics.cpu.usage;
        assert_eq!(
            [usage.total, usage.user, usage.kernel],
            [1_712_345_678, 1_230_000_000, 450_000_000]
        );
        assert_eq!(usage.per_cpu, [1_700_000_000, 12_345_678]);
        let throttling = &metrics.cpu.throttling;
        let throttled = (throttling.throttled_periods, throttling.throttled_time);
        assert_eq!((throttling.periods, throttled), (10, (4, 500)));
        assert_eq!([metrics.pids.current, metrics.pids.limit], [5, 77]);
        let pages = metrics.hugetlb.first().unwrap();
        assert_eq!([pages.usage, pages.max, pages.failcnt], [2 << 20, 4 << 20, 6]);
        assert_eq!((pages.pagesize.as_str(), metrics.hugetlb.len()), ("2MB", 1));
        let rdma = [&metrics.rdma.current, &metrics.rdma.limit];
        let handles = rdma.map(|entries| entries.first().map(|first| first.hca_handles));
        assert_eq!(handles, [Some(2), Some(3)]);
    }

    fn entries(list: &[BlkIOEntry]) -> Vec<(String, String, u64)> {
        let entry = |entry: &BlkIOEntry| (entry.device.clone(), entry.op.clone(), entry.value);
        list.iter().map(entry).collect()
    }

    fn entry(device: &str, op: &str, value: u64) -> (String, String, u64) {
        (device.to_owned(), op.to_owned(), value)
    }

    #[test]
    fn devices_bear_their_names_and_totals_are_nobodys() {
        let blkio = read(&Fake::new(&FILES)).blkio;
        let sda = |op, value| entry("/dev/sda", op, value);
        let expected =
            [sda("Read", 4096), sda("Write", 8192), sda("Total", 12288), entry("", "Read", 1)];
        assert_eq!(entries(&blkio.io_service_bytes_recursive), expected);
        assert!(blkio.io_serviced_recursive.is_empty());
    }

    #[test]
    fn what_the_old_scheduler_counted_goes_first() {
        let fake = Fake::new(&FILES);
        fake.write("blkio/blkio.io_serviced_recursive", "8:0 Read 2\nTotal 2\n");
        fake.write("blkio/blkio.io_service_bytes_recursive", "8:0 Read 3\nTotal 3\n");
        fake.write("blkio/blkio.time_recursive", "8:0 4\n");
        let blkio = read(&fake).blkio;
        assert_eq!(entries(&blkio.io_serviced_recursive), [entry("/dev/sda", "Read", 2)]);
        assert_eq!(entries(&blkio.io_service_bytes_recursive), [entry("/dev/sda", "Read", 3)]);
        assert_eq!(entries(&blkio.io_time_recursive), [entry("/dev/sda", "", 4)]);
    }

    #[test]
    fn a_machine_without_controllers_has_no_figures() {
        let machine = Fake::new(&[]);
        let none = metrics(&mut LinuxHost::new(), &BTreeMap::new(), &machine.machine()).unwrap();
        let cpu = CPUStat {
            usage: MessageField::some(CPUUsage::default()),
            throttling: MessageField::some(Throttle::default()),
            ..Default::default()
        };
        assert_eq!(none, Metrics { cpu: MessageField::some(cpu), ..Default::default() });
    }
}
