//! Random histories: the same for the same seed, shrunk when they fail.

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::history::histories;
use super::play::play;

#[test]
fn whatever_happens_an_export_ends_exact() {
    let histories: u64 = setting("EXPORT_HISTORIES", 2_000);
    let first: u64 = setting("EXPORT_SEED", 0);
    for seed in first..first + histories {
        play_seed(seed);
    }
}

fn play_seed(seed: u64) {
    let config = Config { cases: 1, failure_persistence: None, max_shrink_iters: 20_000, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let played = TestRunner::new_with_rng(config, random)
        .run(&histories(), |history| play(&history).map_err(TestCaseError::fail));
    match played {
        Ok(()) => {}
        Err(TestError::Fail(_, history)) => {
            let why = play(&history).expect_err("a history always goes the same way");
            panic!("EXPORT_SEED={seed} EXPORT_HISTORIES=1\n{history:#?}\n{why}");
        }
        Err(TestError::Abort(why)) => panic!("EXPORT_SEED={seed}: {why}"),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number")))
}
