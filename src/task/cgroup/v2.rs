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

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::super::fake::Fake;
    use super::*;
    use crate::host::LinuxHost;

    /// What Linux 6.8 shows of a container with limits of everything.
    const FILES: [(&str, &str); 26] = [
        ("web/cpu.stat", CPU_STAT),
        ("web/cpu.pressure", PRESSURE),
        ("web/memory.stat", MEMORY_STAT),
        ("web/memory.current", "73400320\n"),
        ("web/memory.max", "104857600\n"),
        ("web/memory.peak", "104857601\n"),
        ("web/memory.swap.current", "4096\n"),
        ("web/memory.swap.max", "max\n"),
        ("web/memory.swap.peak", "8192\n"),
        ("web/memory.pressure", PRESSURE),
        ("web/memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n"),
        ("web/pids.current", "12\n"),
        ("web/pids.max", "4096\n"),
        (
            "web/rdma.current",
            "mlx4_0 hca_handle=2 hca_object=2000\nocrdma1 hca_handle=0 hca_object=0\n",
        ),
        (
            "web/rdma.max",
            "mlx4_0 hca_handle=3 hca_object=max\nocrdma1 hca_handle=max hca_object=max\n",
        ),
        ("web/io.stat", IO_STAT),
        ("web/io.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"),
        ("web/hugetlb.2MB.current", "4194304\n"),
        ("web/hugetlb.2MB.max", "max\n"),
        ("web/hugetlb.2MB.events", "max 9\n"),
        ("web/hugetlb.1GB.current", "0\n"),
        ("web/hugetlb.1GB.max", "1073741824\n"),
        ("web/hugetlb.1GB.events", "max 0\n"),
        ("huge_pages/hugepages-2048kB/free_hugepages", "0\n"),
        ("huge_pages/hugepages-1048576kB/free_hugepages", "0\n"),
        ("huge_pages/hugepages-64kB/free_hugepages", "0\n"),
    ];
    const CPU_STAT: &str = "usage_usec 9001\nuser_usec 6001\nsystem_usec 3000\nnice_usec 0\n\
        core_sched.force_idle_usec 0\nnr_periods 7\nnr_throttled 6\nthrottled_usec 5\n\
        nr_bursts 4\nburst_usec 3\n";
    const PRESSURE: &str = "some avg10=1.53 avg60=0.87 avg300=0.10 total=1045\n\
        full avg10=0.50 avg60=0.25 avg300=0.05 total=77\n";
    const IO_STAT: &str = "8:16 rbytes=1459200 wbytes=314773504 rios=192 wios=353 dbytes=0 dios=0\n\
        7:7 7:6 254:0 rbytes=11 wbytes=12 rios=13 wios=14 dbytes=5 dios=6\n7:5 \n";
    const MEMORY_STAT: &str = "anon 1\nfile 2\nkernel 99\nkernel_stack 3\npagetables 98\nsock 5\n\
        shmem 6\nfile_mapped 7\nfile_dirty 8\nfile_writeback 9\nanon_thp 10\ninactive_anon 11\n\
        active_anon 12\ninactive_file 13\nactive_file 14\nunevictable 15\nslab_reclaimable 16\n\
        slab_unreclaimable 17\nslab 4\nworkingset_refault_anon 20\nworkingset_refault_file 200\n\
        workingset_activate_anon 21\nworkingset_activate_file 210\nworkingset_nodereclaim 22\n\
        pgscan 24\npgsteal 25\npgfault 18\npgmajfault 19\npgrefill 23\npgactivate 26\n\
        pgdeactivate 27\npglazyfree 28\npglazyfreed 29\nthp_fault_alloc 30\nthp_collapse_alloc 31\n";

    fn read(fake: &Fake) -> Metrics {
        metrics(&mut LinuxHost::new(), &fake.path("web"), &fake.machine()).unwrap()
    }

    #[test]
    fn every_figure_is_in_its_field() {
        let metrics = read(&Fake::new(&FILES));
        let memory = &metrics.memory;
        let fields = [
            memory.anon,
            memory.file,
            memory.kernel_stack,
            memory.slab,
            memory.sock,
            memory.shmem,
            memory.file_mapped,
            memory.file_dirty,
            memory.file_writeback,
            memory.anon_thp,
            memory.inactive_anon,
            memory.active_anon,
            memory.inactive_file,
            memory.active_file,
            memory.unevictable,
            memory.slab_reclaimable,
            memory.slab_unreclaimable,
            memory.pgfault,
            memory.pgmajfault,
        ];
        assert!(fields.iter().copied().eq(1..=19), "{fields:?}");
        assert_eq!((memory.workingset_refault, memory.workingset_activate), (220, 231));
        let fields = [
            memory.workingset_nodereclaim,
            memory.pgrefill,
            memory.pgscan,
            memory.pgsteal,
            memory.pgactivate,
            memory.pgdeactivate,
            memory.pglazyfree,
            memory.pglazyfreed,
            memory.thp_fault_alloc,
            memory.thp_collapse_alloc,
        ];
        assert!(fields.iter().copied().eq(22..=31), "{fields:?}");
        let usage = [memory.usage, memory.usage_limit, memory.max_usage];
        assert_eq!(usage, [73_400_320, 104_857_600, 104_857_601]);
        let swap = [memory.swap_usage, memory.swap_limit, memory.swap_max_usage];
        assert_eq!(swap, [4096, u64::MAX, 8192]);

        let cpu = &metrics.cpu;
        assert_eq!([cpu.usage_usec, cpu.user_usec, cpu.system_usec], [9001, 6001, 3000]);
        assert_eq!([cpu.nr_periods, cpu.nr_throttled, cpu.throttled_usec], [7, 6, 5]);
        assert_eq!([cpu.nr_bursts, cpu.burst_usec], [4, 3]);

        let events = &metrics.memory_events;
        assert_eq!([events.low, events.high, events.max], [1, 2, 3]);
        assert_eq!([events.oom, events.oom_kill, events.oom_group_kill], [4, 5, 6]);
        assert_eq!([metrics.pids.current, metrics.pids.limit], [12, 4096]);
    }

    #[test]
    fn pressure_is_told_where_it_is_measured() {
        let metrics = read(&Fake::new(&FILES));
        for psi in [&metrics.cpu.psi, &metrics.memory.psi] {
            let (some, full) = (&psi.some, &psi.full);
            assert_eq!(
                ([some.avg10, some.avg60, some.avg300], some.total),
                ([1.53, 0.87, 0.10], 1045)
            );
            assert_eq!(
                ([full.avg10, full.avg60, full.avg300], full.total),
                ([0.5, 0.25, 0.05], 77)
            );
        }
        assert!(metrics.io.psi.some.is_some() && metrics.io.psi.full.is_none());
    }

    #[test]
    fn devices_and_huge_pages_are_listed_one_by_one() {
        let metrics = read(&Fake::new(&FILES));
        let io = |entry: &IOEntry| {
            ((entry.major, entry.minor), [entry.rbytes, entry.wbytes, entry.rios, entry.wios])
        };
        let usage: Vec<_> = metrics.io.usage.iter().map(io).collect();
        let (first, second) = ([1_459_200, 314_773_504, 192, 353], [11, 12, 13, 14]);
        assert_eq!(usage, [((8, 16), first), ((254, 0), second), ((7, 5), [0; 4])]);

        let rdma = |entry: &RdmaEntry| (entry.device.clone(), entry.hca_handles, entry.hca_objects);
        let devices = |entries: &[RdmaEntry]| entries.iter().map(rdma).collect::<Vec<_>>();
        let (mlx, ocrdma) = (|| "mlx4_0".to_owned(), || "ocrdma1".to_owned());
        assert_eq!(devices(&metrics.rdma.current), [(mlx(), 2, 2000), (ocrdma(), 0, 0)]);
        let limits = [(mlx(), 3, u32::MAX), (ocrdma(), u32::MAX, u32::MAX)];
        assert_eq!(devices(&metrics.rdma.limit), limits);

        let pages =
            |stat: &HugeTlbStat| (stat.pagesize.clone(), [stat.current, stat.max, stat.failcnt]);
        let pages: Vec<_> = metrics.hugetlb.iter().map(pages).collect();
        let (large, small) = ([0, 1 << 30, 0], [4 << 20, u64::MAX, 9]);
        assert_eq!(pages, [("1GB".to_owned(), large), ("2MB".to_owned(), small)]);
    }

    #[test]
    fn controllers_that_are_off_are_nothing_to_fail_for() {
        let metrics = read(&Fake::new(&[("web/pids.current", "1\n")]));
        let expected = Metrics {
            pids: MessageField::some(PidsStat { current: 1, ..Default::default() }),
            cpu: MessageField::some(CPUStat::default()),
            memory: MessageField::some(MemoryStat::default()),
            rdma: MessageField::some(RdmaStat::default()),
            io: MessageField::some(IOStat::default()),
            ..Default::default()
        };
        assert_eq!(metrics, expected);
    }

    #[rstest]
    #[case::empty("")]
    #[case::half_a_device("8: rbytes=1")]
    #[case::letters("a:b rbytes=1")]
    #[case::no_device("rbytes=1")]
    fn a_line_that_is_none_is_left_out(#[case] line: &str) {
        assert_eq!(io_entry(line), None);
    }
}
