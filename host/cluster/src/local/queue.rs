//! Shares the machine out: a pod waits in line until what it asks for is free.
//!
//! Strictly first come, first served: a small pod never overtakes a large one, so that none starves.

use std::collections::BTreeMap;

use super::quantity::Resources;

/// Place in the line; smaller is earlier.
pub(crate) type Ticket = u64;

/// Whether a pod may start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// At once.
    Now,
    /// Later: [`Queue::release`] or [`Queue::withdraw`] will name the ticket. The text says what it waits for.
    Waits(Ticket, String),
}

/// The line of waiting pods and what the running ones hold.
pub(crate) struct Queue<T> {
    capacity: Resources,
    max_running: usize,
    held: Resources,
    running: usize,
    waiting: BTreeMap<Ticket, (Resources, T)>,
    next: Ticket,
}

impl<T> Queue<T> {
    pub(crate) fn new(capacity: Resources, max_running: usize) -> Queue<T> {
        Queue {
            capacity,
            max_running,
            held: Resources::default(),
            running: 0,
            waiting: BTreeMap::new(),
            next: 0,
        }
    }

    pub(crate) fn capacity(&self) -> Resources {
        self.capacity
    }

    pub(crate) fn running(&self) -> usize {
        self.running
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Gets in line with `ask`, which must not exceed the capacity. `waiter` is kept only if it has to wait.
    pub(crate) fn offer(&mut self, ask: Resources, waiter: impl FnOnce() -> T) -> Admission {
        if self.waiting.is_empty() && self.fits(ask) {
            self.hold(ask);
            return Admission::Now;
        }
        let (ticket, free) = (self.next, self.capacity - self.held);
        self.next += 1;
        let place = match self.waiting.len() {
            0 if self.running >= self.max_running => format!("{} pods run, which is the most", self.running),
            0 => "it is next".to_owned(),
            n => format!("{n} pods are ahead of it"),
        };
        self.waiting.insert(ticket, (ask, waiter()));
        Admission::Waits(ticket, format!("waits for {ask}; {free} are free and {place}"))
    }

    /// Gives back what a running pod held, and names those that start instead.
    pub(crate) fn release(&mut self, held: Resources) -> Vec<T> {
        self.held = self.held - held;
        self.running = self.running.saturating_sub(1);
        self.admit()
    }

    /// Leaves the line, and names those that no longer wait because of it. `None` if it was not in line any more.
    pub(crate) fn withdraw(&mut self, ticket: Ticket) -> Option<Vec<T>> {
        self.waiting.remove(&ticket)?;
        Some(self.admit())
    }

    /// Empties the line.
    pub(crate) fn clear(&mut self) -> Vec<T> {
        std::mem::take(&mut self.waiting).into_values().map(|(_, waiter)| waiter).collect()
    }

    fn admit(&mut self) -> Vec<T> {
        let mut admitted = Vec::new();
        while let Some(first) = self.waiting.first_entry() {
            let ask = first.get().0;
            let room = self.running < self.max_running && ask.fits(self.capacity - self.held);
            if !room {
                break;
            }
            admitted.push(first.remove().1);
            self.hold(ask);
        }
        admitted
    }

    fn fits(&self, ask: Resources) -> bool {
        self.running < self.max_running && ask.fits(self.capacity - self.held)
    }

    fn hold(&mut self, ask: Resources) {
        self.held = self.held + ask;
        self.running += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cpu(cpu_milli: u64) -> Resources {
        Resources { cpu_milli, memory: 0 }
    }

    fn ticket(admission: Admission) -> Ticket {
        match admission {
            Admission::Waits(ticket, _) => ticket,
            Admission::Now => panic!("admitted"),
        }
    }

    #[test]
    fn small_never_overtakes_large() {
        let mut queue = Queue::new(cpu(2000), 10);
        assert_eq!(queue.offer(cpu(1500), || "a"), Admission::Now);
        ticket(queue.offer(cpu(2000), || "large"));
        ticket(queue.offer(cpu(100), || "small"));
        assert_eq!(queue.release(cpu(1500)), ["large"]);
        assert_eq!(queue.release(cpu(2000)), ["small"]);
        assert_eq!((queue.running(), queue.waiting()), (1, 0));
    }

    #[test]
    fn the_head_leaving_lets_others_in() {
        let mut queue = Queue::new(cpu(2000), 10);
        assert_eq!(queue.offer(cpu(1500), || "a"), Admission::Now);
        let large = ticket(queue.offer(cpu(2000), || "large"));
        ticket(queue.offer(cpu(500), || "small"));
        assert_eq!(queue.withdraw(large), Some(vec!["small"]));
        assert_eq!(queue.withdraw(large), None);
    }

    #[test]
    fn the_number_of_pods_is_a_limit_too() {
        let mut queue = Queue::new(cpu(2000), 1);
        assert_eq!(queue.offer(cpu(0), || "a"), Admission::Now);
        let Admission::Waits(_, why) = queue.offer(cpu(0), || "b") else { panic!("admitted") };
        assert!(why.contains("1 pods run, which is the most"), "{why}");
        assert_eq!(queue.release(cpu(0)), ["b"]);
    }
}
