//! Counts the core's elementary operations in tests, so that cost is asserted without a clock.

#[cfg(test)]
thread_local! {
    static COUNT: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

/// Counts one turn of an inner loop.
#[inline]
pub(crate) fn tick() {
    #[cfg(test)]
    COUNT.with(|count| count.set(count.get() + 1));
}

/// Turns counted on this thread since the last call.
#[cfg(test)]
pub(crate) fn take() -> u64 {
    COUNT.with(|count| count.replace(0))
}
