//! CPU time and memory of processes and of the machine, from /proc; `None` where there is none.

/// Clock ticks per second in /proc; fixed at 100 on Linux for user space.
const TICKS_PER_SECOND: f64 = 100.0;

/// User and system CPU time of a process (`self` or an id) so far, in seconds.
pub fn cpu_seconds(process: &str) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold blanks.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS_PER_SECOND)
}

/// Resident memory of a process, in MiB.
pub fn resident_mib(process: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    Some(resident_kib(&status)? / 1024.0)
}

/// In kB there, and so without the size of a page, which differs between machines.
fn resident_kib(status: &str) -> Option<f64> {
    let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Busy time of all CPUs of the machine so far, in CPU seconds.
fn machine_busy_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/stat").ok()?;
    let ticks: Vec<f64> =
        stat.lines().next()?.split_whitespace().skip(1).map_while(|field| field.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; guests are counted in the first two.
    let sum = |fields: &[usize]| fields.iter().map(|&at| ticks.get(at).copied().unwrap_or(0.0)).sum::<f64>();
    (ticks.len() >= 4).then(|| sum(&[0, 1, 2, 5, 6, 7]) / TICKS_PER_SECOND)
}

/// CPU time so far, of this process and of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cpu {
    own: f64,
    machine: f64,
}

impl Cpu {
    pub(crate) fn now() -> Option<Self> {
        Some(Cpu { own: cpu_seconds("self")?, machine: machine_busy_seconds()? })
    }

    /// CPUs that this process and the machine kept busy since, over so many seconds.
    pub(crate) fn busy_since(self, seconds: f64) -> Option<(f64, f64)> {
        let now = Cpu::now()?;
        (seconds > 0.0).then(|| ((now.own - self.own) / seconds, (now.machine - self.machine) / seconds))
    }
}

/// CPUs of this machine that this process may use.
pub(crate) fn cpus() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn work_shows() {
        let before = Cpu::now().unwrap();
        let began = std::time::Instant::now();
        let mut sum = 0u64;
        while cpu_seconds("self").unwrap() < before.own + 0.03 {
            sum = sum.wrapping_mul(31).wrapping_add(1);
        }
        let (own, machine) = before.busy_since(began.elapsed().as_secs_f64()).unwrap();
        assert!(own > 0.0 && machine > 0.0, "{own} {machine} {sum}");
        assert!(resident_mib("self").unwrap() > 1.0);
    }

    #[test]
    fn resident_memory_is_told_in_kib_whatever_a_page_is() {
        assert_eq!(resident_kib("VmPeak:\t  9 kB\nVmRSS:\t    2048 kB\nRssAnon:\t 1 kB\n"), Some(2048.0));
        // A thread of the kernel has none.
        assert_eq!(resident_kib("Name:\tkthreadd\nThreads:\t1\n"), None);
    }
}
