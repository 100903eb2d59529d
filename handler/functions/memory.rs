//! What all steps of this process together may hold in memory: one budget, however many chunks are in flight (design §10).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use crate::bulk::limits::Limits;

/// The process's memory for lines that are not staged yet, and for pages.
#[derive(Debug)]
pub struct Memory {
    /// Bytes in the buffers of all steps.
    buffered: AtomicUsize,
    /// Steps that hold buffers.
    steps: AtomicUsize,
    /// Bytes that all buffers may hold, and what of them each step adds to what the buffers may hold now.
    budget: usize,
    budget_of_step: usize,
    /// A permit for each page that may be held at a time.
    pub pages: Semaphore,
    /// A permit for whoever reads what a stage has gathered: the others then find it read.
    pub gatherings: Semaphore,
}

impl Memory {
    pub fn new(limits: &Limits) -> Self {
        let (buffered, steps) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let [pages, gatherings] = [limits.pages, limits.gatherings].map(Semaphore::new);
        let (budget, budget_of_step) = (limits.buffered_bytes, limits.buffered_bytes_of_step);
        Self { buffered, steps, budget, budget_of_step, pages, gatherings }
    }
}

/// What one step holds of it; given back when the step ends, however it ends.
#[derive(Debug)]
pub struct Share {
    memory: Arc<Memory>,
    bytes: usize,
}

impl Share {
    pub fn new(memory: &Arc<Memory>) -> Self {
        memory.steps.fetch_add(1, Ordering::Relaxed);
        Self { memory: Arc::clone(memory), bytes: 0 }
    }

    pub fn grow(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.memory.buffered.fetch_add(bytes, Ordering::Relaxed);
    }

    pub fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.memory.buffered.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether this step has to stage something early: all steps together hold too much, and this one more than its part.
    /// (If every step held its part at most, together they would not hold too much.)
    pub fn is_over(&self) -> bool {
        let Memory { buffered, steps, budget, budget_of_step, .. } = &*self.memory;
        let steps = steps.load(Ordering::Relaxed).max(1);
        let budget = budget_of_step.saturating_mul(steps).min(*budget);
        buffered.load(Ordering::Relaxed) > budget && self.bytes > budget / steps
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink(self.bytes);
        self.memory.steps.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_holds_more_than_its_part_gives_way() {
        let limits = Limits { buffered_bytes: 100, buffered_bytes_of_step: 100, ..Limits::default() };
        let memory = Arc::new(Memory::new(&limits));
        let (mut large, mut small) = (Share::new(&memory), Share::new(&memory));
        large.grow(100);
        assert!(!large.is_over(), "alone it may have everything");
        small.grow(10);
        assert!(large.is_over() && !small.is_over());
        large.shrink(20);
        assert!(!large.is_over());
        large.grow(20);
        drop(small);
        assert!(!large.is_over(), "what a step held is given back at its end");
        drop(large);
        assert_eq!(memory.buffered.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn few_steps_hold_less() {
        let limits = Limits { buffered_bytes: 100, buffered_bytes_of_step: 40, ..Limits::default() };
        let memory = Arc::new(Memory::new(&limits));
        let mut one = Share::new(&memory);
        one.grow(41);
        assert!(one.is_over());
        let (two, three) = (Share::new(&memory), Share::new(&memory));
        one.grow(59);
        assert!(!one.is_over(), "three have all that there is");
        one.grow(1);
        assert!(one.is_over());
        drop((two, three));
        one.shrink(61);
        assert!(!one.is_over());
    }
}
