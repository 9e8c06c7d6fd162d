//! Open files: each connection takes one, and each process has a limit. The soft limit is 1024 nearly
//! everywhere, for programs that could not bear more; whoever can is to raise it to the hard one.

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tracing::{info, warn};

/// Beside those who wait: 1,500 requests under way with a connection on each side, idle connections
/// to coordinators, and our own files.
const BESIDE: u64 = 4096;

/// Raises the limit as far as this process may, and tells it; warns if that is too low for `held`
/// requests that wait.
pub fn raise(held: usize) {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| (soft, hard))
    });
    match raised {
        Ok((from, to)) if from < to => info!(from, to, "the limit of open files was raised"),
        Ok(_) => {}
        Err(error) => warn!(%error, "the limit of open files cannot be raised"),
    }
    if let Some(complaint) = complaint(held) {
        warn!("{complaint}");
    }
}

/// What is wrong with the hard limit of this process, if it is too low for `held` requests that wait.
pub fn complaint(held: usize) -> Option<String> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    too_low(held, hard)
}

fn too_low(held: usize, hard: u64) -> Option<String> {
    let wanted = u64::try_from(held).unwrap_or(u64::MAX).saturating_add(BESIDE);
    (hard < wanted).then(|| {
        format!(
            "only {hard} files may be open at once, and each connection is one: with {held} requests \
             that wait (`limits.held`) there can be {wanted}; raise the hard limit (`ulimit -Hn`, \
             `LimitNOFILE=`) or lower `limits.held`"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_complains_of_what_cannot_be_opened() {
        assert_eq!(too_low(10_000, 14_096), None);
        let told = too_low(10_000, 14_095).expect("one too few");
        assert!(told.contains("only 14095 files") && told.contains("be 14096;"), "{told}");
        assert!(too_low(usize::MAX, 1 << 20).is_some());
    }
}
