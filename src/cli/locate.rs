//! Which settings file counts. Decides only; the caller looks what exists.

use std::path::{Path, PathBuf};

use thiserror::Error;

/// Where a file is looked for that nobody named.
const USUAL: [&str; 3] = ["./conf/warren.toml", "./warren.toml", "/etc/warren/warren.toml"];

/// A settings file, and why it is that one.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Located {
    pub(super) path: PathBuf,
    pub(super) why: &'static str,
}

/// No file was named, and none is where it is looked for.
#[derive(Debug, PartialEq, Eq, Error)]
#[error(
    "no settings file: looked for {}; name one with `--config FILE` or $WARREN_CONFIG",
    USUAL.join(", ")
)]
pub(super) struct NoConfig;

/// Finds the settings file: the flag, else the environment, else the first usual one there is.
pub(super) fn locate(
    flag: Option<&Path>,
    variable: Option<String>,
    exists: impl Fn(&Path) -> bool,
) -> Result<Located, NoConfig> {
    if let Some(path) = flag {
        return Ok(Located { path: path.to_owned(), why: "named by --config" });
    }
    if let Some(path) = variable.filter(|path| !path.is_empty()) {
        return Ok(Located { path: path.into(), why: "named by $WARREN_CONFIG" });
    }
    let found = USUAL.iter().map(Path::new).find(|path| exists(path)).ok_or(NoConfig)?;
    Ok(Located { path: found.to_owned(), why: "found; name another with --config" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_counts() {
        let file = |name: &str, why| Ok(Located { path: name.into(), why });
        let env = || Some("env.toml".to_owned());
        let nothing = |_: &Path| false;
        let flag = Some(Path::new("flag.toml"));
        assert_eq!(locate(flag, env(), nothing), file("flag.toml", "named by --config"));
        assert_eq!(locate(None, env(), nothing), file("env.toml", "named by $WARREN_CONFIG"));
        let usual = "found; name another with --config";
        assert_eq!(locate(None, Some(String::new()), |_| true), file("./conf/warren.toml", usual));
        let etc = |path: &Path| path.starts_with("/etc");
        assert_eq!(locate(None, None, etc), file("/etc/warren/warren.toml", usual));
        assert_eq!(locate(None, None, nothing), Err(NoConfig));
    }
}
