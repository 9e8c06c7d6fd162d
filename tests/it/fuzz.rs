//! The fuzz targets (`make fuzz`) without a fuzzer: on what lies in `fuzz/seeds`, on these with bytes
//! changed, and on bytes by chance.

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

#[expect(unreachable_pub, reason = "for the fuzzer it is a crate of its own")]
#[path = "../../fuzz/src/lib.rs"]
mod targets;

/// A target: its name, which is that of its folder, and what it does.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 4] = [
    ("facts", targets::facts),
    ("sql", targets::sql),
    ("tags", targets::tags),
    ("prepared", targets::prepared),
];

fn seeds_of(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

#[test]
fn the_seeds_of_the_fuzzer_hold() {
    for (name, run) in TARGETS {
        let seeds = seeds_of(name);
        assert!(seeds.len() >= 4, "{name}");
        seeds.iter().for_each(|seed| run(seed));
        // Also cut within.
        for seed in seeds.iter().filter(|seed| seed.len() < 500) {
            (0..seed.len()).for_each(|end| run(&seed[..end]));
        }
    }
}

#[test]
fn each_target_is_one_of_the_fuzzer() {
    let manifest = include_str!("../../fuzz/Cargo.toml");
    let names = manifest.lines().filter_map(|line| line.strip_prefix("path = \"fuzz_targets/"));
    let names: Vec<&str> = names.map(|name| name.trim_end_matches(".rs\"")).collect();
    assert_eq!(names, TARGETS.map(|(name, _)| name));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn bytes_by_chance_hold(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        TARGETS.iter().for_each(|(_, run)| run(&bytes));
    }

    #[test]
    fn seeds_with_bytes_changed_hold(
        target in 0..TARGETS.len(),
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
    ) {
        let (name, run) = TARGETS[target];
        let mut seed = seed.get(&seeds_of(name)).clone();
        if !seed.is_empty() {
            for (place, byte) in changes {
                let place = place.index(seed.len());
                seed[place] = byte;
            }
        }
        run(&seed);
    }
}
