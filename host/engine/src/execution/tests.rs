//! Checks the rules of execution one by one; `tests/simulate` checks them all at once.

mod abort;
mod attempts;
mod cost;
mod flow;
mod restore;
