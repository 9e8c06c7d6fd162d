//! The image without a container engine: what the Dockerfile's RUN line lays out is complete enough
//! to start the binary in it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

/// Runs the layout script into `root` with the binary under test.
fn lay_out(root: &Path) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/image/layout.sh");
    let told = Command::new(script)
        .arg(root)
        .arg(env!("CARGO_BIN_EXE_warren"))
        .output()
        .expect("the script starts");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
}

/// Whether this process may change its root, which shows best that nothing is missing.
fn may_change_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0)
}

#[test]
fn warren_check_starts_from_the_image() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    lay_out(folder.path());

    let mut command = if may_change_root() {
        let mut chroot = Command::new("chroot");
        chroot.arg(folder.path()).arg("/usr/local/bin/warren");
        chroot.args(["check", "--offline", "--config", "/etc/warren/warren.toml"]);
        chroot
    } else {
        let mut plain = Command::new(folder.path().join("usr/local/bin/warren"));
        plain.args(["check", "--offline", "--config"]);
        plain.arg(folder.path().join("etc/warren/warren.toml"));
        plain
    };
    let told = command.output().expect("the binary starts");

    assert!(
        told.status.success(),
        "{}{}",
        String::from_utf8_lossy(&told.stdout),
        String::from_utf8_lossy(&told.stderr)
    );
}

#[test]
fn the_dockerfile_does_nothing_that_the_test_does_not() {
    let dockerfile = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/Dockerfile"))
        .expect("the Dockerfile");
    let runs: Vec<&str> = dockerfile.lines().filter_map(|line| line.strip_prefix("RUN ")).collect();
    assert_eq!(
        runs,
        [
            "cargo build --release --locked --bin warren",
            "deploy/image/layout.sh /image target/release/warren"
        ]
    );
    let user = dockerfile.lines().find(|line| line.starts_with("USER "));
    assert_eq!(user, Some("USER 10001:10001"), "the image must not run as root");
}
