//! Knows what follows from the end of a process that a warm parent has forked.

use std::sync::{Arc, atomic::Ordering};

use super::{Keeper, command::Command, parent::Parent};
use crate::local::protocol::Exit;

/// How a process was forked, and what has to be known at its end.
pub(crate) struct Forked {
    pub(super) parent: Arc<Parent>,
    pub(super) command: Command,
    pub(super) keeper: Keeper,
}

impl Forked {
    /// Takes note of the end. Returns what a cold start would have ended with. `ours` says that this room killed it.
    pub(crate) fn ended(&self, exit: Exit, ours: bool) -> Exit {
        let crashed =
            matches!(exit.signal, libc::SIGSEGV | libc::SIGBUS | libc::SIGABRT | libc::SIGILL | libc::SIGFPE);
        if crashed {
            tracing::warn!(
                signal = exit.signal,
                "a task crashed in a warm child; its next attempts start cold"
            );
            self.keeper.state().cold_tasks.insert(self.command.task.clone());
        }
        if exit.code == 0 {
            self.keeper.shared.ended.notify_one();
        }
        if self.command.two_step && exit.signal != 0 && !ours {
            // The outer interpreter passes the negative signal of the inner one to exit(2), which keeps one byte.
            return Exit { code: 256 - exit.signal, signal: 0, ..exit };
        }
        exit
    }
}

impl Drop for Forked {
    fn drop(&mut self) {
        self.parent.active.fetch_sub(1, Ordering::Relaxed);
    }
}
