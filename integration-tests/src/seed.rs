//! Printed, repeatable randomness.

/// The seed of this run: `SEED` from the environment, else from the clock. Printed first thing.
pub fn seed() -> u64 {
    let seed = std::env::var("SEED").ok().map_or_else(
        || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            u64::try_from(now.expect("after 1970").as_nanos() & u128::from(u64::MAX))
                .expect("masked to 64 bits")
        },
        |text| text.parse().expect("SEED is a number"),
    );
    println!("seed={seed}");
    seed
}

/// SplitMix64: small, repeatable, good enough to choose moments and keys.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// A generator that always gives the same numbers for the same seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }
}
