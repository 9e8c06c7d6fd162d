//! On which kind of file system a path lies. Pure but for the one reading of the mount table.
//!
//! SQLite's locks and shared memory are not safe on network file systems, so `sqlite` asks here
//! first. Where there is no mount table (not Linux) nothing is known and nothing is refused.

use std::fs;
use std::path::{Path, PathBuf};

/// File systems whose files other machines may change, as the mount table names them. A FUSE file
/// system is refused whole (`fuse.sshfs`, `fuse.s3fs` …) but for the ones in `LOCAL_FUSE`.
const NETWORK: [&str; 16] = [
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "gfs2",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "ocfs2",
    "orangefs",
    "smb3",
    "smbfs",
];
/// FUSE file systems over local disks: the root of rootless containers.
const LOCAL_FUSE: [&str; 1] = ["fuse.fuse-overlayfs"];

/// The network file system on which `path` lies, if it lies on one.
pub(super) fn network_file_system(path: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = kind_of(&mounts, path)?;
    is_network(kind).then(|| kind.to_owned())
}

fn is_network(kind: &str) -> bool {
    let fuse = kind == "fuse" || kind.starts_with("fuse.");
    NETWORK.contains(&kind) || kind == "gpfs" || (fuse && !LOCAL_FUSE.contains(&kind))
}

/// The kind of the file system that holds an absolute path without links: that of the longest
/// mount point above it, and of several on the same point the last, which hides the others.
fn kind_of<'a>(mounts: &'a str, path: &Path) -> Option<&'a str> {
    let mut best: Option<(usize, &str)> = None;
    for line in mounts.lines() {
        let Some((point, kind)) = mount(line) else { continue };
        let depth = point.components().count();
        if path.starts_with(&point) && best.is_none_or(|(deepest, _)| depth >= deepest) {
            best = Some((depth, kind));
        }
    }
    best.map(|(_, kind)| kind)
}

/// Mount point and kind of one line: `36 35 98:0 /root /point opts … - kind source opts`.
fn mount(line: &str) -> Option<(PathBuf, &str)> {
    let (before, after) = line.split_once(" - ")?;
    let point = before.split(' ').nth(4)?;
    Some((PathBuf::from(unescape(point)), after.split(' ').next()?))
}

/// Undoes the mount table's octal escapes of space, tab, newline and backslash.
fn unescape(point: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(point.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
23 22 0:5 / /srv rw - nfs4 host:/export rw
24 23 0:6 / /srv/fast rw master:1 - xfs /dev/vdb rw
25 22 0:7 / /mnt/with\\040space rw - fuse.sshfs host: rw
26 22 0:8 / /over rw - ext4 /dev/vdc rw
27 26 0:9 / /over rw - cifs //host/share rw
broken line
28 22 0:9 / /home rw - fuse.fuse-overlayfs x rw
";

    #[test]
    fn the_deepest_and_last_mount_counts() {
        for (path, expected) in [
            ("/var/lib/warren.db", None),
            ("/srv/warren.db", Some("nfs4")),
            ("/srvx/warren.db", None),
            ("/srv/fast/warren.db", None),
            ("/mnt/with space/a", Some("fuse.sshfs")),
            ("/over/a", Some("cifs")),
            ("/home/a", None),
        ] {
            let kind = kind_of(MOUNTS, Path::new(path)).filter(|kind| is_network(kind));
            assert_eq!(kind, expected, "{path}");
        }
        assert_eq!(kind_of("", Path::new("/a")), None);
    }
}
