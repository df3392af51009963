//! How much memory this process may still take.

use std::fs;

/// What the system has, or its cgroup (v2 or v1) leaves. `None` where neither can be read.
pub(super) fn free_bytes() -> Option<usize> {
    let cgroup = cgroup_v2().or_else(cgroup_v1);
    [system(), cgroup].into_iter().flatten().min()
}

fn system() -> Option<usize> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: usize = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

fn cgroup_v2() -> Option<usize> {
    let folder = "/sys/fs/cgroup";
    let limit = number(&format!("{folder}/memory.max"))?;
    let used = number(&format!("{folder}/memory.current"))?;
    let stat = fs::read_to_string(format!("{folder}/memory.stat")).unwrap_or_default();
    Some(left(limit, used, &stat))
}

fn cgroup_v1() -> Option<usize> {
    let folder = "/sys/fs/cgroup/memory";
    let limit = number(&format!("{folder}/memory.limit_in_bytes"))?;
    let used = number(&format!("{folder}/memory.usage_in_bytes"))?;
    let stat = fs::read_to_string(format!("{folder}/memory.stat")).unwrap_or_default();
    Some(left(limit, used, &stat))
}

/// What the limit leaves; cached files count as free, since the kernel gives them up first.
fn left(limit: usize, used: usize, stat: &str) -> usize {
    let cached = |key: &str| {
        let line = stat.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|value| value.trim().parse::<usize>().ok())
            .unwrap_or(0)
    };
    let cached = cached("inactive_file ") + cached("active_file ");
    limit.saturating_sub(used.saturating_sub(cached))
}

fn number(path: &str) -> Option<usize> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_files_count_as_free() {
        let stat = "anon 10\nfile 70\ninactive_file 40\nactive_file 20\n";
        assert_eq!(left(100, 80, stat), 80);
        assert_eq!(left(100, 80, ""), 20);
        assert_eq!(left(100, 120, ""), 0);
    }
}
