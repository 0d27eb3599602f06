//! The usual `process_*` metrics, from /proc; absent where there is no /proc.

use std::sync::{Mutex, PoisonError};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, Registry};

/// Clock ticks per second in /proc/self/stat; fixed at 100 on Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

pub(super) fn register(registry: &Registry) {
    let registered = ProcessCollector::new().and_then(|collector| registry.register(Box::new(collector)));
    if let Err(error) = registered {
        tracing::error!(%error, "the process metrics cannot be made");
    }
}

struct ProcessCollector {
    cpu: Counter,
    gauges: [Gauge; 6],
    /// Two scrapes at once would both add the same CPU time.
    sampling: Mutex<()>,
}

impl ProcessCollector {
    fn new() -> prometheus::Result<Self> {
        Ok(ProcessCollector {
            cpu: Counter::new("process_cpu_seconds_total", "User and system CPU time in seconds.")?,
            gauges: [
                Gauge::new("process_resident_memory_bytes", "Resident memory in bytes.")?,
                Gauge::new("process_virtual_memory_bytes", "Virtual memory in bytes.")?,
                Gauge::new("process_open_fds", "Open file descriptors.")?,
                Gauge::new("process_max_fds", "Limit of open file descriptors.")?,
                Gauge::new("process_threads", "Threads.")?,
                Gauge::new(
                    "process_start_time_seconds",
                    "Start of the process, seconds since the Unix epoch.",
                )?,
            ],
            sampling: Mutex::default(),
        })
    }

    /// Reads /proc; `None` where something is missing.
    fn sample(&self) -> Option<()> {
        let _one_at_a_time = self.sampling.lock().unwrap_or_else(PoisonError::into_inner);
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name may hold spaces; fields are counted after its closing parenthesis.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<f64>().ok();
        let cpu = (number(11)? + number(12)?) / TICKS_PER_SECOND;
        self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
        let [resident, virtual_memory, open, max, threads, start] = &self.gauges;
        resident.set(resident_bytes()?);
        virtual_memory.set(number(20)?);
        open.set(std::fs::read_dir("/proc/self/fd").ok()?.count() as f64);
        max.set(max_fds()?);
        threads.set(number(17)?);
        start.set(boot_time()? + number(19)? / TICKS_PER_SECOND);
        Some(())
    }
}

/// In kB there, and so without the size of a page, which differs between machines.
fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<f64>().ok()? * 1024.0)
}

fn max_fds() -> Option<f64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find(|line| line.starts_with("Max open files"))?;
    match line.split_whitespace().nth(3)? {
        // As other exporters show it.
        "unlimited" => Some(u64::MAX as f64),
        limit => limit.parse().ok(),
    }
}

fn boot_time() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

impl Collector for ProcessCollector {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = self.gauges.iter().flat_map(Collector::desc);
        self.cpu.desc().into_iter().chain(gauges).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        match self.sample() {
            Some(()) => self
                .cpu
                .collect()
                .into_iter()
                .chain(self.gauges.iter().flat_map(Collector::collect))
                .collect(),
            None => Vec::new(),
        }
    }
}
