//! Where the ids of requests, tokens and jobs come from.

use std::sync::Mutex;

use uuid::Uuid;

/// Random ids, or the same ones in every run.
#[derive(Debug)]
pub(crate) struct Ids(Option<Mutex<u64>>);

impl Ids {
    /// With a seed, ids that follow from it; else random ones.
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self(seed.map(Mutex::new))
    }

    pub(crate) fn next(&self) -> Uuid {
        let Some(state) = &self.0 else {
            return Uuid::new_v4();
        };
        let mut state = state.lock().expect("no holder of the lock panics");
        let (high, low) = (split_mix(&mut state), split_mix(&mut state));
        uuid::Builder::from_random_bytes((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
            .into_uuid()
    }
}

/// SplitMix64: as random as ids have to look.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_ids_each_time_and_none_twice() {
        let ids = |seed| {
            let ids = Ids::new(seed);
            [ids.next(), ids.next(), ids.next()]
        };
        assert_eq!(ids(Some(1)), ids(Some(1)));
        assert_ne!(ids(Some(1)), ids(Some(2)));
        assert_ne!(ids(None), ids(None));
        let [first, second, third] = ids(Some(1));
        assert!(first != second && second != third);
        assert_eq!(first.get_version_num(), 4);
    }
}
