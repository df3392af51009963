//! How many processors this process may use. A quota of one and a half gives two: two threads that are stopped for a quarter of the
//! time do more than one that never is.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
};

/// Those of its affinity, and no more than its cgroup's quota of either version, rounded up.
pub(super) fn processors() -> usize {
    // The standard library knows where a cgroup's files may be, and rounds the quota down.
    let whole = thread::available_parallelism().map_or(1, usize::from);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let more =
        quota(Path::new("/sys/fs/cgroup"), &groups).is_some_and(|quota| quota > whole as f64);
    if more && allowed(&status).is_some_and(|allowed| allowed > whole) {
        whole + 1
    } else {
        whole
    }
}

/// Processors of the affinity, from `/proc/self/status`.
fn allowed(status: &str) -> Option<usize> {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let count = |range: &str| {
        let (from, to) = range.split_once('-').unwrap_or((range, range));
        let (from, to): (usize, usize) = (from.parse().ok()?, to.parse().ok()?);
        to.checked_sub(from).map(|more| more + 1)
    };
    list.trim().split(',').map(count).sum()
}

/// The smallest quota of the group that `groups`, of `/proc/self/cgroup`, names and of those around it, in processors. `root` is where
/// cgroups are mounted.
fn quota(root: &Path, groups: &str) -> Option<f64> {
    let path = |version_1: bool| {
        groups.lines().find_map(|line| {
            let mut fields = line.splitn(3, ':').skip(1);
            let (controllers, path) = (fields.next()?, fields.next()?);
            let is_it = match version_1 {
                true => controllers.split(',').any(|controller| controller == "cpu"),
                false => controllers.is_empty(),
            };
            is_it.then(|| path.trim_start_matches('/'))
        })
    };
    match path(true) {
        Some(path) => {
            let mounts = ["cpu", "cpu,cpuacct"].map(|mount| root.join(mount));
            let mount = mounts.into_iter().find(|mount| mount.is_dir())?;
            smallest(&mount, path, &quota_v1)
        }
        None => smallest(root, path(false)?, &quota_v2),
    }
}

/// Of a group below `mount` and of those around it; of `mount` alone where a container sees its own group only.
fn smallest(mount: &Path, path: &str, quota: &dyn Fn(&Path) -> Option<f64>) -> Option<f64> {
    let group: PathBuf = mount.join(path);
    let groups = group
        .ancestors()
        .take_while(|group| group.starts_with(mount));
    groups.filter_map(quota).min_by(f64::total_cmp)
}

fn quota_v1(group: &Path) -> Option<f64> {
    let number = |file: &str| {
        let text = fs::read_to_string(group.join(file)).ok()?;
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|number| *number > 0.0)
    };
    Some(number("cpu.cfs_quota_us")? / number("cpu.cfs_period_us")?)
}

fn quota_v2(group: &Path) -> Option<f64> {
    let text = fs::read_to_string(group.join("cpu.max")).ok()?;
    let (quota, period) = text.trim().split_once(' ')?;
    Some(quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let path = root.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    #[test]
    fn processors_of_an_affinity_are_counted() {
        for (list, count) in [
            ("0", Some(1)),
            ("0-1", Some(2)),
            ("0-3,8,10-11", Some(7)),
            ("x", None),
            ("", None),
        ] {
            let status = format!("Name:\tx\nCpus_allowed_list:\t{list}\nMems_allowed:\t1\n");
            assert_eq!(allowed(&status), count, "{list}");
        }
        assert_eq!(allowed(""), None);
    }

    #[test]
    fn the_smallest_quota_counts_in_either_version() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        write(root, "pod/one/cpu.max", "max 100000\n");
        let v2 = "0::/pod/one\n";
        assert_eq!(quota(root, v2), None);
        write(root, "pod/cpu.max", "150000 100000\n");
        assert_eq!(quota(root, v2), Some(1.5));
        write(root, "pod/one/cpu.max", "50000 100000\n");
        assert_eq!(quota(root, v2), Some(0.5));

        let v1 = "4:memory:/pod\n2:cpu,cpuacct:/pod/one\n0::/\n";
        assert_eq!(quota(root, v1), None);
        write(root, "cpu,cpuacct/pod/one/cpu.cfs_quota_us", "-1\n");
        write(root, "cpu,cpuacct/pod/one/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(root, v1), None);
        write(root, "cpu,cpuacct/cpu.cfs_quota_us", "250000\n");
        write(root, "cpu,cpuacct/cpu.cfs_period_us", "100000\n");
        assert_eq!(quota(root, v1), Some(2.5));
        assert_eq!(quota(root, ""), None);
    }

    #[test]
    fn there_is_a_processor() {
        let whole = thread::available_parallelism().unwrap().get();
        assert!((whole..=whole + 1).contains(&processors()));
    }
}
