//! The operating system's randomness, made to follow from the seed.
//!
//! std draws the keys of its hash maps from it, and kube keeps what is due in such maps: their
//! order would differ from run to run. kube's cache is a map of `ahash`, which draws some keys once
//! for the process and mixes them with addresses. Nothing in this binary needs real randomness.

use std::cell::Cell;

use ahash::{
    RandomState,
    random_state::{RandomSource, set_random_source},
};

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// Draws what is drawn once for the process, before any seed is run.
pub fn begin() {
    follow(0);
    set_random_source(OfThisThread).expect("no map of this kind exists yet");
    let _keys = RandomState::new();
}

/// Draws the keys of a new map of `ahash`.
struct OfThisThread;

impl RandomSource for OfThisThread {
    fn gen_hasher_seed(&self) -> usize {
        usize::from_le_bytes(std::array::from_fn(|_| next()))
    }
}

/// From now on this thread's randomness follows from the seed.
pub fn follow(seed: u64) {
    STATE.set(seed);
}

fn next() -> u8 {
    let drawn = STATE.try_with(|state| {
        let mixed = state
            .get()
            .wrapping_mul(0x5851_f42d_4c95_7f2d)
            .wrapping_add(0x1405_7b7e_f767_814f);
        state.set(mixed);
        mixed.to_le_bytes()[7]
    });
    // A thread that ends has no state left.
    drawn.unwrap_or(0x5a)
}

/// Stands for the C library's function of this name, which std calls.
///
/// # Safety
///
/// `buffer` is valid for `length` bytes, as the C library demands.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
#[expect(
    unsafe_code,
    reason = "the only place where std's hash keys can be had"
)]
unsafe extern "C" fn getrandom(buffer: *mut u8, length: usize, _flags: u32) -> isize {
    for offset in 0..length {
        // SAFETY: the caller gave a buffer of this length.
        unsafe { buffer.add(offset).write(next()) };
    }
    isize::try_from(length).unwrap_or(isize::MAX)
}
